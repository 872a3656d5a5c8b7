"""``GET /ws``: where clients connect."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request

from sanic_ws.http.openapi import Answer, describe
from sanic_ws.http.shapes import SINCE, TEXT, ref
from sanic_ws.websocket.compressed import new_connection
from sanic_ws.websocket.handshake import Refused, accept, client_address, hand_over, read_sign, read_since

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from sanic_ws.node import Node
    from sanic_ws.websocket.clients import Clients
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.handshake import Accepted

blueprint = Blueprint("sockets")


@describe(
    {101: Answer(None, "a WebSocket (RFC 6455); its first frame is `connected`")},
    (400, "it is no upgrade, or `sign` is no connection id"),
    (401, "the token does not prove who the client is"),
    (403, "the page is from elsewhere, or the id is another user's"),
    429,
    (503, "the node leaves, or too many connect at this moment"),
    query={"sign": ref("ConnId"), "token": TEXT, "since": SINCE},
)
async def connect(request: Request[Any, Any]) -> None:
    """Take a client in: check, register, then open its socket with ``connected`` as the first frame.

    One that has yet to say who it is is told that it is connected, and is registered after its ``auth``.
    """
    await take_in(request, request.app.ctx.node, request.app.ctx.clients)


async def take_in(request: Request[Any, Any], node: Node, clients: Clients) -> None:
    """Take a client in on a node.

    Raises:
        Refused: it is answered over HTTP.
    """
    with _counted(node.handshakes):
        await _take_in(request, node, clients)


@contextmanager
def _counted(handshakes: Counter[str]) -> Iterator[None]:
    """Count a handshake by its end."""
    try:
        yield
    except Refused as exc:
        handshakes[exc.code] += 1
        if exc.close_code is None:
            raise
    else:
        handshakes["accepted"] += 1


async def _take_in(request: Request[Any, Any], node: Node, clients: Clients) -> None:
    settings = node.settings
    accepted = accept(request, settings)
    sign, since = read_sign(request), read_since(request)
    connection = new_connection(accepted, sign, node.new_session(), clients.conversation, settings)
    try:
        with clients.admitted(connection, client_address(request, settings.trusted_proxies)):
            identity = await clients.authentication.of_request(request)
            if identity is None and clients.authentication.needed:
                clients.await_auth(connection)
                _note_since(node, connection, since)
                hand_over(request, connection, accepted.greeting + clients.conversation.greet(connection))
                return
            await clients.join(connection, identity)
            _note_since(node, connection, since)
            hand_over(request, connection, accepted.greeting + clients.conversation.welcome(connection))
            node.mail.opened(connection)
    except Refused as exc:
        turn_away(request, accepted, exc)
        raise


def turn_away(request: Request[Any, Any], accepted: Accepted, refused: Refused) -> None:
    """Tell a client by a close why it is refused, where it would not see an HTTP error."""
    if refused.close_code is not None:
        clients: Clients = request.app.ctx.clients
        told = new_connection(accepted, "", "", clients.unregistered, request.app.ctx.node.settings)
        hand_over(request, told, accepted.greeting)
        told.close(refused.close_code, str(refused))


def _note_since(node: Node, connection: Connection, since: str | None) -> None:
    if since is not None:
        node.mail.resume_later(connection, since)


async def echo(request: Request[Any, Any]) -> None:
    """Take in a client of the echo endpoint."""
    clients: Clients = request.app.ctx.clients
    settings = request.app.ctx.node.settings
    accepted = accept(request, settings)
    connection = new_connection(accepted, "", "", clients.echo, settings)
    clients.keep_alive.add(connection)
    hand_over(request, connection, accepted.greeting)


# Sanic expects no response from these.
connect.is_websocket = True  # type: ignore[attr-defined]
echo.is_websocket = True  # type: ignore[attr-defined]
blueprint.add_route(connect, "/ws", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], name="ws")
