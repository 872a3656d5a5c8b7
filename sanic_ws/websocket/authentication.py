"""Who a client is: by its token, or by what the application says of its request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from sanic_ws.core.tokens import Identity, key_id, public_key, read_token, secret_key
from sanic_ws.errors import InvalidToken, KeysUnavailable
from sanic_ws.logs import event_log
from sanic_ws.websocket.handshake import Refused
from sanic_ws.websocket.jwks import KeySet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sanic.request import Request

    from sanic_ws.core.tokens import Key
    from sanic_ws.settings import Settings

    Authenticate = Callable[[Request[Any, Any]], Awaitable[Identity | None]]

log = event_log("sanic_ws.websocket")


class Keys(Protocol):
    """What tokens are checked with."""

    async def find(self, kid: str | None) -> Key:
        """Return the key with an id."""

    async def run(self) -> None:
        """Keep them fresh until cancelled."""


class OneKey:
    """Hold the one key that the operator gave, whatever id tokens name."""

    def __init__(self, key: Key) -> None:
        self._key = key

    async def find(self, kid: str | None) -> Key:  # noqa: ARG002 - for all ids
        """Return it."""
        return self._key

    async def run(self) -> None:
        """Have nothing to do: it does not change."""


def _make_keys(settings: Settings) -> Keys | None:
    if settings.jwt_secret:
        return OneKey(secret_key(settings.jwt_secret))
    if settings.jwt_public_key:
        return OneKey(public_key(settings.jwt_public_key))
    return KeySet(settings.jwt_jwks_url) if settings.jwt_jwks_url else None


class Authentication:
    """Say who clients are.

    Args:
        settings: the operator's.
        authenticate: the application's own; asked at the handshake, in place of looking for a token there.
    """

    def __init__(self, settings: Settings, authenticate: Authenticate | None = None) -> None:
        self._keys = _make_keys(settings)
        self._authenticate = authenticate
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self.takes_tokens = self._keys is not None
        self.needed = (self.takes_tokens or authenticate is not None) and not settings.trust_client_identity

    async def of_request(self, request: Request[Any, Any]) -> Identity | None:
        """Return who asks for a connection; None if it does not say so, or nobody could check it.

        Raises:
            Refused: what it says is not so (401), is said twice (400), or cannot be checked now (503).
        """
        if self._authenticate is not None:
            return await self._ask(self._authenticate, request)
        token = _find_token(request) if self.takes_tokens else None
        if token is None:
            return None
        try:
            return await self.of_token(token)
        except InvalidToken as exc:
            raise _unauthorized(str(exc)) from None
        except KeysUnavailable as exc:
            raise Refused(503, "unavailable", str(exc), retry_after_s=5) from None

    async def of_token(self, token: str) -> Identity:
        """Return who the bearer of a token is.

        Raises:
            InvalidToken: the token does not prove it.
            KeysUnavailable: it cannot be checked at this moment.
        """
        assert self._keys is not None
        key = await self._keys.find(key_id(token))
        return read_token(token, key, self._issuer, self._audience)

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        if self._keys is not None:
            await self._keys.run()

    async def _ask(self, authenticate: Authenticate, request: Request[Any, Any]) -> Identity:
        try:
            identity = await authenticate(request)
        except Exception as exc:  # noqa: BLE001 - the application's own, of any kind
            log.fault("authenticate raised", exc)
            raise _unauthorized("the application did not accept this client") from None
        if not isinstance(identity, Identity):
            if identity is not None:
                log.error("authenticate returned no Identity", returned=type(identity).__name__)
            raise _unauthorized("the application did not accept this client")
        if identity.expires_at is not None and not identity.expires_at > time.time():
            raise _unauthorized("the application's word for this client has expired")
        return identity


def _find_token(request: Request[Any, Any]) -> str | None:
    """Return the token of a request, from its header (RFC 6750, section 2.1) or its query (section 2.3)."""
    found: list[str] = request.get_args(keep_blank_values=True).getlist("token") or []
    for header in request.headers.getall("authorization", []):
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            found = [*found, token.strip()]
    if len(set(found)) > 1:
        raise Refused(400, "invalid_field", "token: must be given once", "token")
    return found[0] if found else None


def _unauthorized(reason: str) -> Refused:
    refused = Refused(401, "unauthorized", reason)
    refused.headers["WWW-Authenticate"] = 'Bearer realm="sanic_ws", error="invalid_token"'
    return refused
