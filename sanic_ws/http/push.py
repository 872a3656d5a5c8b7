"""``POST /api/v1/push`` and ``/api/v1/push/batch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic import Blueprint, HTTPResponse, Request

from sanic_ws.core import json
from sanic_ws.core.outcomes import Outcome
from sanic_ws.core.requests import PushRequest, read_push_request, read_push_requests
from sanic_ws.errors import InvalidField, InvalidJSON
from sanic_ws.http.auth import check_targets, scope
from sanic_ws.http.errors import answer
from sanic_ws.http.openapi import JSON, NDJSON, Answer, describe
from sanic_ws.publishing.sending import push_all

if TYPE_CHECKING:
    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.node import Node

blueprint = Blueprint("push", url_prefix="/api/v1/push")

TOO_LARGE = (413, "the message is larger than `MAX_MESSAGE_BYTES`, or the body than the node takes")

_STATUS = {Outcome.UNAVAILABLE: 503, Outcome.UNKNOWN: 504}


def status_of(asked: PushRequest, receipt: Receipt) -> int:
    """Return the HTTP status of a push's receipt."""
    return 202 if asked.wait == "none" else _STATUS.get(receipt.outcome, 200)


@blueprint.post("/")
@describe(
    {
        200: Answer("Receipt", "`delivered`, `acked`, `offline`, `overloaded` or `partial`"),
        202: Answer("Receipt", "`unknown`, as nobody waits for it (`wait: none`)"),
        503: Answer("Receipt", "`unavailable`: certainly not sent, safe to retry"),
        504: Answer("Receipt", "`unknown`: no answer in time; it may have been delivered"),
    },
    400,
    TOO_LARGE,
    takes={JSON: "Push"},
)
@scope("push")
async def push(request: Request[Any, Any]) -> HTTPResponse:
    """Push one message and answer with its receipt."""
    asked = read_push_request(json.loads(request.body))
    check_targets(request, asked)
    (receipt,) = await _push(request, [asked])
    return answer(receipt.to_json(), status_of(asked, receipt))


@blueprint.post("/batch")
@describe(
    {200: Answer("Receipts", "a receipt for each push")},
    (400, "one of them breaks the contract: `field` says which, and where; nothing was sent"),
    (413, "a message is larger than `MAX_MESSAGE_BYTES`, or the body than the node takes; nothing was sent"),
    takes={JSON: "Batch", NDJSON: "BatchLines"},
)
@scope("push")
async def batch(request: Request[Any, Any]) -> HTTPResponse:
    """Push up to 1,000 messages, as ``{"pushes": […]}`` or NDJSON; answer with the receipts in order."""
    values = _read_batch(request.body, request.headers.get("content-type", ""))
    asked = read_push_requests(values)
    for number, one in enumerate(asked):
        check_targets(request, one, f"pushes[{number}].")
    receipts = await _push(request, asked, "pushes[{}].")
    return answer({"receipts": [receipt.to_json() for receipt in receipts]})


def _read_batch(body: bytes, content_type: str) -> list[Any]:
    if "ndjson" in content_type or "jsonl" in content_type:
        return _read_lines(body)
    try:
        value = json.loads(body)
    except InvalidJSON:
        lines = body.strip().splitlines()
        if len(lines) > 1:
            return _read_lines(body)
        raise
    if isinstance(value, dict) and "pushes" not in value and "to" in value:
        return [value]
    if not isinstance(value, dict) or not isinstance(value.get("pushes"), list):
        raise InvalidField("pushes", "must be a list")
    for name in value.keys() - {"pushes"}:
        raise InvalidField(str(name), "is not part of a batch")
    return list(value["pushes"])


def _read_lines(body: bytes) -> list[Any]:
    values = []
    for number, line in enumerate(body.splitlines()):
        if line.strip():
            try:
                values.append(json.loads(line))
            except InvalidJSON as exc:
                raise InvalidField(f"pushes[{number}]", f"not JSON: {exc}") from None
    return values


async def _push(request: Request[Any, Any], asked: list[PushRequest], where: str = "") -> list[Receipt]:
    node: Node = request.app.ctx.node
    trace = None if node.tracing is None else request.ctx.trace
    return await push_all(node.dispatcher, asked, node.settings.max_message_bytes, where, trace)
