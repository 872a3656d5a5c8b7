"""What waits in front of a client that reads slowly: in its transport, and behind that in a queue.

The transport's water marks say when to go on: low ones while something waits, so that little of what could
still be replaced is in the transport, and the connection's own while it is full.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.waiting import Waiting

if TYPE_CHECKING:
    import asyncio

    from sanic_ws.core.waiting import Late

SLOW_BYTES = 64 << 10
"""A client is slow when its transport holds more, or more than a quarter of the bound."""


def slow_bytes(max_queue_bytes: int) -> int:
    """Return how much a transport may hold of a client that is not slow."""
    return min(SLOW_BYTES, max_queue_bytes // 4)


class Backlog:
    """Hold what waits for one client, as long as it is slow.

    What may be given up makes room for the rest, and does not make it full: a client that is behind with
    nothing else is slow, and not stuck.

    Args:
        transport: the client's.
        max_queue_bytes: how much may wait in both; a frame is taken whole if less waits.
        full: whether the transport alone is full.

    Attributes:
        full: whether too much waits that cannot be given up; until no more than a quarter does.
    """

    __slots__ = ("_max_bytes", "_slow_bytes", "_transport", "_waiting", "full")

    def __init__(self, transport: asyncio.Transport, max_queue_bytes: int, *, full: bool) -> None:
        self._transport = transport
        self._max_bytes = max_queue_bytes
        self._slow_bytes = slow_bytes(max_queue_bytes)
        self._waiting = Waiting()
        self.full = full

    @property
    def _kept_bytes(self) -> int:
        return self._transport.get_write_buffer_size() + self._waiting.plain_bytes

    def put(self, frame: bytes) -> bool:
        """Have a frame wait that is not given up; say `False` if too much waits."""
        if self.full:
            return False
        self._make_room()
        self._waiting.put(frame)
        self.measure()
        return True

    def offer(self, frame: bytes, late: Late) -> bool:
        """Have a frame wait that may be given up; say `False` if the others leave no room."""
        if self._kept_bytes >= self._max_bytes:
            return False
        self._waiting.drop_key(late.key)
        self._make_room()
        self._waiting.put(frame, late)
        self.measure()
        return True

    def _make_room(self) -> None:
        waiting, transport = self._waiting, self._transport
        while transport.get_write_buffer_size() + waiting.bytes >= self._max_bytes:
            if not waiting.drop_oldest():
                break

    def feed(self) -> bool:
        """Write what waits until the transport holds enough; say whether the client is slow yet."""
        now, transport = monotonic(), self._transport
        while transport.get_write_buffer_size() <= self._slow_bytes:
            frame = self._waiting.take(now)
            if frame is None:
                self.full = False
                self._restore_limits()
                return False
            transport.write(frame.content)
            if frame.late is not None:
                frame.late.ended(True)
        self.measure()
        return True

    def expire(self, now: float) -> None:
        """Give up what is not to be written any more."""
        self._waiting.expire(now)

    def measure(self) -> None:
        """See how much waits, and have the transport say when it is time to go on."""
        kept = self._kept_bytes
        if kept >= self._max_bytes:
            self.full = True
        elif kept <= self._max_bytes // 4:
            self.full = False
        low = self._slow_bytes // 2
        if self.full:
            low = max(low, self._max_bytes // 4 - self._waiting.plain_bytes)
        self._transport.set_write_buffer_limits(high=max(self._slow_bytes, low), low=low)

    def end(self) -> None:
        """Write what is not given up, however much the transport holds, and give up the rest."""
        rest = self._waiting.end()
        if not self._transport.is_closing():
            for frame in rest:
                self._transport.write(frame)
            self._restore_limits()

    def _restore_limits(self) -> None:
        self._transport.set_write_buffer_limits(high=self._max_bytes, low=self._max_bytes // 4)
