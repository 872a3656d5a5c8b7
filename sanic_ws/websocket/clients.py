"""The clients of a node: who owns their connections, and their orderly leave."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.messages import message_frame
from sanic_ws.websocket.conversation import Conversation
from sanic_ws.websocket.echo import Echo
from sanic_ws.websocket.keepalive import KeepAlive

if TYPE_CHECKING:
    from sanic_ws.node import Node
    from sanic_ws.websocket.handlers import Handlers

DRAIN_STEP_S = 0.1

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

    async def drain(self, drain_s: float) -> None:
        """Tell clients to come back elsewhere, in paced batches, each with a wait of its own."""
        self._node.draining = True
        sockets = list(self._node.hub)
        if not sockets:
            return
        log.info("draining %d connections", len(sockets))
        steps = max(1, int(drain_s / DRAIN_STEP_S))
        size = -(-len(sockets) // steps)
        for start in range(0, len(sockets), size):
            for socket in sockets[start : start + size]:
                after_ms = random.randint(100, 1000 + int(drain_s * 500))  # noqa: S311 - jitter
                socket.write(message_frame("reconnect", {"after_ms": after_ms}))
                socket.close(CloseCode.RESTART, f"retry_after_ms={after_ms}")
            await asyncio.sleep(min(DRAIN_STEP_S, drain_s))
