"""The messages that have come and were not read yet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.client.messages import Message


class Inbox:
    """Hold messages in order; while it is full, nothing is read from the socket.

    What one more read has brought still comes in: up to a megabyte or so, as the socket's buffer is.

    Args:
        size: how many messages make it full.
        pause: called with whether it is full, when that changes.
    """

    def __init__(self, size: int, pause: Callable[[bool], None]) -> None:
        self._size = size
        self._pause = pause
        self._messages: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._error: Exception | None = None
        self._ended = False
        self.full = False

    def put(self, message: Message) -> None:
        """Add a message."""
        self._messages.append(message)
        self._changed.set()
        if not self.full and len(self._messages) >= self._size:
            self.full = True
            self._room.clear()
            self._pause(True)

    async def has_room(self) -> None:
        """Wait until it is not full."""
        await self._room.wait()

    def end(self, error: Exception | None) -> None:
        """Let nothing more come; who has read everything is told the error."""
        self._ended, self._error = True, error
        self._changed.set()

    async def get(self) -> Message:
        """Return the next message; wait for it.

        Raises:
            StopAsyncIteration: it has ended.
            Exception: the error that it has ended with.
        """
        while not self._messages:
            if self._ended:
                raise self._error or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        if self.full and len(self._messages) <= self._size // 2:
            self.full = False
            self._room.set()
            self._pause(False)
        return message
