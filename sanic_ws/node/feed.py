"""The feed of the console: what each node shows of itself to those who watch, wherever they are.

Snapshots go straight to the nodes that have watchers, past the dispatcher: the console does not count itself.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sanic_ws.core.batch import WATCHERS_TARGET, Batch, encode_batch
from sanic_ws.core.groups import WATCHERS
from sanic_ws.core.messages import message_frame
from sanic_ws.errors import BrokerError, RegistryUnavailable, Unroutable
from sanic_ws.logs import event_log
from sanic_ws.node.snapshot import describe_node, describe_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sanic_ws.node.node import Node

WATCHED_S = 0.4
"""How often a node shows itself while somebody watches."""
IDLE_S = 0.5
"""How often it looks whether anybody does."""
CLOSE_TIMEOUT_S = 1.0
TTL_MS = 1000
"""A snapshot that is older is not shown."""

log = event_log("sanic_ws.node")


class Feed:
    """Show a node to those who watch the console.

    Those who watch here are shown it whatever happens to registry and broker; those who watch elsewhere also
    while the registry is away, if they were known before.

    Args:
        node: it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._number = 0
        self._lag_s = 0.0
        self._elsewhere: set[str] = set()
        self._nodes: list[dict[str, Any]] = []
        self._registry_up = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Show the node until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._tick()
            pause = WATCHED_S if self._elsewhere or self._watched_here else IDLE_S
            due = loop.time() + pause
            await asyncio.sleep(pause)
            self._lag_s = max(0.0, loop.time() - due)

    async def close(self) -> None:
        """Show the node for the last time, in bounded time: how it leaves may not last until the next one."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.gather(*self._tasks.values())
                if self._elsewhere:
                    await self._send(self._snapshot())
        except TimeoutError:
            log.debug("last snapshot not sent in time")
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not keep the node
            log.fault("last snapshot not sent", exc)

    @property
    def _watched_here(self) -> bool:
        return WATCHERS in self._node.hub.groups

    def _tick(self) -> None:
        frame = None
        try:
            if self._watched_here or self._elsewhere:
                frame = self._snapshot()
                self._show(frame)
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not end the feed
            log.fault("snapshot not shown", exc)
        if frame is not None and self._elsewhere:
            self._start("sending", lambda: self._send(frame))
        self._start("looking", self._look)

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something beside, unless it is under way: a slow server holds up what goes over it, no more."""
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.create_task(self._guarded(work()), name=f"sanic_ws.feed.{name}")

    @staticmethod
    async def _guarded(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not end the feed
            log.fault("feed failed", exc)

    async def _look(self) -> None:
        """Find who watches elsewhere, and show them the node at once; show those here the cluster."""
        before = self._elsewhere
        await self._ask()
        if self._watched_here:
            self._show(self._cluster())
        if self._elsewhere - before:
            self._start("sending", lambda: self._send(self._snapshot()))

    async def _ask(self) -> None:
        node = self._node
        try:
            listing, (marked,) = await node.registry.look_up_groups([WATCHERS])
            watched = set(marked) & set(listing.live) - {node.id}
            # Of a registry that is not whole nothing can be said to be missing.
            self._elsewhere = watched if listing.whole else watched | self._elsewhere
            if self._watched_here:
                self._nodes = describe_nodes(await node.registry.nodes(), node.id)
            self._registry_up = True
        except RegistryUnavailable as exc:
            self._registry_up = False
            log.debug("who watches is not known", reason=str(exc))

    async def _send(self, frame: bytes) -> None:
        body = encode_batch(Batch(0, time.time(), TTL_MS, [WATCHERS_TARGET], [frame]))
        await asyncio.gather(*(self._send_to(node, body) for node in list(self._elsewhere)))

    async def _send_to(self, node: str, body: bytes) -> None:
        try:
            await self._node.broker.send(node, body, TTL_MS)
        except Unroutable:
            self._elsewhere.discard(node)
        except BrokerError as exc:
            log.debug("snapshot not sent", node=node, reason=type(exc).__name__)

    def _snapshot(self) -> bytes:
        self._number += 1
        return message_frame("node", describe_node(self._node, self._number, self._lag_s))

    def _cluster(self) -> bytes:
        broker = self._node.broker
        return message_frame(
            "cluster",
            {
                "nodes": self._nodes,
                "registry": "up" if self._registry_up else "down",
                "broker": "up" if broker.connected and not broker.blocked else "down",
            },
        )

    def _show(self, frame: bytes) -> None:
        self._node.hub.deliver_to_many(f"#{WATCHERS}", frame)
