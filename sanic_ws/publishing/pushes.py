"""What all that push have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sanic_ws.core.requests import (
    DEFAULT_TIMEOUT_S,
    Excluded,
    Offline,
    Overflow,
    PushRequest,
    Target,
    Wait,
    WaitFor,
)
from sanic_ws.publishing.sending import push_all

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.dispatch import Dispatcher
    from sanic_ws.tracing import Tracing


class Pushes(ABC):
    """Push one message, or many with one call."""

    async def push(
        self,
        to: Target | Sequence[Target],
        type: str | None = None,  # noqa: A002 - the contract's name
        data: Any = None,
        *,
        raw: str | bytes | None = None,
        id: str | None = None,  # noqa: A002
        wait: Wait = "written",
        wait_for: WaitFor = "all",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        exclude: Collection[Excluded] = (),
        ttl_s: float | None = None,
        overflow: Overflow = "drop",
        coalesce_key: str | None = None,
        offline: Offline = "fail",
    ) -> Receipt:
        """Push one message; see `PushRequest` for the arguments.

        What goes wrong on the way is an outcome of the receipt, not an exception.

        Raises:
            InvalidField: an argument breaks the contract; nothing was sent.
        """
        options = (wait, timeout_s, exclude, wait_for, ttl_s, overflow, coalesce_key, offline)
        (receipt,) = await self.push_many([PushRequest(to, type, data, raw, id, *options)])
        return receipt

    @abstractmethod
    async def push_many(self, requests: Sequence[PushRequest]) -> list[Receipt]:
        """Push many messages with one call; the receipts come in the same order.

        Raises:
            InvalidField: a request breaks the contract; nothing was sent.
        """


async def push_traced(
    dispatcher: Dispatcher,
    requests: Sequence[PushRequest],
    tracing: Tracing | None,
    most_bytes: int | None = None,
) -> list[Receipt]:
    """Push as `push_all` does, within a span of this call where the application traces."""
    if tracing is None or not tracing.wanted:
        return await push_all(dispatcher, requests, most_bytes)
    with tracing.push(len(requests)) as trace:
        return await push_all(dispatcher, requests, most_bytes, trace=trace)
