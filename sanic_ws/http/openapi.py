"""The OpenAPI 3.1 document: made from the routes, from what their handlers say, and from the schemas."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sanic_ws import __version__
from sanic_ws.http.schemas import SCHEMAS
from sanic_ws.http.shapes import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sanic import Sanic

    from sanic_ws.http.shapes import Schema

    Handler = TypeVar("Handler", bound=Callable[..., Any])

JSON = "application/json"
NDJSON = "application/x-ndjson"
HTML = "text/html; charset=utf-8"
_KEY = "apiKey"
_IN_PATH = {"conn": "ConnId", "group": "GroupName", "node": "NodeId"}
_ERRORS = {
    400: "it breaks the contract: `field` says where",
    401: "there is no API key, or it is none of ours",
    403: "the API key lacks the scope, or does not reach the target",
    404: "no node has this connection",
    413: "more than the gateway takes",
    429: "too many; see `Retry-After`",
    503: "not now; certainly nothing was done, safe to try again",
    504: "no answer in time; it may have been done",
}


class Answer(NamedTuple):
    """Hold what a handler may answer.

    Attributes:
        schema: the name of its body's; None: it has no body.
        about: when it is answered.
        media_type: of the body.
    """

    schema: str | None
    about: str
    media_type: str = JSON


class _Operation(NamedTuple):
    answers: Mapping[int, Answer]
    errors: tuple[int | tuple[int, str], ...]
    takes: Mapping[str, str]
    query: Mapping[str, Schema]
    required: Collection[str]


def describe(
    answers: Mapping[int, Answer],
    *errors: int | tuple[int, str],
    takes: Mapping[str, str] | None = None,
    query: Mapping[str, Schema] | None = None,
    required: Collection[str] = (),
) -> Callable[[Handler], Handler]:
    """Say for the document what a handler takes and answers; what it does is its docstring's to say.

    Args:
        answers: by status.
        errors: statuses that are answered with an error, those of a missing key left out; with when that
            is, if there is more to say.
        takes: schemas of the body by media type.
        query: schemas of parameters.
        required: which of them have to be there.
    """

    def decorate(handler: Handler) -> Handler:
        operation = _Operation(answers, errors, takes or {}, query or {}, required)
        handler.operation = operation  # type: ignore[attr-defined]
        return handler

    return decorate


def document(app: Sanic[Any, Any]) -> dict[str, Any]:
    """Return the document of an application's routes; those that are not the gateway's are left out."""
    secured = bool(app.ctx.api_keys)
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(app.router.routes, key=lambda route: str(route.path)):
        operation = getattr(route.handler, "operation", None)
        if operation is not None:
            path = re.sub(r"<(\w+)(:\w+)?>", r"{\1}", f"/{route.path}")
            # Whoever uses another method where clients connect is told that it is for WebSockets.
            method = "GET" if "GET" in route.methods else next(iter(route.methods))
            described = _describe_operation(route.handler, operation, path, secured=secured)
            paths.setdefault(path, {})[method.lower()] = described
    components: dict[str, Any] = {"schemas": SCHEMAS}
    if secured:
        components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sanic_ws",
            "version": __version__,
            "summary": "WebSocket push gateway: every push finds its node and gets a truthful receipt",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": components,
    }


def _describe_operation(handler: Any, operation: _Operation, path: str, *, secured: bool) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(handler) or "").partition("\n\n")
    scope = getattr(handler, "scope", None) if secured else None
    described: dict[str, Any] = {
        "operationId": handler.__name__,
        "tags": [handler.__module__.rpartition(".")[2]],
        "summary": summary.replace("\n", " "),
        "responses": _responses(operation, secured=scope is not None),
    }
    if more:
        described["description"] = more
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": ref(_IN_PATH[name])}
        for name in re.findall(r"{(\w+)}", path)
    ] + [
        {"name": name, "in": "query", "required": name in operation.required, "schema": schema}
        for name, schema in operation.query.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.takes:
        content = {media_type: {"schema": ref(name)} for media_type, name in operation.takes.items()}
        described["requestBody"] = {"required": True, "content": content}
    if scope is not None:
        described["security"] = [{_KEY: [scope]}]
    return described


def _responses(operation: _Operation, *, secured: bool) -> dict[str, Any]:
    responses = {status: _response(answer) for status, answer in operation.answers.items()}
    for error in (*operation.errors, *((401, 403) if secured else ())):
        status, about = error if isinstance(error, tuple) else (error, _ERRORS[error])
        responses.setdefault(status, _response(Answer("Error", about)))
    if secured:
        challenge = {"description": "Bearer (RFC 6750)", "required": True, "schema": {"type": "string"}}
        responses[401]["headers"] = {"WWW-Authenticate": challenge}
    return {str(status): responses[status] for status in sorted(responses)}


def _response(answer: Answer) -> dict[str, Any]:
    content = {} if answer.schema is None else {answer.media_type: {"schema": ref(answer.schema)}}
    return {"description": answer.about, **({"content": content} if content else {})}
