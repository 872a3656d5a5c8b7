"""Tickets: what lets a page that has an admin key open the console's WebSocket, where it can send no header.

::

    base64url(nonce ␟ expires ␟ name).signature

The name is the key's; expires is in seconds since the epoch. The signature is an HMAC-SHA256 with the key's
digest: every node that knows the key knows the ticket.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sanic_ws.core.api_keys import ApiKey

TICKET_S = 60
"""For how long a ticket lets its bearer in."""
SCOPE = "admin"
_ABOUT = b"sanic_ws console ticket\x00"
"""So that nothing else that may be signed with a key is a ticket."""
_NONCE_BYTES = 12
_SEPARATOR = "\x1f"


def make_ticket(key: ApiKey, now: float) -> str:
    """Return a ticket for whoever has a key.

    Args:
        key: it.
        now: seconds since the epoch.
    """
    parts = secrets.token_urlsafe(_NONCE_BYTES), str(int(now) + TICKET_S), key.name
    text = _encode(_SEPARATOR.join(parts).encode(errors="surrogateescape"))
    return f"{text}.{_sign(key, text)}"


def is_ticket(text: str, keys: Iterable[ApiKey], now: float) -> bool:
    """Say whether a text is a ticket of one of these keys that may be used for everything, and still good.

    All keys are tried, and compared in constant time.

    Args:
        text: it.
        keys: all that are known.
        now: seconds since the epoch.
    """
    signed, _, signature = text.rpartition(".")
    given = signature.encode(errors="replace")
    matching = [
        hmac.compare_digest(_sign(key, signed).encode(), given) for key in keys if SCOPE in key.scopes
    ]
    return any(matching) and now < _expires(signed)


def _expires(signed: str) -> int:
    """Read when a ticket ends; only of what was signed, and so written by `make_ticket`."""
    content = base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4))
    return int(content.decode(errors="surrogateescape").split(_SEPARATOR)[1])


def _sign(key: ApiKey, text: str) -> str:
    signed = _ABOUT + text.encode(errors="replace")
    return _encode(hmac.digest(key.digest, signed, hashlib.sha256))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
