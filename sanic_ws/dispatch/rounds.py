"""Rounds: what comes while one call is under way goes together into the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


class Rounds(Generic[T, R]):
    """Collect single calls into calls for many, without a timer: an idle system adds no delay.

    Args:
        call: takes items and returns a result for each, in their order.
        most: items in one round.
    """

    def __init__(self, call: Callable[[Sequence[T]], Awaitable[Sequence[R]]], most: int = 500) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._runner: asyncio.Task[None] | None = None

    def add(self, item: T) -> asyncio.Future[R]:
        """Put an item into the next round; the future has its result, or the round's exception."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="sanic_ws.rounds")
        return future

    async def join(self) -> None:
        """Wait until every round so far is done."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._round(batch)
        finally:
            self._runner = None

    async def _round(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._call([item for item, _ in batch])
        except Exception as exc:  # noqa: BLE001 - it belongs to those who wait
            for _, future in batch:
                if not future.done():
                    future.set_exception(exc)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
