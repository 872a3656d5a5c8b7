"""Keep-alive: one sweep over all connections instead of timers for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sanic_ws.websocket.connection import Connection

TICK_S = 0.5
SLOW_S = 10.0
CLOSE_S = 5.0
_DEAD_BEATS = 3


class KeepAlive:
    """Ping clients, drop the dead and the stuck ones, and end closing handshakes that never end.

    Args:
        heartbeat_s: seconds between two pings to a client; one that sends nothing for three is dropped.
    """

    def __init__(self, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._connections: set[Connection] = set()
        self._round: list[Connection] = []
        self._owed = 0.0
        self._stuck: dict[Connection, float] = {}
        self._closing: dict[Connection, float] = {}
        self._emptied: asyncio.Event | None = None

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def add(self, connection: Connection) -> None:
        """Watch a connection."""
        self._connections.add(connection)

    async def emptied(self) -> None:
        """Wait until no connection is left."""
        if self._connections:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def closing(self, connection: Connection) -> None:
        """Give a connection a while to end its closing handshake."""
        self._closing[connection] = asyncio.get_running_loop().time() + CLOSE_S

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(connection)
        self._stuck.pop(connection, None)
        self._closing.pop(connection, None)
        if self._emptied is not None and not self._connections:
            self._emptied.set()

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Note since when a client does not read."""
        if paused:
            self._stuck.setdefault(connection, asyncio.get_running_loop().time())
        else:
            self._stuck.pop(connection, None)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.sweep(asyncio.get_running_loop().time(), TICK_S)

    def sweep(self, now: float, elapsed_s: float) -> None:
        """Do what is due; a share of all connections is pinged, so that a beat has no burst."""
        for connection, since in list(self._stuck.items()):
            if now - since > SLOW_S:
                connection.close(CloseCode.SLOW_CONSUMER, "reads too slowly")
        for connection, deadline in list(self._closing.items()):
            if now > deadline:
                connection.abort()
        if not self._round:
            self._round = list(self._connections)
        self._owed += len(self._connections) * elapsed_s / self._heartbeat_s
        share = int(self._owed)
        self._owed -= share
        due, self._round = self._round[:share], self._round[share:]
        for connection in due:
            if connection not in self._connections or connection.left:
                continue
            connection.silent_beats += 1
            if connection.silent_beats > _DEAD_BEATS:
                connection.abort()
            else:
                connection.ping()
