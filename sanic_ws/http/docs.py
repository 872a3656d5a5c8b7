"""``GET /docs`` and ``/docs/openapi.json``: what the HTTP side takes and answers."""

from __future__ import annotations

from typing import Any

from sanic import Blueprint, HTTPResponse, Request, html

from sanic_ws.http.auth import scope
from sanic_ws.http.errors import answer
from sanic_ws.http.openapi import HTML, Answer, describe, document
from sanic_ws.http.page import CONTENT_SECURITY_POLICY, render

blueprint = Blueprint("docs", url_prefix="/docs")


@blueprint.get("/")
@describe({200: Answer("Page", "for people", HTML)})
@scope("read")
async def page(request: Request[Any, Any]) -> HTTPResponse:
    """Show this document as a page, which fetches nothing."""
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
    return html(render(document(request.app)), headers=headers)


@blueprint.get("/openapi.json")
@describe({200: Answer("Document", "for programs")})
@scope("read")
async def openapi(request: Request[Any, Any]) -> HTTPResponse:
    """Give this document."""
    return answer(document(request.app))
