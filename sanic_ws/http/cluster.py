"""What is where: connections, users, nodes, and this node's counters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import NotFound

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.identity import USER_FIELDS, Conn, Everyone, User
from sanic_ws.core.outcomes import Outcome
from sanic_ws.core.requests import DEFAULT_TIMEOUT_S
from sanic_ws.errors import BrokerError, BrokerLost
from sanic_ws.http.auth import check_target, scope
from sanic_ws.http.errors import answer, error
from sanic_ws.http.openapi import Answer, describe
from sanic_ws.http.queries import read_user, user_query
from sanic_ws.node.process import usage
from sanic_ws.node.snapshot import describe_nodes
from sanic_ws.publishing.sending import close_connection

if TYPE_CHECKING:
    from sanic_ws.node import Node
    from sanic_ws.registry import Info

blueprint = Blueprint("cluster", url_prefix="/api/v1")


@blueprint.get("/connections/<conn:str>")
@describe({200: Answer("Connection", "it is connected")}, 400, 404, 503)
@scope("read")
async def get_connection(request: Request[Any, Any], conn: str) -> HTTPResponse:
    """Say where a connection is, whose, and since when."""
    node, conn = _node(request), unquote(conn)
    check_target(request, Conn(conn), "conn")
    (info,) = await node.registry.describe([conn])
    live = (await node.registry.listing()).live
    if info is None or info.owner is None or info.owner.node not in live:
        raise NotFound("no node has this connection")
    return answer(_connection(conn, info))


@blueprint.delete("/connections/<conn:str>")
@describe({200: Answer("Closed", "its node was told to close it")}, 400, 404, 503, 504)
@scope("admin")
async def delete_connection(request: Request[Any, Any], conn: str) -> HTTPResponse:
    """Close a connection with 4403, wherever it is."""
    conn = unquote(conn)
    check_target(request, Conn(conn), "conn")
    receipt = await close_connection(_node(request).dispatcher, conn, CloseCode.KICKED)
    if receipt.outcome is Outcome.OFFLINE:
        raise NotFound("no node has this connection")
    if receipt.outcome is not Outcome.DELIVERED:
        status = 503 if receipt.outcome is Outcome.UNAVAILABLE else 504
        return answer({"error": {"code": receipt.outcome, "message": "the owner did not answer"}}, status)
    return answer({"conn": conn, "closed": True, "node": receipt.deliveries[0].node})


@blueprint.get("/users")
@describe(
    {200: Answer("Connections", "those that live; none if the user is away")},
    400,
    503,
    query=user_query(USER_FIELDS),
    required=("userId",),
)
@scope("read")
async def get_user(request: Request[Any, Any]) -> HTTPResponse:
    """List a user's connections."""
    user = read_user(request)
    check_target(request, user, "userId")
    node = _node(request)
    (found,) = (await node.registry.look_up([], [user.key])).users
    kind = user.from_type
    conns = [c.conn for c in found if kind is None or c.from_type == kind]
    infos = await node.registry.describe(conns) if conns else []
    live = (await node.registry.listing()).live
    connections = [
        _connection(conn, info)
        for conn, info in zip(conns, infos, strict=True)
        if info is not None and info.owner is not None and info.owner.node in live and _is(info.user, user)
    ]
    return answer({"user": user.to_json(), "connections": connections})


@blueprint.get("/nodes")
@describe({200: Answer("Nodes", "by id")}, 503)
@scope("read")
async def get_nodes(request: Request[Any, Any]) -> HTTPResponse:
    """List the live nodes as the registry sees them."""
    node = _node(request)
    return answer({"nodes": describe_nodes(await node.registry.nodes(), node.id)})


@blueprint.post("/nodes/<node:str>/drain")
@describe(
    {200: Answer("Drained", "it has been told, and leaves")},
    (404, "there is no such node"),
    503,
    504,
)
@scope("admin")
async def drain_node(request: Request[Any, Any], node: str) -> HTTPResponse:
    """Have a node leave in its orderly way, as on SIGTERM; what supervises it may start it anew."""
    check_target(request, Everyone(), "node")
    told, here = unquote(node), _node(request)
    if told == here.id and here.leave is not None:
        here.leave()
        return answer({"node": told, "draining": True})
    if told not in (await here.registry.listing()).live:
        raise NotFound("there is no such node")
    try:
        obeys = await here.dispatcher.order_to_leave(told, DEFAULT_TIMEOUT_S)
    except (BrokerLost, TimeoutError):
        return error(504, Outcome.UNKNOWN, "the node did not answer")
    except BrokerError:
        return error(503, Outcome.UNAVAILABLE, "the node cannot be reached")
    if not obeys:
        return error(503, Outcome.UNAVAILABLE, "the node cannot be told to leave")
    return answer({"node": told, "draining": True})


@blueprint.get("/stats")
@describe({200: Answer("Stats", "as they are now")})
@scope("read")
async def get_stats(request: Request[Any, Any]) -> HTTPResponse:
    """Give this node's counters."""
    node = _node(request)
    return answer(
        {
            "node": node.id,
            "state": node.info.state,
            "ready": node.ready,
            "started": node.started,
            "connections": len(node.hub),
            "batches": node.batches,
            "open_deliveries": node.dispatcher.open_items,
            "reasserted": node.membership.reasserted,
            "set_aside": node.set_aside,
            **_traffic(node),
            "broker": {"connected": node.broker.connected, "blocked": node.broker.blocked},
            "events": _events(node),
            "process": usage(),
            **node.dispatcher.counts,
        }
    )


def _traffic(node: Node) -> dict[str, dict[str, int]]:
    calls, inbound, answers = node.calls, node.inbound, node.answers
    failed, published = calls["failed"] + calls["set_aside"], inbound["published"]
    return {
        "calls": {"taken": calls.total(), "failed": failed, "set_aside": calls["set_aside"]},
        "inbound": {"published": published, "refused": inbound.total() - published},
        "answers": {"acks": answers["acks"], "replies": answers["replies"]},
    }


def _events(node: Node) -> dict[str, int]:
    if node.presence is None:
        return {"published": 0, "dropped": 0, "waiting": 0}
    events = node.presence.events
    return {"published": events.published, "dropped": events.dropped, "waiting": len(events)}


def _is(bound: User | None, user: User) -> bool:
    return bound is not None and bound.key == user.key


def _connection(conn: str, info: Info) -> dict[str, Any]:
    assert info.owner is not None
    since = datetime.fromtimestamp(info.started_s, UTC).isoformat(timespec="milliseconds")
    return {
        "conn": conn,
        "node": info.owner.node,
        "session": f"{info.owner.node}.{info.owner.session}",
        "user": None if info.user is None else info.user.to_json(),
        "since": since.replace("+00:00", "Z"),
    }


def _node(request: Request[Any, Any]) -> Node:
    node: Node = request.app.ctx.node
    return node
