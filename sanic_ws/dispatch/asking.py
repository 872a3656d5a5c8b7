"""Questions to nodes that are no pushes: one batch each, and the answers of those that answer in time."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING

from sanic_ws.core.batch import Batch, encode_batch
from sanic_ws.errors import BrokerError
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sanic_ws.broker import Broker
    from sanic_ws.core.batch import Reply

FIRST = 1 << 40
"""Batches from this number on are questions; the router's numbers stay far below."""

log = event_log("sanic_ws.dispatch")


class Questions:
    """Ask nodes, and wait for what they say.

    Args:
        broker: carries the batches.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._numbers = count(FIRST)
        self._open: dict[int, asyncio.Future[Reply]] = {}

    def replied(self, reply: Reply) -> None:
        """Take in an answer; one that nobody waits for any more is dropped."""
        future = self._open.get(reply.id)
        if future is not None and not future.done():
            future.set_result(reply)

    async def ask(self, nodes: Iterable[str], target: str, timeout_s: float) -> dict[str, Reply | None]:
        """Ask nodes the same, all at once; None stands for one that did not answer in time."""
        asked = list(nodes)
        replies = await asyncio.gather(*(self._ask(node, target, timeout_s) for node in asked))
        return dict(zip(asked, replies, strict=True))

    async def _ask(self, node: str, target: str, timeout_s: float) -> Reply | None:
        try:
            return await self.ask_one(node, target, timeout_s)
        except (BrokerError, TimeoutError) as exc:
            log.debug("node was not asked or did not answer", node=node, reason=type(exc).__name__)
            return None

    async def ask_one(self, node: str, target: str, timeout_s: float) -> Reply:
        """Ask one node.

        Raises:
            BrokerError: it cannot be asked, or may not have been.
            TimeoutError: it did not answer in time.
        """
        number, ttl_ms = next(self._numbers), int(timeout_s * 1000)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        try:
            async with asyncio.timeout(timeout_s):
                batch = Batch(number, time.time(), ttl_ms, [target], [b""])
                await self._broker.send(node, encode_batch(batch), ttl_ms)
                return await future
        finally:
            del self._open[number]
