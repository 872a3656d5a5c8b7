"""From requests to receipts, over a dispatcher."""

from __future__ import annotations

import asyncio
from itertools import compress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.frames import payload_bytes
from sanic_ws.core.identity import Conn
from sanic_ws.core.mail import DEFAULT_TTL_S
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Outcome, Receipt
from sanic_ws.core.push import NOBODY, Push
from sanic_ws.core.requests import DEFAULT_TIMEOUT_S, PushRequest, new_push_id
from sanic_ws.errors import InvalidField, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.core.groups import Change
    from sanic_ws.core.histograms import Histogram
    from sanic_ws.dispatch import Dispatcher
    from sanic_ws.dispatch.following import Journey
    from sanic_ws.tracing import Trace


class _Call:
    """Wait for all the pushes of one call."""

    __slots__ = ("future", "latencies", "open")

    def __init__(self, pushes: int, latencies: Histogram) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies = latencies
        self.open = pushes

    def done(self, push: Push) -> None:
        """Count a push that is done."""
        self.latencies.observe(monotonic() - push.started)
        self.open -= 1
        if not self.open and not self.future.done():
            self.future.set_result(None)


async def push_all(
    dispatcher: Dispatcher,
    requests: Sequence[PushRequest],
    most_bytes: int | None = None,
    where: str = "",
    trace: Trace | Journey | None = None,
    *,
    again: bool = False,
) -> list[Receipt]:
    """Push, in this order, and return the receipts in the same order.

    Every request is checked before the first one is sent. Cancelling the call does not take back what
    was sent.

    Args:
        dispatcher: sends them.
        requests: what is asked for.
        most_bytes: of one message.
        where: what goes before a field's name in an error; ``{}`` in it is the request's number.
        trace: what the pushes came in, if that is traced, or records what happens to them.
        again: whether they may have been sent before: those without an id of their own are `unknown` then,
            and not sent.

    Raises:
        InvalidField: a request breaks the contract; nothing was sent.
        TooLarge: a message is longer than ``most_bytes``; nothing was sent.
    """
    sent = [request.has_own_id or not again for request in requests]
    waited = [is_sent and request.wait != "none" for request, is_sent in zip(requests, sent, strict=True)]
    call = _Call(sum(waited), dispatcher.receipt_s)
    now = monotonic()
    pushes = []
    for number, request in enumerate(requests):
        try:
            push = _push(request, now, call.done if request.wait != "none" else _ignore, trace)
            if most_bytes is not None and payload_bytes(push.frame) > most_bytes:
                raise TooLarge(request.content_field, f"a message must be at most {most_bytes} bytes")
        except InvalidField as exc:
            raise type(exc)(where.format(number) + exc.field, exc.reason) from None
        pushes.append(push)
    stored = any(request.offline == "store" for request in requests)
    dispatcher.submit(list(compress(pushes, sent)), stored=stored)
    if any(waited):
        await call.future
    receipts = [
        push.receipt() if is_waited else Receipt(push.id, (), {Outcome.UNKNOWN: len(push.targets)})
        for push, is_waited in zip(pushes, waited, strict=True)
    ]
    if trace is not None:
        trace.note(requests, receipts)
    return receipts


async def close_connection(dispatcher: Dispatcher, conn: str, code: int) -> Receipt:
    """Have the owner close a connection; `delivered` says that it was asked to."""
    return await _ask_owner(dispatcher, conn, close_code=code)


async def change_groups(dispatcher: Dispatcher, change: Change) -> Receipt:
    """Have the owner change a connection's groups; `delivered` says that it has, and the registry knows."""
    return await _ask_owner(dispatcher, change.conn, change=change)


async def _ask_owner(
    dispatcher: Dispatcher, conn: str, *, close_code: int | None = None, change: Change | None = None
) -> Receipt:
    call = _Call(1, dispatcher.receipt_s)
    now = monotonic()
    push = Push(
        new_push_id(),
        [Conn(conn)],
        b"",
        started=now,
        deadline=now + DEFAULT_TIMEOUT_S,
        done=call.done,
        close_code=close_code,
        change=change,
    )
    dispatcher.submit([push])
    await call.future
    return push.receipt()


def _push(request: PushRequest, now: float, done: Callable[[Push], None], trace: object | None) -> Push:
    assert request.id is not None
    return Push(
        request.id,
        request.targets,
        request.frame(),
        exclude=request.left_out if request.exclude else NOBODY,
        started=now,
        deadline=now + request.timeout_s,
        done=done,
        order=_order(request, now),
        trace=trace,
    )


def _order(request: PushRequest, now: float) -> Order | None:
    """Return what is asked of nodes beside writing the frame; most pushes need nothing of that kind."""
    stores = request.offline == "store"
    plain = not (request.has_own_id or request.asks or stores)
    if plain and request.overflow == "drop" and request.ttl_s is None:
        return None
    assert request.id is not None
    return Order(
        request.id,
        once=request.has_own_id,
        wait=request.wait,
        first=request.wait_for == "first",
        timeout_ms=max(1, int(request.timeout_s * 1000)),
        overflow=request.overflow,
        key=request.coalesce_key,
        expires=inf if request.ttl_s is None else now + request.ttl_s,
        keep_s=(request.ttl_s or DEFAULT_TTL_S) if stores else None,
    )


def _ignore(_: Push) -> None:
    """Drop a push that nobody waits for."""
