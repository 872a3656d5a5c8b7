"""The keys of whoever makes the clients' tokens, fetched from one address (JWK set, RFC 7517)."""

from __future__ import annotations

import asyncio
from http.client import HTTPException
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from sanic_ws.core import json
from sanic_ws.core.tokens import read_key_set
from sanic_ws.errors import InvalidJSON, InvalidToken, KeysUnavailable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.core.tokens import Key

REFRESH_S = 300.0
"""How long keys are used; one that was withdrawn is believed for no longer, while the address answers."""
RETRY_S = 5.0
"""How soon it is tried again while there are no keys at all, or the last try failed."""
ASK_S = 30.0
"""How often tokens with an unknown key may have the keys fetched: anybody can make such tokens."""
TIMEOUT_S = 5.0
MAX_BYTES = 1 << 18

log = event_log("sanic_ws.websocket")


class KeySet:
    """Keep the keys of an address; those that are known stay while it does not answer.

    Args:
        url: ``https://``, or ``http://`` on this machine; nothing that a token names is ever fetched.
        fetch: gets what is there, blocking; raises as `fetch_keys` does.
    """

    def __init__(self, url: str, fetch: Callable[[str], bytes] | None = None) -> None:
        self._url = url
        self._fetch = fetch or fetch_keys
        self._keys: dict[str, Key] = {}
        self._asked_at = -inf
        self._refreshing: asyncio.Task[bool] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    async def find(self, kid: str | None) -> Key:
        """Return the key with an id; without an id the only key that there is.

        Raises:
            InvalidToken: there is none.
            KeysUnavailable: no keys could be fetched so far.
        """
        key = self._get(kid)
        if key is None and self._may_ask(kid):
            await self.refresh()
            key = self._get(kid)
        if key is not None:
            return key
        if not self._keys:
            raise KeysUnavailable("the keys of tokens cannot be fetched at this moment")
        raise InvalidToken("the token's key is not known")

    def _get(self, kid: str | None) -> Key | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _may_ask(self, kid: str | None) -> bool:
        if self._refreshing is not None:
            return True
        if (kid is None and self._keys) or monotonic() - self._asked_at < ASK_S:
            return False
        self._asked_at = monotonic()
        return True

    async def refresh(self) -> bool:
        """Fetch the keys, or wait for whoever does it already; say whether they could be."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
        # Shielded: a client that goes away must not end it for the others.
        return await asyncio.shield(self._refreshing)

    async def _refresh(self) -> bool:
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                text = await asyncio.to_thread(self._fetch, self._url)
            self._keys = read_key_set(json.loads(text))
        except (OSError, HTTPException, ValueError, InvalidJSON) as exc:
            log.warning(
                "keys not fetched", setting="SANIC_WS_JWT_JWKS_URL", reason=_why(exc), known=len(self._keys)
            )
            return False
        finally:
            self._refreshing = None
        return True

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            fetched = await self.refresh()
            await asyncio.sleep(REFRESH_S if fetched else RETRY_S)


def _why(exc: Exception) -> str:
    """Say what went wrong without what was sent: an address may hold a password."""
    return f"HTTP {exc.code}" if hasattr(exc, "code") else type(exc).__name__


class _NoRedirects(HTTPRedirectHandler):
    """Go nowhere else than to the operator's own address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch_keys(url: str) -> bytes:
    """Get what is at an address, blocking.

    Raises:
        OSError: it cannot be had in time.
        HTTPException: what answers does not speak HTTP.
        ValueError: it is too large.
    """
    deadline = monotonic() + TIMEOUT_S
    handlers = [_NoRedirects()] if url.startswith("https:") else [_NoRedirects(), ProxyHandler({})]
    content = b""
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked with the settings
    with build_opener(*handlers).open(request, timeout=TIMEOUT_S) as response:
        while chunk := response.read1(MAX_BYTES):
            content += chunk
            if len(content) > MAX_BYTES:
                raise ValueError("too large")
            if monotonic() > deadline:
                raise TimeoutError
    return content
