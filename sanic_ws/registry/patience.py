"""A time limit that does not blame the other side for what held this process up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

STALL_S = 0.02
GRACE_S = 0.05
GRACES = 3


class within:  # noqa: N801 - reads as asyncio.timeout does
    """Raise `TimeoutError` if the block takes longer, as `asyncio.timeout` does.

    Where the event loop itself was late, the answer may be here and nobody has read it yet: then there is a
    little more time, a few times at most.

    Args:
        seconds: how long.
    """

    __slots__ = ("_due_at", "_graces", "_limit", "_loop", "_timer")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._graces = GRACES
        self._start_timer(seconds)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, exc, trace)

    def _start_timer(self, seconds: float) -> None:
        self._due_at = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due_at, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        if self._graces and now - self._due_at > STALL_S:
            self._graces -= 1
            self._start_timer(GRACE_S)
        else:
            self._limit.reschedule(now)
