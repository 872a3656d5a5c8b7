"""``GET /ws``: where clients connect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request

from sanic_ws.core.closing import CloseCode
from sanic_ws.websocket.connection import Connection
from sanic_ws.websocket.handshake import accept, hand_over, read_sign

if TYPE_CHECKING:
    from sanic_ws.node import Node
    from sanic_ws.websocket.clients import Clients

blueprint = Blueprint("sockets")


async def connect(request: Request[Any, Any]) -> None:
    """Take a client in: check, register, then open its socket with ``connected`` as the first frame."""
    node: Node = request.app.ctx.node
    clients: Clients = request.app.ctx.clients
    settings = node.settings
    greeting = accept(request, settings.allowed_origins)
    sign = read_sign(request)
    connection = Connection(
        sign,
        node.new_session(),
        clients.conversation,
        settings.max_message_bytes,
        settings.max_queue_bytes,
    )
    if len(node.hub) >= settings.max_connections:
        hand_over(request, connection, greeting)
        connection.close(CloseCode.TOO_MANY, "this node is full")
        return
    await clients.join(connection)
    hand_over(request, connection, greeting + clients.conversation.welcome(connection))


async def echo(request: Request[Any, Any]) -> None:
    """Take in a client of the echo endpoint."""
    clients: Clients = request.app.ctx.clients
    settings = request.app.ctx.node.settings
    greeting = accept(request, settings.allowed_origins)
    connection = Connection("", "", clients.echo, settings.max_message_bytes, settings.max_queue_bytes)
    clients.keep_alive.add(connection)
    hand_over(request, connection, greeting)


# Sanic expects no response from these.
connect.is_websocket = True  # type: ignore[attr-defined]
echo.is_websocket = True  # type: ignore[attr-defined]
blueprint.add_route(connect, "/ws", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], name="ws")
