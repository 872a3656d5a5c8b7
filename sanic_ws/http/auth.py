"""Publisher authentication: API keys with scopes."""

from __future__ import annotations

import hashlib
import hmac
from functools import wraps
from typing import TYPE_CHECKING, Any

from sanic.exceptions import Forbidden, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sanic import HTTPResponse, Request

    Handler = Callable[..., Awaitable[HTTPResponse]]


def scope(needed: str) -> Callable[[Handler], Handler]:
    """Let only keys with a scope pass; without any key configured (`dev`) everybody passes."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def checked(request: Request[Any, Any], *args: Any, **kwargs: Any) -> HTTPResponse:
            check(request, needed)
            return await handler(request, *args, **kwargs)

        return checked

    return decorate


def check(request: Request[Any, Any], needed: str) -> None:
    """Check a request's key, in the same time whichever key it is.

    Raises:
        Unauthorized: there is none, or it is none of ours (401).
        Forbidden: it lacks the scope (403).
    """
    keys = request.app.ctx.api_keys
    if not keys:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise Unauthorized(
            "an API key is needed: Authorization: Bearer <key>", scheme="Bearer", realm="sanic_ws"
        )
    digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
    matching = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    if not matching:
        raise Unauthorized("the API key is not known", scheme="Bearer", realm="sanic_ws")
    if needed not in matching[0].scopes:
        raise Forbidden(f"the API key lacks the scope {needed!r}")
