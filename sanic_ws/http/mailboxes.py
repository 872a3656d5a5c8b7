"""``/api/v1/users/mailbox``: what is stored for a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic import Blueprint, HTTPResponse, Request

from sanic_ws.core.identity import USER_FIELDS
from sanic_ws.http.auth import check_target, scope
from sanic_ws.http.errors import answer
from sanic_ws.http.openapi import Answer, describe
from sanic_ws.http.queries import read_user, user_query

if TYPE_CHECKING:
    from sanic_ws.core.identity import User
    from sanic_ws.node import Node

blueprint = Blueprint("mailboxes", url_prefix="/api/v1/users/mailbox")

_FIELDS = USER_FIELDS[:3]
"""A mailbox is for all of a user's devices."""


@blueprint.get("/")
@describe(
    {200: Answer("Mailbox", "what is in it; nothing, if nothing is stored")},
    400,
    503,
    query=user_query(_FIELDS),
    required=("userId",),
)
@scope("read")
async def get_mailbox(request: Request[Any, Any]) -> HTTPResponse:
    """Say how much is stored for a user, and the ids of the oldest and the newest message."""
    node, user = _read(request)
    contents = await node.mailbox.describe(f"@{user.key}")
    return answer(
        {
            "user": user.to_json(),
            "size": contents.size,
            "bytes": contents.octets,
            "first": contents.first,
            "last": contents.last,
        }
    )


@blueprint.delete("/")
@describe(
    {200: Answer("Cleared", "nothing is stored for the user any more")},
    400,
    503,
    query=user_query(_FIELDS),
    required=("userId",),
)
@scope("admin")
async def delete_mailbox(request: Request[Any, Any]) -> HTTPResponse:
    """Throw away all that is stored for a user; who comes back is told that something is missing."""
    node, user = _read(request)
    cleared = await node.mailbox.clear(f"@{user.key}")
    return answer({"user": user.to_json(), "cleared": cleared})


def _read(request: Request[Any, Any]) -> tuple[Node, User]:
    user = read_user(request, _FIELDS)
    check_target(request, user, "userId")
    node: Node = request.app.ctx.node
    return node, user
