"""From requests to receipts, over a dispatcher."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.identity import Conn
from sanic_ws.core.outcomes import Outcome, Receipt
from sanic_ws.core.push import NOBODY, Push
from sanic_ws.core.requests import DEFAULT_TIMEOUT_S, PushRequest, new_push_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.dispatch import Dispatcher


async def push_all(dispatcher: Dispatcher, requests: Sequence[PushRequest]) -> list[Receipt]:
    """Push, in this order, and return the receipts in the same order.

    Every request is checked before the first one is sent. Cancelling the call does not take back what
    was sent.

    Raises:
        InvalidField: a request breaks the contract; nothing was sent.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    receipts: list[Receipt | None] = [None] * len(requests)
    left = len(requests)

    def take(number: int) -> Callable[[Receipt], None]:
        def done(receipt: Receipt) -> None:
            nonlocal left
            receipts[number] = receipt
            left -= 1
            if not left and not future.done():
                future.set_result(None)

        return done

    now = monotonic()
    pushes = [_push(request, now, take(number)) for number, request in enumerate(requests)]
    for number, (push, request) in enumerate(zip(pushes, requests, strict=True)):
        if request.wait == "none":
            push.done = _ignore
            take(number)(Receipt(push.id, Outcome.UNKNOWN, {}))
        dispatcher.submit(push)
    if pushes:
        await future
    return [receipt for receipt in receipts if receipt is not None]


async def close_connection(dispatcher: Dispatcher, conn: str, code: int) -> Receipt:
    """Have the owner close a connection; `delivered` says that it was asked to."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Receipt] = loop.create_future()
    now = monotonic()
    push = Push(
        new_push_id(),
        [Conn(conn)],
        b"",
        started=now,
        deadline=now + DEFAULT_TIMEOUT_S,
        done=lambda receipt: None if future.done() else future.set_result(receipt),
        close_code=code,
    )
    dispatcher.submit(push)
    return await future


def _push(request: PushRequest, now: float, done: Callable[[Receipt], None]) -> Push:
    assert request.id is not None
    return Push(
        request.id,
        request.targets,
        request.frame(),
        exclude=frozenset(request.exclude) if request.exclude else NOBODY,
        started=now,
        deadline=now + request.timeout_s,
        done=done,
    )


def _ignore(_: Receipt) -> None:
    """Drop a receipt that nobody waits for."""
