"""Connections that nobody pushes to: of those who are turned away, and of the echo endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.messages import BadMessage, error_frame
from sanic_ws.core.meter import Excess

if TYPE_CHECKING:
    from collections import Counter

    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.keepalive import KeepAlive

_RATE_LIMITED = BadMessage("rate_limited", "more than a client may send; this was dropped")


def answer_excess(connection: Connection, excess: Excess) -> None:
    """Tell a client that it sends too much, and close it if it goes on."""
    if excess is Excess.TELL:
        connection.write(error_frame(_RATE_LIMITED))
    elif excess is Excess.CLOSE:
        connection.fail(CloseCode.POLICY, "sends too much")


class Unregistered:
    """Own connections that are in no registry and have no place.

    Args:
        keep_alive: watches them.
        closes: where the codes are counted with which they are closed.
    """

    def __init__(self, keep_alive: KeepAlive, closes: Counter[int]) -> None:
        self._keep_alive = keep_alive
        self._closes = closes

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Take no notice of a message."""

    def flooded(self, connection: Connection, excess: Excess) -> None:
        """Have nothing to do: only clients of the gateway are measured."""

    def closing(self, code: int) -> None:
        """Count a close."""
        self._closes[code] += 1

    def leaving(self, connection: Connection) -> None:
        """Give the closing handshake a while."""
        self._keep_alive.closing(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._keep_alive.discard(connection)

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Watch how long a client does not read."""
        self._keep_alive.stuck(connection, paused=paused)

    def slow(self, connection: Connection, *, waits: bool) -> None:
        """Have nothing to do: nothing is pushed here."""
