"""``/console``: the cluster live, for operators; its page, its WebSocket, and what lets a page open that.

The page holds nothing: all that it shows it asks for, with the key that the operator types in.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, HTTPResponse, Request, html
from sanic.exceptions import Forbidden, Unauthorized

from sanic_ws.core import json
from sanic_ws.core.requests import read_push_request
from sanic_ws.core.tickets import TICKET_S, is_ticket, make_ticket
from sanic_ws.http.auth import check, check_targets, scope
from sanic_ws.http.bodies import discard_body
from sanic_ws.http.errors import answer
from sanic_ws.http.openapi import HTML, JSON, Answer, describe
from sanic_ws.http.push import TOO_LARGE, status_of
from sanic_ws.http.shapes import TEXT
from sanic_ws.http.sockets import turn_away
from sanic_ws.http.static import read
from sanic_ws.publishing.sending import push_all
from sanic_ws.websocket.compressed import new_connection
from sanic_ws.websocket.handshake import SIGN_BYTES, Refused, accept, client_address, hand_over

if TYPE_CHECKING:
    from sanic_ws.node import Node
    from sanic_ws.websocket.clients import Clients

SESSION_S = 8 * 3600
"""For how long whoever has come in may watch; a page then comes with a new ticket."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}

blueprint = Blueprint("console")


@blueprint.get("/console")
@describe(
    {
        200: Answer("Page", "the key may be used for everything, or none is needed", HTML),
        401: Answer("Page", "the same page, which asks for a key", HTML),
        403: Answer("Page", "the same page: the key lacks the scope", HTML),
    }
)
async def get_console(request: Request[Any, Any]) -> HTTPResponse:
    """Show the console: a page without any data, which asks for a key where one is needed."""
    await discard_body(request)
    status, headers = 200, HEADERS
    try:
        check(request, "admin")
    except (Unauthorized, Forbidden) as exc:
        status, headers = exc.status_code, HEADERS | exc.headers
    return html(read("console.html"), status, headers)


@blueprint.post("/api/v1/console/ticket")
@describe({200: Answer("Ticket", "empty where no key is needed")})
@scope("admin")
async def make_console_ticket(request: Request[Any, Any]) -> HTTPResponse:
    """Give a ticket with which the console's WebSocket may be opened for a minute, on any node."""
    key = request.ctx.api_key
    ticket = "" if key is None else make_ticket(key, time.time())
    return answer({"ticket": ticket, "expires_in_s": TICKET_S}, headers={"Cache-Control": "no-store"})


@blueprint.post("/api/v1/console/push")
@describe(
    dict.fromkeys((200, 202, 503, 504), Answer("Journey", "as a push is")),
    400,
    TOO_LARGE,
    takes={JSON: "Push"},
)
@scope("admin")
async def push_and_follow(request: Request[Any, Any]) -> HTTPResponse:
    """Push one message and answer with its receipt, and with the way that it took."""
    node: Node = request.app.ctx.node
    asked = read_push_request(json.loads(request.body))
    check_targets(request, asked)
    with node.dispatcher.followed.follow(node.id) as journey:
        most_bytes = node.settings.max_message_bytes
        (receipt,) = await push_all(node.dispatcher, [asked], most_bytes, trace=journey)
    followed = {"receipt": receipt.to_json(), "steps": journey.to_json(node.settings.prefix)}
    return answer(followed, status_of(asked, receipt))


@describe(
    {101: Answer(None, "a WebSocket (RFC 6455); `connected`, then a `node` of each node, and `cluster`")},
    (400, "it is no upgrade"),
    (401, "the ticket is none, or too old"),
    (403, "the page is from elsewhere"),
    429,
    (503, "the node leaves"),
    query={"token": TEXT},
)
async def watch_console(request: Request[Any, Any]) -> None:
    """Let the console watch all nodes, over the gateway's own WebSocket; `token` is a ticket."""
    node: Node = request.app.ctx.node
    clients: Clients = request.app.ctx.clients
    settings = node.settings
    accepted = accept(request, settings, own_pages=True)
    expires_at = _check_ticket(request)
    if node.draining:
        raise Refused(503, "draining", "this node is leaving; connect to another")
    conn = secrets.token_urlsafe(SIGN_BYTES)
    connection = new_connection(accepted, conn, node.new_session(), clients.watchers, settings)
    try:
        with clients.admitted(connection, client_address(request, settings.trusted_proxies)):
            await clients.watchers.join(connection, expires_at)
            hand_over(request, connection, accepted.greeting + clients.conversation.welcome(connection))
    except Refused as exc:
        if exc.close_code is None:
            raise
        turn_away(request, accepted, exc)


def _check_ticket(request: Request[Any, Any]) -> float | None:
    """Return until when whoever brings a ticket may watch, in seconds since the epoch; None: for ever.

    Raises:
        Refused: it is none of ours, or too old (401).
    """
    keys, now = request.app.ctx.api_keys, time.time()
    if not keys:
        return None
    if not is_ticket(request.args.get("token", ""), keys, now):
        refused = Refused(401, "unauthorized", "a ticket is needed: POST /api/v1/console/ticket")
        refused.headers["WWW-Authenticate"] = 'Bearer realm="sanic_ws"'
        raise refused
    return now + SESSION_S


# Sanic expects no response from it.
watch_console.is_websocket = True  # type: ignore[attr-defined]
blueprint.add_route(watch_console, "/console/ws", methods=["GET"], name="console_ws")
get_console.is_stream = True  # type: ignore[attr-defined]
