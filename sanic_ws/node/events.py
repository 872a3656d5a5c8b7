"""Events: what back ends are told, in the order in which it happened here."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from sanic_ws.core import json
from sanic_ws.core.messages import timestamp
from sanic_ws.errors import BrokerError, BrokerUnavailable
from sanic_ws.logs import event_log
from sanic_ws.tasks import end

if TYPE_CHECKING:
    from sanic_ws.broker import BackEnds
    from sanic_ws.core.messages import EventType

MOST_WAITING = 10_000
"""Events that wait for the broker; past it new ones are dropped."""
RETRY_S = 0.5
TURN = 20
"""Events published before others have their turn."""
CLOSE_TIMEOUT_S = 1.0

log = event_log("sanic_ws.node")


class Events:
    """Publish events, each at most once; nobody waits for that.

    Args:
        back_ends: who is told.

    Attributes:
        published: how many were handed to the broker.
        dropped: how many were not: too many waited, or the connection to the broker broke.
    """

    def __init__(self, back_ends: BackEnds) -> None:
        self._back_ends = back_ends
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._told = False
        self.published = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, kind: EventType, **about: Any) -> None:
        """Have an event published as soon as the broker takes it."""
        if len(self._waiting) >= MOST_WAITING:
            self._drop("too many wait for the broker")
            return
        self._waiting.append((kind, json.dumps({"type": kind, **about, "time": timestamp()})))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="sanic_ws.events")

    async def close(self) -> None:
        """Let events that wait go out, in bounded time."""
        if self._sender is not None:
            await end([self._sender], CLOSE_TIMEOUT_S)
        self.dropped += len(self._waiting)
        self._waiting.clear()

    async def _send_all(self) -> None:
        try:
            turn = 0
            while self._waiting:
                turn += 1
                try:
                    await self._back_ends.publish_event(*self._waiting[0])
                except BrokerUnavailable:
                    await asyncio.sleep(RETRY_S)
                    continue
                except BrokerError as exc:
                    # It may have been published, and is not to come twice.
                    self._drop(str(exc))
                else:
                    self.published += 1
                    self._told = False
                self._waiting.popleft()
                if turn % TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._sender = None

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        if not self._told:
            self._told = True
            log.warning("events are lost", reason=reason)
