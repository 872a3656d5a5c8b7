"""The echo endpoint: for conformance suites and load tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.frames import binary_frame, text_frame

if TYPE_CHECKING:
    from sanic_ws.core.meter import Excess
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.keepalive import KeepAlive


class Echo:
    """Own connections that get every message back as it came.

    Args:
        keep_alive: watches them.
    """

    def __init__(self, keep_alive: KeepAlive) -> None:
        self._keep_alive = keep_alive

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Send a message back."""
        frame = binary_frame(message) if isinstance(message, bytes) else text_frame(message.encode())
        connection.write(frame)

    def flooded(self, connection: Connection, excess: Excess) -> None:
        """Have nothing to do: whoever tests may send any amount."""

    def leaving(self, connection: Connection) -> None:
        """Give the closing handshake a while."""
        self._keep_alive.closing(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._keep_alive.discard(connection)

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Watch how long a client does not read."""
        self._keep_alive.stuck(connection, paused=paused)
