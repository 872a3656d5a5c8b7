"""``/api/v1/groups``: who is in which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import NotFound

from sanic_ws.core.groups import MAX_GROUPS, Change
from sanic_ws.core.identity import Conn, Group
from sanic_ws.core.outcomes import ANSWERED, Outcome
from sanic_ws.core.outcomes import Answer as NodeAnswer
from sanic_ws.core.requests import DEFAULT_TIMEOUT_S
from sanic_ws.http.auth import check_target, scope
from sanic_ws.http.errors import answer, error
from sanic_ws.http.openapi import Answer, describe
from sanic_ws.publishing.sending import change_groups

if TYPE_CHECKING:
    from sanic_ws.node import Node

blueprint = Blueprint("groups", url_prefix="/api/v1/groups")

_ERRORS = (400, 404, 503, 504)
_TOO_MANY = (
    f"it is in {MAX_GROUPS} groups or their names are too long together, or its node has too much to do"
)


@blueprint.get("/<group:str>")
@describe({200: Answer("Group", "how many connections it has, and where")}, 400, 503)
@scope("read")
async def get_group(request: Request[Any, Any], group: str) -> HTTPResponse:
    """Count the connections of a group: in all, and on each node that has some.

    Both are null where a node does not answer in time, as it is not known then.
    """
    name = _read_group(request, group)
    node: Node = request.app.ctx.node
    listing, (marked,) = await node.registry.look_up_groups([name])
    live = set(listing.live)
    # Of a registry that is not whole nothing can be said to be missing: all are asked.
    nodes = set(marked) & live if listing.whole else live
    counts = await node.dispatcher.count(name, nodes - {node.id}, DEFAULT_TIMEOUT_S)
    if node.id in nodes:
        counts[node.id] = node.hub.number_in(name)
    known = [count for count in counts.values() if count is not None]
    total = sum(known) if listing.whole and len(known) == len(counts) else None
    listed = [{"node": each, "connections": counts[each]} for each in sorted(counts)]
    return answer({"group": name, "connections": total, "nodes": listed})


@blueprint.put("/<group:str>/connections/<conn:str>")
@describe(
    {200: Answer("Member", "it is in the group, and every push from now on knows it")},
    *_ERRORS,
    (429, _TOO_MANY),
)
@scope("admin")
async def put_member(request: Request[Any, Any], group: str, conn: str) -> HTTPResponse:
    """Have a connection join a group, wherever it is."""
    return await _change(request, group, conn, joins=True)


@blueprint.delete("/<group:str>/connections/<conn:str>")
@describe({200: Answer("Member", "it is not in the group any more")}, *_ERRORS)
@scope("admin")
async def delete_member(request: Request[Any, Any], group: str, conn: str) -> HTTPResponse:
    """Have a connection leave a group, wherever it is."""
    return await _change(request, group, conn, joins=False)


async def _change(request: Request[Any, Any], group: str, conn: str, *, joins: bool) -> HTTPResponse:
    change = Change(unquote(conn), _read_group(request, group), joins)
    check_target(request, Conn(change.conn), "conn")
    outcome = await _outcome(request.app.ctx.node, change)
    match outcome:
        case Outcome.DELIVERED:
            return answer({"group": change.group, "conn": change.conn, "member": joins})
        case Outcome.OFFLINE:
            raise NotFound("no node has this connection")
        case Outcome.OVERLOADED:
            return error(429, "overloaded", _TOO_MANY)
    status = 503 if outcome is Outcome.UNAVAILABLE else 504
    return error(status, outcome, "the owner did not answer, or could not tell the registry")


async def _outcome(node: Node, change: Change) -> Outcome:
    said = await node.membership.change_group(change)
    if said in ANSWERED:
        return ANSWERED[said]
    if said is NodeAnswer.NOT_MINE:
        return (await change_groups(node.dispatcher, change)).outcome
    return Outcome.UNAVAILABLE


def _read_group(request: Request[Any, Any], group: str) -> str:
    name = unquote(group)
    check_target(request, Group(name), "group")
    return name
