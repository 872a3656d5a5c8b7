"""What asyncio wants to be told about tasks and futures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


def take_failure(future: asyncio.Future[Any]) -> None:
    """Note that a failure was not overlooked, though nobody waits for the future (any more)."""
    if not future.cancelled():
        future.exception()
