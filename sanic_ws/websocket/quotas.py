"""Quotas: how many connections this node takes, from where and of whom, how fast, and how much each may send.

Each node counts for itself: behind a load balancer a user has as many times the quota as there are nodes.
"""

from __future__ import annotations

import time
from sys import intern
from typing import TYPE_CHECKING, cast

from sanic_ws.core.buckets import Bucket, Buckets
from sanic_ws.core.closing import CloseCode
from sanic_ws.core.meter import Meter, Rates
from sanic_ws.core.places import Places
from sanic_ws.websocket.handshake import Refused

if TYPE_CHECKING:
    from sanic_ws.core.hub import Hub
    from sanic_ws.core.identity import User
    from sanic_ws.settings import Settings
    from sanic_ws.websocket.connection import Connection

RETRY_S = 5
"""After how long one that found no place may try again."""


class Quotas:
    """Refuse what is over the operator's limits.

    A connection has a place from its handshake on until it is being closed. One that replaces another, under
    the same id, is not refused because of that one.

    Args:
        settings: the operator's.
        hub: this node's connections.
    """

    def __init__(self, settings: Settings, hub: Hub) -> None:
        self._hub = hub
        self._handshakes = Bucket(settings.handshakes_per_s)
        self._handshakes_of = Buckets(settings.handshakes_per_s_per_address)
        self._places = Places(settings.max_connections, settings.max_connections_per_address)
        self._most_of_a_user = settings.max_connections_per_user
        rates = Rates(settings.messages_per_s, settings.bytes_per_s, settings.max_message_bytes)
        self._rates = rates if settings.messages_per_s or settings.bytes_per_s else None

    def admit(self, connection: Connection, address: str) -> None:
        """Give a new connection a place.

        Raises:
            Refused: the node is full (4429), its address has too many, or handshakes come too fast (429).
        """
        now = time.monotonic()
        if not self._handshakes_of.take(address, now):
            raise _too_many("handshakes", "from this address", 1)
        if not self._handshakes.take(now):
            raise _too_many("handshakes", "at this moment", 1)
        here = cast("Connection | None", self._hub.get(connection.conn))
        replaced = None if here is None else here.address
        if self._places.crowded(connection.conn, address, replaced):
            raise _too_many("connections", "from this address", RETRY_S)
        if self._places.full(connection.conn, replaced):
            raise _too_many("connections", "on this node", RETRY_S, CloseCode.TOO_MANY)
        self._places.take(connection.conn, address)
        # One text for all from there.
        connection.address = intern(address)
        connection.meter = None if self._rates is None else Meter(self._rates)

    def release(self, connection: Connection) -> None:
        """Take a connection's place back."""
        self._places.free(connection.conn, connection.address)

    def check_user(self, connection: Connection, user: User) -> None:
        """Check that a user may have this connection beside the others.

        Raises:
            Refused: there are too many (4429).
        """
        if 0 < self._most_of_a_user <= self._hub.number_of(user.key, besides=connection.conn):
            raise _too_many("connections", "of this user", RETRY_S, CloseCode.TOO_MANY)


def _too_many(what: str, where: str, retry_after_s: int, close_code: CloseCode | None = None) -> Refused:
    code, message = f"too_many_{what}", f"too many {what} {where}"
    return Refused(429, code, message, retry_after_s=retry_after_s, close_code=close_code)
