"""A member of the cluster: a node, the clients that are connected to it, and what runs beside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sanic_ws.node import Node
from sanic_ws.node.feed import Feed
from sanic_ws.websocket.clients import Clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.settings import Settings
    from sanic_ws.websocket.authentication import Authentication
    from sanic_ws.websocket.handlers import Handlers


class Member:
    """Start a node with all that it needs to serve clients, and have it leave.

    Args:
        settings: the operator's.
        handlers: take its clients' messages.
        authentication: says who its clients are; is run by whoever made it.
        leave: as `Node` takes it.

    Attributes:
        node: it.
        clients: who is connected.
    """

    def __init__(
        self,
        settings: Settings,
        handlers: Handlers,
        authentication: Authentication,
        leave: Callable[[], None] | None = None,
    ) -> None:
        self.node = node = Node(settings, leave)
        self.clients = Clients(node, handlers, authentication)
        self._feed = Feed(node)
        self._sweeps: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to serve, in the background: no backend needs to be there."""
        runs = (self.clients.keep_alive.run(), self._feed.run(), self.node.overdue.run())
        self._sweeps = [asyncio.create_task(run) for run in runs]
        await self.node.start()

    async def drain(self) -> None:
        """Take no new clients, and send those that are connected elsewhere."""
        await self.node.drain()
        await self.clients.drain(self.node.settings.drain_s)

    async def stop(self) -> None:
        """Leave the cluster."""
        for sweep in self._sweeps:
            sweep.cancel()
        await self._feed.close()
        await self.node.stop()
        if self.node.tracing is not None:
            await asyncio.to_thread(self.node.tracing.close)
