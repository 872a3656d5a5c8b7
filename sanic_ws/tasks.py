"""What asyncio wants to be told about tasks and futures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine


def hold(task: asyncio.Task[Any], among: set[asyncio.Task[Any]]) -> None:
    """Keep a task until it has ended; asyncio itself forgets a task that nobody holds."""
    among.add(task)
    task.add_done_callback(among.discard)


def start(coroutine: Coroutine[Any, Any, Any], among: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    """Run something beside, and hold it until it has ended."""
    task = asyncio.create_task(coroutine)
    hold(task, among)
    return task


async def end(tasks: Collection[asyncio.Task[Any]], timeout_s: float) -> None:
    """Wait for tasks to end; cancel those that take longer."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()


def take_failure(future: asyncio.Future[Any]) -> None:
    """Note that a failure was not overlooked, though nobody waits for the future (any more)."""
    if not future.cancelled():
        future.exception()
