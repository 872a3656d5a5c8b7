"""Errors as the contract writes them: ``{"error": {"code", "message", "field"?}}``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sanic import HTTPResponse, Request, Sanic, raw
from sanic.constants import HTTP_METHODS
from sanic.exceptions import MethodNotAllowed, NotFound, RequestCancelled, SanicException
from sanic.handlers import ErrorHandler

from sanic_ws.core import json
from sanic_ws.errors import (
    InvalidField,
    InvalidJSON,
    MailboxUnavailable,
    NotAllowed,
    RegistryUnavailable,
    TooLarge,
)
from sanic_ws.logs import event_log
from sanic_ws.websocket.handshake import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = event_log("sanic_ws.http")

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    417: "expectation_failed",
    429: "too_many_requests",
    503: "unavailable",
}


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Answer with JSON."""
    return raw(json.dumps(value), status, dict(headers or {}), content_type="application/json")


def error(
    status: int, code: str, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Answer with an error."""
    body = {"code": code, "message": message}
    if field:
        body["field"] = field
    return answer({"error": body}, status, headers)


class Errors(ErrorHandler):
    """Turn every exception into an error in JSON; only a fault of ours is logged with its trace."""

    def default(self, request: Request[Any, Any], exception: Exception) -> HTTPResponse:
        """Answer for an exception."""
        known = _answer_known(exception)
        if known is not None:
            if isinstance(exception, MethodNotAllowed):
                known.headers["Allow"] = ", ".join(_allowed_methods(request))
            return known
        # Not the address itself: a connection's id may be in it.
        log.fault("request failed", exception, method=request.method, route=request.uri_template)
        return error(500, "internal_error", "something went wrong here; it was logged")


def _answer_known(exc: BaseException) -> HTTPResponse | None:  # noqa: PLR0911 - one for each kind
    """Answer for what a client or a backend did wrong; None for a fault of ours."""
    match exc:
        case RequestCancelled():
            return HTTPResponse(status=499)  # the client went away; nobody reads this
        case Refused():
            return error(exc.status, exc.code, str(exc), exc.field, exc.headers)
        case NotAllowed():
            return error(403, "forbidden", str(exc), exc.field)
        case InvalidField():
            status, code = (413, "too_large") if isinstance(exc, TooLarge) else (400, "invalid_field")
            return error(status, code, str(exc), exc.field)
        case InvalidJSON():
            return error(400, "invalid_json", f"not JSON: {exc}")
        case RegistryUnavailable():
            return error(503, "unavailable", "the registry does not answer")
        case MailboxUnavailable():
            return error(503, "unavailable", "the mailbox does not answer")
        case SanicException() if exc.status_code in _CODES:
            return error(exc.status_code, _CODES[exc.status_code], _plain(exc), headers=exc.headers)
    return None


def _allowed_methods(request: Request[Any, Any]) -> Iterator[str]:
    """Say which methods an address is for; of one with a parameter Sanic's router does not."""
    for method in HTTP_METHODS:
        with suppress(MethodNotAllowed, NotFound):
            request.app.router.get(request.path, method, None)
            yield str(method)


def _plain(exception: SanicException) -> str:
    text = str(exception)
    # The router's own texts repeat the address, and with it what is in it: a connection's id, or worse.
    if isinstance(exception, MethodNotAllowed):
        return "this address is for other methods"
    if isinstance(exception, NotFound) and text.startswith("Requested URL"):
        return "nothing is at this address"
    return text.splitlines()[0] if text else _CODES[exception.status_code]


def install(app: Sanic[Any, Any]) -> None:
    """Have an application answer this way."""
    app.error_handler = Errors()
