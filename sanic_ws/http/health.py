"""``/livez`` and ``/readyz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic import Blueprint, HTTPResponse, Request

from sanic_ws.http.bodies import discard_body
from sanic_ws.http.errors import answer
from sanic_ws.http.openapi import Answer, describe

if TYPE_CHECKING:
    from sanic_ws.node import Node

blueprint = Blueprint("health")


@blueprint.get("/livez")
@describe({200: Answer("Alive", "it answers")})
async def livez(request: Request[Any, Any]) -> HTTPResponse:
    """Say that this process answers; never depends on Redis or RabbitMQ."""
    await discard_body(request)
    return answer({"live": True})


@blueprint.get("/readyz")
@describe({200: Answer("Ready", "it is ready"), 503: Answer("Ready", "it is not")})
async def readyz(request: Request[Any, Any]) -> HTTPResponse:
    """Say whether registry and queue are up and the node does not leave."""
    await discard_body(request)
    node: Node = request.app.ctx.node
    checks = {
        "registry": node.registered,
        "broker": node.broker.connected,
        "draining": node.draining,
    }
    return answer({"ready": node.ready, "node": node.id, **checks}, 200 if node.ready else 503)
