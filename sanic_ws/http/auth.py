"""Publisher authentication: API keys with scopes and targets."""

from __future__ import annotations

import hashlib
import hmac
from functools import wraps
from typing import TYPE_CHECKING, Any

from sanic.exceptions import Forbidden, Unauthorized

from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.errors import NotAllowed
from sanic_ws.http.bodies import read_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sanic import HTTPResponse, Request

    from sanic_ws.core.api_keys import ApiKey
    from sanic_ws.core.requests import PushRequest, Target

    Handler = Callable[..., Awaitable[HTTPResponse]]


def scope(needed: str) -> Callable[[Handler], Handler]:
    """Let only keys with a scope pass; without any key configured (`dev`) everybody passes."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def checked(request: Request[Any, Any], *args: Any, **kwargs: Any) -> HTTPResponse:
            check(request, needed)
            await read_body(request)
            return await handler(request, *args, **kwargs)

        # Sanic would hold the body of whoever has no key.
        checked.is_stream = True  # type: ignore[attr-defined]
        checked.scope = needed  # type: ignore[attr-defined]
        return checked

    return decorate


def check(request: Request[Any, Any], needed: str) -> None:
    """Check a request's key, in the same time whichever key it is, and note it with the request.

    Raises:
        Unauthorized: there is none, or it is none of ours (401).
        Forbidden: it lacks the scope (403).
    """
    keys: tuple[ApiKey, ...] = request.app.ctx.api_keys
    request.ctx.api_key = None
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
    request.ctx.api_key = matching[0]


def check_target(request: Request[Any, Any], target: Target, field: str) -> None:
    """Check that the request's key reaches a target.

    Raises:
        NotAllowed: it does not (403).
    """
    key: ApiKey | None = request.ctx.api_key
    if key is not None and not key.reaches(target):
        raise NotAllowed(field, "the API key does not reach this target")


def check_targets(request: Request[Any, Any], push: PushRequest, where: str = "") -> None:
    """Check that the request's key reaches all that a push is for.

    Args:
        request: whose key was checked.
        push: what it asks for.
        where: what goes before the field's name in an error.

    Raises:
        NotAllowed: it does not (403); names the first that it does not reach.
    """
    key: ApiKey | None = request.ctx.api_key
    if key is None or key.allowed is None:
        return
    several = not isinstance(push.to, (Conn, User, Group, Everyone))
    for number, target in enumerate(push.targets):
        if not key.reaches(target):
            raise NotAllowed(
                f"{where}to.{_field(target)}" + (f"s[{number}]" if several else ""),
                "the API key does not reach this target",
            )


def _field(target: Target) -> str:
    match target:
        case Conn():
            return "conn"
        case Group():
            return "group"
        case Everyone():
            return "all"
    return "user"
