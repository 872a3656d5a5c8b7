"""A feed for the console that says what real nodes say only in trouble."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any

from playwright.async_api import Page, WebSocketRoute

BEAT_S = 0.25
BOUNDS_MS = [1, 2, 5]


class Feed:
    """Stand in for a node's `/console/ws`: tell of `nodes` and `cluster`, again and again, until stopped."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.cluster: dict[str, Any] = {"nodes": [], "registry": "up", "broker": "up"}
        self._socket: WebSocketRoute | None = None
        self._beat = asyncio.create_task(self._tell())
        self.quiet = False

    async def install(self, page: Page) -> None:
        """Take the place of the feed of a page that is opened after this."""
        await page.route_web_socket(re.compile("/console/ws"), self._open)

    async def stop(self) -> None:
        """Say nothing any more."""
        self._beat.cancel()
        with suppress(asyncio.CancelledError):
            await self._beat

    def add(self, name: str, **changes: Any) -> str:
        """Add a node, to the registry's list too; return its id."""
        node = f"id-{len(self.nodes)}"
        self.nodes[node] = {
            "node": node,
            "name": name,
            "version": "1.2.3",
            "started": "2026-01-01T00:00:00Z",
            "state": "ready",
            "ready": True,
            "registered": True,
            "broker": {"connected": True, "blocked": False},
            "connections": 4,
            "users": 3,
            "pushes": {"by_route": {"local": 0}, "by_outcome": {"delivered": 0}},
            "fallbacks": 0,
            "batches": 0,
            "latency": {"bounds_ms": BOUNDS_MS, "counts": [0, 0, 0, 0]},
            "process": {"memory_bytes": 64 << 20, "cpu_s": 0.0, "lag_ms": 0.0},
        } | changes
        self.cluster["nodes"].append({"node": node, "name": name, "self": len(self.nodes) == 1})
        return node

    def kill(self, node: str) -> None:
        """Have a node say nothing any more; the registry still lists it."""
        del self.nodes[node]

    def forget(self, node: str) -> None:
        """Have the registry forget a node."""
        self.cluster["nodes"] = [each for each in self.cluster["nodes"] if each["node"] != node]

    def _open(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        connected = {"conn": "c", "node": "id-0", "session": "s", "user": None, "heartbeat_s": 30}
        self._send("connected", connected | {"max_message_bytes": 65536})
        socket.on_message(self._answer)

    def _answer(self, text: str | bytes) -> None:
        message = json.loads(text)
        if message["type"] == "ping":
            self._send("pong", message["data"])

    def _send(self, kind: str, data: Any) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, "data": data}))

    async def _tell(self) -> None:
        while True:
            if self._socket is not None and not self.quiet:
                for node in self.nodes.values():
                    self._send("node", node)
                self._send("cluster", self.cluster)
            await asyncio.sleep(BEAT_S)
