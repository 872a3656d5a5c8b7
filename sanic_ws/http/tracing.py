"""Traces of the requests that push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanic import Request, Sanic
    from sanic.response import BaseHTTPResponse

    from sanic_ws.tracing import Tracing

ROUTES = frozenset({"/api/v1/push", "/api/v1/push/batch"})
_HEADERS = ("traceparent", "tracestate")


def install(app: Sanic[Any, Any]) -> None:
    """Have an application make a span of every request that pushes."""
    app.register_middleware(_start, "request")
    app.register_middleware(_end, "response")


def _start(request: Request[Any, Any]) -> None:
    route = (request.uri_template or "").rstrip("/")
    if route in ROUTES:
        tracing: Tracing = request.app.ctx.node.tracing
        headers = {name: request.headers.getall(name) for name in _HEADERS if name in request.headers}
        request.ctx.span = span = tracing.start_request(request.method, route, headers)
        request.ctx.trace = tracing.trace(span)


def _end(request: Request[Any, Any], response: BaseHTTPResponse) -> None:
    span = getattr(request.ctx, "span", None)
    if span is not None:
        request.app.ctx.node.tracing.end_request(span, response.status)
