"""The messages that wait for a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sanic_ws.errors import ClientError, ClientOverloaded

if TYPE_CHECKING:
    from sanic_ws.client.link import Link


class Outbox:
    """Hold messages, each of them with somebody who waits until it is sent.

    Args:
        size: how many at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: dict[asyncio.Future[None], bytes] = {}

    async def wait(self, content: bytes) -> None:
        """Wait until a message is sent; who is cancelled takes it back.

        Raises:
            ClientOverloaded: too many wait already.
            ClientError: there will be no connection any more.
        """
        if len(self._waiting) >= self._size:
            raise ClientOverloaded(f"{self._size} messages wait for the connection already")
        sent = asyncio.get_running_loop().create_future()
        self._waiting[sent] = content
        try:
            await sent
        finally:
            self._waiting.pop(sent, None)

    def flush(self, link: Link) -> None:
        """Send all that wait, in order."""
        for sent, content in self._waiting.items():
            if not sent.done():
                link.write(content)
                sent.set_result(None)
        self._waiting.clear()

    def end(self, error: ClientError) -> None:
        """Tell all who wait that nothing is sent any more."""
        for sent in self._waiting:
            if not sent.done():
                sent.set_exception(error)
        self._waiting.clear()
