"""The clients of a node: who owns their connections, and their orderly leave."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.groups import WATCHERS
from sanic_ws.core.messages import message_frame
from sanic_ws.logs import event_log
from sanic_ws.websocket.admission import Admission
from sanic_ws.websocket.conversation import Conversation
from sanic_ws.websocket.echo import Echo
from sanic_ws.websocket.keepalive import KeepAlive
from sanic_ws.websocket.quotas import Quotas
from sanic_ws.websocket.unregistered import Unregistered
from sanic_ws.websocket.watchers import Watchers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sanic_ws.core.tokens import Identity
    from sanic_ws.node import Node
    from sanic_ws.websocket.authentication import Authentication
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.handlers import Handlers

DRAIN_STEP_S = 0.1
CLOSE_S = 1.5

log = event_log("sanic_ws.websocket")


class Clients:
    """Hold what all client connections of a node share.

    Args:
        node: what they are connected to.
        handlers: the application's, for what they send.
        authentication: says who they are.
    """

    def __init__(self, node: Node, handlers: Handlers, authentication: Authentication) -> None:
        self._node = node
        self.authentication = authentication
        self.keep_alive = KeepAlive(node.settings.heartbeat_s)
        self._quotas = Quotas(node.settings, node.hub)
        self._admission = Admission(node, self.keep_alive, authentication, self._quotas)
        self.conversation = Conversation(node, self.keep_alive, handlers, self._admission, self._quotas)
        self.echo = Echo(self.keep_alive, node.closes)
        self.unregistered = Unregistered(self.keep_alive, node.closes)
        self.watchers = Watchers(node, self.keep_alive, self._quotas)

    @contextmanager
    def admitted(self, connection: Connection, address: str) -> Iterator[None]:
        """Give a new connection a place while it is taken in; it keeps it unless that fails.

        Raises:
            Refused: as `Quotas.admit` does.
        """
        self._quotas.admit(connection, address)
        try:
            yield
        except BaseException:
            connection.abort()
            self.keep_alive.discard(connection)
            raise

    async def join(self, connection: Connection, identity: Identity | None = None) -> None:
        """Register a connection that has a place.

        Raises:
            Refused: as `Admission.register` does.
        """
        self.keep_alive.add(connection)
        await self._admission.register(connection, identity)

    def await_auth(self, connection: Connection) -> None:
        """Keep a connection, unregistered, until its client has said who it is or the time for that is over.

        It has a place meanwhile.

        Raises:
            Refused: this node is leaving (503).
        """
        self._admission.check_open()
        self.keep_alive.add(connection)
        self.keep_alive.await_proof(connection, self._node.settings.auth_timeout_s)

    async def drain(self, drain_s: float) -> None:
        """Tell clients to come back elsewhere, in paced batches, each with a wait of its own."""
        self._node.draining = True
        sockets = [*self._node.hub, *self._node.hub.groups.of(WATCHERS)]
        if sockets:
            log.info("draining", connections=len(sockets))
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
