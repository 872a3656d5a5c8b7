"""The clients of a node: who owns their connections, and their orderly leave."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.messages import message_frame
from sanic_ws.websocket.conversation import Conversation
from sanic_ws.websocket.echo import Echo
from sanic_ws.websocket.handshake import Refused
from sanic_ws.websocket.keepalive import KeepAlive

if TYPE_CHECKING:
    from sanic_ws.node import Node
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.handlers import Handlers

MAX_JOINING = 2000
"""Handshakes under way; a node answers some 3,000 a second."""
DRAIN_STEP_S = 0.1
CLOSE_S = 1.5

log = logging.getLogger("sanic_ws.websocket")


class Clients:
    """Hold what all client connections of a node share.

    Args:
        node: what they are connected to.
        handlers: the application's, for what they send.
    """

    def __init__(self, node: Node, handlers: Handlers) -> None:
        self._node = node
        self.keep_alive = KeepAlive(node.settings.heartbeat_s)
        self.conversation = Conversation(node, self.keep_alive, handlers)
        self.echo = Echo(self.keep_alive)
        self._joining = 0

    async def join(self, connection: Connection) -> None:
        """Register a new connection; with too many under way refuse, so that those who came first are served.

        Raises:
            Refused: try again in a moment, or elsewhere (503); or a newer connection took the id (409).
        """
        if self._node.draining:
            raise Refused(503, "draining", "this node is leaving; connect to another")
        if self._joining >= MAX_JOINING:
            raise Refused(503, "busy", "too many clients connect at this moment", retry_after_s=1)
        self.keep_alive.add(connection)
        self._joining += 1
        try:
            await self._node.membership.join(connection)
            if connection.left and self._node.draining:
                raise Refused(503, "draining", "this node is leaving; connect to another")  # noqa: TRY301
            if connection.left:
                raise Refused(409, "replaced", "a newer connection has this id")  # noqa: TRY301
        except BaseException:
            connection.abort()
            self.keep_alive.discard(connection)
            raise
        finally:
            self._joining -= 1

    async def drain(self, drain_s: float) -> None:
        """Tell clients to come back elsewhere, in paced batches, each with a wait of its own."""
        self._node.draining = True
        sockets = list(self._node.hub)
        if sockets:
            log.info("draining %d connections", len(sockets))
        steps = max(1, int(drain_s / DRAIN_STEP_S))
        size = -(-len(sockets) // steps)
        for start in range(0, len(sockets), size or 1):
            for socket in sockets[start : start + size]:
                after_ms = random.randint(100, 1000 + int(drain_s * 500))  # noqa: S311 - jitter
                socket.write(message_frame("reconnect", {"after_ms": after_ms}))
                socket.close(CloseCode.RESTART, f"retry_after_ms={after_ms}")
            await asyncio.sleep(min(DRAIN_STEP_S, drain_s))
        await self._close_rest()

    async def _close_rest(self) -> None:
        """Let clients read why they are closed: a process that ends resets what they have not read."""
        for connection in list(self.keep_alive):
            connection.close(CloseCode.RESTART)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.keep_alive.emptied()
