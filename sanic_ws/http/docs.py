"""``GET /docs``, ``/docs/openapi.json``, ``/docs/asyncapi.json``: what is taken, answered, said and heard."""

from __future__ import annotations

from typing import Any

from sanic import Blueprint, HTTPResponse, Request, html

from sanic_ws.http import asyncapi as asynchronous
from sanic_ws.http.auth import scope
from sanic_ws.http.errors import answer
from sanic_ws.http.openapi import HTML, Answer, describe, document
from sanic_ws.http.page import CONTENT_SECURITY_POLICY, render

blueprint = Blueprint("docs", url_prefix="/docs")


@blueprint.get("/")
@describe({200: Answer("Page", "for people", HTML)})
@scope("read")
async def page(request: Request[Any, Any]) -> HTTPResponse:
    """Show the OpenAPI document as a page, which fetches nothing."""
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
    return html(render(document(request.app)), headers=headers)


@blueprint.get("/openapi.json")
@describe({200: Answer("OpenApi", "for programs")})
@scope("read")
async def openapi(request: Request[Any, Any]) -> HTTPResponse:
    """Give this document: the HTTP side."""
    return answer(document(request.app))


@blueprint.get("/asyncapi.json")
@describe({200: Answer("AsyncApi", "for programs")})
@scope("read")
async def asyncapi(request: Request[Any, Any]) -> HTTPResponse:
    """Give the AsyncAPI document: what clients and back ends say and hear over WebSocket and AMQP."""
    context = request.app.ctx
    return answer(
        asynchronous.document(
            prefix=context.node.settings.prefix,
            host=request.host or "localhost",
            secure=request.scheme in {"https", "wss"},
            takes_tokens=context.clients.authentication.takes_tokens,
        )
    )
