"""``GET /demo``, in `dev` only: two users on two nodes, and what is pushed from one to the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, HTTPResponse, Request, html

from sanic_ws.http import sockets
from sanic_ws.http.bodies import discard_body
from sanic_ws.http.openapi import HTML, Answer, describe
from sanic_ws.http.static import read
from sanic_ws.websocket.member import Member

if TYPE_CHECKING:
    from sanic_ws.settings import Settings
    from sanic_ws.websocket.authentication import Authentication
    from sanic_ws.websocket.handlers import Handlers

blueprint = Blueprint("demo", url_prefix="/demo")

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_NAME_CHARS = 60


class Neighbour:
    """Hold a second node of this process, from when a client asks for it.

    It is a whole node: an id, an entry in the registry and a queue of its own, wherever these are kept.

    Args:
        settings: the first one's.
        handlers: the first one's.
        authentication: the first one's.
    """

    def __init__(self, settings: Settings, handlers: Handlers, authentication: Authentication) -> None:
        name = f"{settings.node_name[:_NAME_CHARS]}-two"
        self._settings = settings.model_copy(update={"node_name": name})
        self._handlers = handlers
        self._authentication = authentication
        self._starting: asyncio.Task[Member] | None = None

    async def started(self) -> Member:
        """Return the node and its clients; start it if it does not run yet."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Member:
        member = Member(self._settings, self._handlers, self._authentication)
        await member.start()
        return member

    async def stop(self) -> None:
        """Leave, in the orderly way, if it runs."""
        if self._starting is not None:
            member = await self._starting
            await member.drain()
            await member.stop()


@blueprint.get("/")
@describe({200: Answer("Page", "for people", HTML)})
async def demo(request: Request[Any, Any]) -> HTTPResponse:
    """Show how a push crosses from one node to another; in `dev` only."""
    await discard_body(request)
    return html(read("demo.html"), headers=_HEADERS)


async def connect_second(request: Request[Any, Any]) -> None:
    """Take a client in on a second node of this process, as the first one does; in `dev` only."""
    neighbour: Neighbour = request.app.ctx.neighbour
    member = await neighbour.started()
    await sockets.take_in(request, member.node, member.clients)


# Sanic expects no response from it.
connect_second.is_websocket = True  # type: ignore[attr-defined]
connect_second.operation = sockets.connect.operation  # type: ignore[attr-defined]
blueprint.add_route(connect_second, "/ws", methods=["GET"], name="ws")
