"""Moves: telling other nodes that connections of theirs have moved here."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, wait_random_exponential

from sanic_ws.core.batch import Batch, close_target, encode_batch
from sanic_ws.core.closing import CloseCode
from sanic_ws.errors import BrokerError
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from sanic_ws.broker import Broker
    from sanic_ws.core.flights import Owner

TELL_S = 10.0
"""How long another node is tried that cannot be told that a connection has moved here."""
MOST = 1000
"""Connections in one message."""
TTL_MS = 5000

log = event_log("sanic_ws.node")


class Moves:
    """Have other nodes close the sockets of connections that are here now.

    One message is under way to a node at a time, for all that it has to be told: when a node dies, its
    connections come here by the thousands, and each attempt to reach it costs the same for all of them.

    Args:
        broker: carries the messages.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._untold: dict[str, list[tuple[float, str]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(BrokerError), wait=wait_random_exponential(multiplier=0.1, max=2)
        )

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return list(self._tasks.values())

    def add(self, conn: str, owner: Owner) -> None:
        """Have the socket closed that had the id; a node that cannot be told finds out by itself later."""
        target = close_target(conn, CloseCode.REPLACED, owner.session)
        self._untold.setdefault(owner.node, []).append((time.monotonic() + TELL_S, target))
        if owner.node not in self._tasks:
            self._tasks[owner.node] = asyncio.create_task(self._tell(owner.node), name="sanic_ws.moves")

    async def _tell(self, node: str) -> None:
        try:
            while self._untold[node]:
                with suppress(RetryError):
                    async for attempt in self._retrying.copy(stop=lambda _: self._gives_up(node)):
                        with attempt:
                            await self._send(node)
        finally:
            self._untold.pop(node, None)
            del self._tasks[node]

    async def _send(self, node: str) -> None:
        """Tell a node all, what comes meanwhile too."""
        untold = self._untold[node]
        while untold:
            targets = [target for _, target in untold[:MOST]]
            batch = Batch(0, time.time(), TTL_MS, targets, [b""] * len(targets))
            await self._broker.send(node, encode_batch(batch), TTL_MS)
            del untold[: len(targets)]

    def _gives_up(self, node: str) -> bool:
        """Forget what a node could not be told for too long; say whether nothing is left."""
        untold, now = self._untold[node], time.monotonic()
        kept = [(over_at, target) for over_at, target in untold if over_at > now]
        if len(kept) < len(untold):
            log.debug("node not told that connections moved", node=node, connections=len(untold) - len(kept))
        untold[:] = kept
        return not kept
