"""Keep-alive: one sweep over all connections instead of timers for each."""

from __future__ import annotations

import asyncio
import time
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
    """Ping clients, drop the dead, the stuck and the expired ones, end closing handshakes that never end.

    What has waited too long for slow ones is given up.

    Args:
        heartbeat_s: seconds between two pings to a client; one that sends nothing for three is dropped.
    """

    def __init__(self, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._connections: set[Connection] = set()
        self._round: list[Connection] = []
        self._owed = 0.0
        self._stuck: dict[Connection, float] = {}
        self._slow: set[Connection] = set()
        self._closing: dict[Connection, float] = {}
        self._unproven: dict[Connection, float] = {}
        self._expiring: dict[Connection, float] = {}
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

    @property
    def unproven(self) -> int:
        """How many clients have yet to prove who they are."""
        return len(self._unproven)

    def await_proof(self, connection: Connection, timeout_s: float) -> None:
        """Give a client a while to prove who it is."""
        self._unproven[connection] = asyncio.get_running_loop().time() + timeout_s

    def proven(self, connection: Connection, expires_at: float | None) -> None:
        """Note until when a client's proof is good, in seconds since the epoch; None: for ever."""
        self._unproven.pop(connection, None)
        if expires_at is None:
            self._expiring.pop(connection, None)
        else:
            self._expiring[connection] = expires_at

    def closing(self, connection: Connection) -> None:
        """Give a connection a while to end its closing handshake."""
        self._closing[connection] = asyncio.get_running_loop().time() + CLOSE_S

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(connection)
        self._stuck.pop(connection, None)
        self._slow.discard(connection)
        self._closing.pop(connection, None)
        self._unproven.pop(connection, None)
        self._expiring.pop(connection, None)
        if self._emptied is not None and not self._connections:
            self._emptied.set()

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Note since when a client does not read."""
        if paused:
            self._stuck.setdefault(connection, asyncio.get_running_loop().time())
        else:
            self._stuck.pop(connection, None)

    def slow(self, connection: Connection, *, waits: bool) -> None:
        """Note whether something waits for a client that may be given up."""
        if waits:
            self._slow.add(connection)
        else:
            self._slow.discard(connection)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.sweep(asyncio.get_running_loop().time(), TICK_S)
            self.close_expired(time.time())
            self.give_up(time.monotonic())

    def sweep(self, now: float, elapsed_s: float) -> None:
        """Do what is due; a share of all connections is pinged, so that a beat has no burst."""
        self._end_late(now)
        for connection in self._due(elapsed_s):
            if connection not in self._connections or connection.left:
                continue
            connection.silent_beats += 1
            if connection.silent_beats > _DEAD_BEATS:
                connection.abort()
            else:
                connection.ping()

    def _end_late(self, now: float) -> None:
        for connection, since in list(self._stuck.items()):
            if now - since > SLOW_S:
                connection.close(CloseCode.SLOW_CONSUMER, "reads too slowly")
        for connection, deadline in list(self._unproven.items()):
            if now > deadline:
                connection.close(CloseCode.UNAUTHENTICATED, "not authenticated in time")
        for connection, deadline in list(self._closing.items()):
            if now > deadline:
                connection.abort()

    def give_up(self, now: float) -> None:
        """Give up what has waited too long for slow clients, by monotonic seconds."""
        for connection in list(self._slow):
            connection.expire(now)

    def _due(self, elapsed_s: float) -> list[Connection]:
        """Return the share of all connections that is pinged this time."""
        if not self._round:
            self._round = list(self._connections)
        self._owed += len(self._connections) * elapsed_s / self._heartbeat_s
        share = int(self._owed)
        self._owed -= share
        due, self._round = self._round[:share], self._round[share:]
        return due

    def close_expired(self, now: float) -> None:
        """Close the connections whose proof has ended by now, in seconds since the epoch."""
        # By the wall clock, so that neither a stopped machine nor a clock that was set prolongs a proof.
        for connection in [c for c, expires_at in self._expiring.items() if expires_at <= now]:
            connection.close(CloseCode.UNAUTHENTICATED, "the token has expired")
