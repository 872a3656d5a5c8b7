"""Bodies of requests: read only once it is known who sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from sanic import Request
    from sanic.http import Http

_WITH_BODY = ("POST", "PUT", "PATCH")


async def read_body(request: Request[Any, Any]) -> None:
    """Read a body that its method has a use for, within Sanic's limit, and drop any other.

    Raises:
        PayloadTooLarge: it is larger (413).
    """
    stream = cast("Http", request.stream)
    # Sanic lifts the limit for handlers that read the body themselves.
    stream.request_max_size = stream.protocol.request_max_size
    if request.method in _WITH_BODY:
        await request.receive_body()  # type: ignore[no-untyped-call]
    else:
        await discard_body(request)


async def discard_body(request: Request[Any, Any]) -> None:
    """Read a body and keep nothing of it: Sanic logs one that is left over, with the address, as an error.

    Raises:
        PayloadTooLarge: it is larger than what Sanic takes (413).
    """
    async for _ in cast("Http", request.stream):
        pass
