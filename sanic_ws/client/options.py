"""What a client is told."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sanic_ws.core.identity import check_conn, check_group
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS
from sanic_ws.errors import ClientAway, InvalidField

if TYPE_CHECKING:
    import ssl

    from sanic_ws.client.events import Event
    from sanic_ws.core.identity import User

TokenSource = str | Callable[[], str | Awaitable[str]]

SIGN_BYTES = 16
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    """Hold what `connect` is given; see there.

    Raises:
        InvalidField: something is not what it may be.
    """

    token: TokenSource | None = None
    sign: str
    since: str | None = None
    user: User | None = None
    groups: tuple[str, ...] = ()
    queue_size: int = 100
    inbox_size: int = 100
    reconnect: bool = True
    everything: bool = False
    on_event: Callable[[Event], None] | None = None
    connect_timeout_s: float = 10.0
    open_timeout_s: float = 10.0
    max_message_bytes: int = MAX_MESSAGE_BYTES
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        check_conn(self.sign, "sign")
        if isinstance(self.token, str):
            _check_token(self.token)
        for number, group in enumerate(self.groups):
            check_group(group, f"groups[{number}]")
        if self.since is not None and len(self.since) > MAX_PUSH_ID_CHARS:
            raise InvalidField("since", f"must be at most {MAX_PUSH_ID_CHARS} characters")
        for name in ("queue_size", "inbox_size", "max_message_bytes"):
            if getattr(self, name) < 1:
                raise InvalidField(name, "must be at least 1")
        if not self.connect_timeout_s > 0:
            raise InvalidField("connect_timeout_s", "must be more than 0")
        if not self.open_timeout_s >= 0:
            raise InvalidField("open_timeout_s", "must be at least 0")

    @property
    def renews(self) -> bool:
        """Whether each attempt may have a token of its own."""
        return callable(self.token)

    async def read_token(self) -> str | None:
        """Return the token to use now, if there is one.

        Raises:
            ClientAway: the function has failed; its error is the cause.
        """
        if self.token is None or isinstance(self.token, str):
            return self.token
        try:
            token = self.token()
            return _check_token(token if isinstance(token, str) else await token)
        except Exception as exc:
            raise ClientAway(f"no token, because of {type(exc).__name__}") from exc


def _check_token(token: str) -> str:
    """Return what may be a token, and nothing else in a header (RFC 6750, section 2.1)."""
    if not _TOKEN.fullmatch(token):
        raise InvalidField("token", "must be visible ASCII")
    return token


_TOKEN = re.compile(r"[!-~]+")
