"""Calls of back ends: the pushes of the HTTP side, asked for through the broker."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from sanic_ws.core import json
from sanic_ws.core.requests import MAX_BODY_BYTES, read_push_request, read_push_requests
from sanic_ws.errors import InvalidField, InvalidJSON, TooLarge
from sanic_ws.logs import event_log
from sanic_ws.publishing.sending import push_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from sanic_ws.broker import Call
    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.core.requests import PushRequest
    from sanic_ws.dispatch import Dispatcher
    from sanic_ws.tracing import Trace, Tracing

log = event_log("sanic_ws.node")


class Calls:
    """Carry calls out: a push as ``POST /api/v1/push`` takes it, or ``{"pushes": […]}``.

    A redelivered call was with a node that died, or that lost the broker, before it was acknowledged. It may
    have been pushed by then. Pushes with an id of the caller's are made again, as copies are delivered once;
    any other could be delivered twice, and is answered as `unknown`. An error is the same however often it is
    found out.

    Args:
        dispatcher: sends the pushes.
        max_message_bytes: of one frame.
        tracing: makes spans of calls, if anything does.

    Attributes:
        outcomes: how many got their receipts, `answered`; how many an error, `failed`; and how many of those
            with an error were `set_aside`, as nobody waited for it.
    """

    def __init__(
        self, dispatcher: Dispatcher, max_message_bytes: int, tracing: Tracing | None = None
    ) -> None:
        self._dispatcher = dispatcher
        self._max_message_bytes = max_message_bytes
        self._tracing = tracing
        self.outcomes: Counter[str] = Counter()

    async def answer(self, call: Call) -> bytes | None:
        """Carry a call out; return its receipts or its error, or None for an error that nobody would read."""
        try:
            with self._traced(call) as trace:
                answer = json.dumps(await self._carry_out(call, trace))
        except TooLarge as exc:
            error = _error("too_large", str(exc), exc.field)
        except InvalidField as exc:
            error = _error("invalid_field", str(exc), exc.field)
        except InvalidJSON as exc:
            error = _error("invalid_json", f"not JSON: {exc}")
        except Exception as exc:  # noqa: BLE001 - a fault of ours, of any kind
            log.fault("call failed", exc)
            error = _error("internal_error", "something went wrong here; it was logged")
        else:
            self.outcomes["answered"] += 1
            return answer
        self.outcomes["failed" if call.answered else "set_aside"] += 1
        if not call.answered:
            log.warning("call set aside, nobody waits for the error", code=error["code"])
            return None
        return json.dumps({"error": error})

    def _traced(self, call: Call) -> AbstractContextManager[Trace | None]:
        return nullcontext() if self._tracing is None else self._tracing.call(call.headers)

    async def _carry_out(self, call: Call, trace: Trace | None) -> dict[str, Any]:
        if len(call.body) > MAX_BODY_BYTES:
            raise TooLarge("", f"a call must be at most {MAX_BODY_BYTES} bytes")
        value = json.loads(call.body)
        if isinstance(value, dict) and "pushes" in value:
            for name in value.keys() - {"pushes"}:
                raise InvalidField(str(name), "is not part of a batch")
            requests = read_push_requests(value["pushes"])
            receipts = await self._push(call, requests, trace, "pushes[{}].")
            return {"receipts": [receipt.to_json() for receipt in receipts]}
        (receipt,) = await self._push(call, [read_push_request(value)], trace)
        return receipt.to_json()

    async def _push(
        self, call: Call, asked: Sequence[PushRequest], trace: Trace | None, where: str = ""
    ) -> list[Receipt]:
        if call.expires_s is not None:
            for request in asked:
                # Nobody waits for longer.
                request.timeout_s = min(request.timeout_s, call.expires_s)
        return await push_all(
            self._dispatcher, asked, self._max_message_bytes, where, trace, again=call.redelivered
        )


def _error(code: str, message: str, field: str = "") -> dict[str, str]:
    return {"code": code, "message": message} | ({"field": field} if field else {})
