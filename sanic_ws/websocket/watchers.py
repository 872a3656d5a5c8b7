"""Those who watch the console: connections that nobody can push to, which are shown what nodes do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sanic_ws.core.groups import WATCHERS
from sanic_ws.core.messages import BadMessage, error_frame, message_frame, read_client_message
from sanic_ws.errors import InvalidJSON
from sanic_ws.websocket.unregistered import Unregistered, answer_excess

if TYPE_CHECKING:
    from sanic_ws.core.meter import Excess
    from sanic_ws.node import Node
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.keepalive import KeepAlive
    from sanic_ws.websocket.quotas import Quotas


class Watchers(Unregistered):
    """Own the connections of those who watch; they have a place, and are in their own group only.

    They are not counted among the clients: no push reaches them, and no counter of clients has them.

    Args:
        node: what they are connected to.
        keep_alive: watches them.
        quotas: give them their places.
    """

    def __init__(self, node: Node, keep_alive: KeepAlive, quotas: Quotas) -> None:
        super().__init__(keep_alive, Counter())
        self._node = node
        self._quotas = quotas

    async def join(self, connection: Connection, expires_at: float | None) -> None:
        """Take in a connection that has a place.

        Args:
            connection: it.
            expires_at: when it is closed with 4401, in seconds since the epoch; None: never.
        """
        self._keep_alive.add(connection)
        self._keep_alive.proven(connection, expires_at)
        self._node.hub.groups.add(connection, [WATCHERS])
        await self._node.membership.grouping.tell([WATCHERS])

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Answer a ping; there is nothing else to say here."""
        try:
            if isinstance(message, bytes):
                raise BadMessage("binary_not_supported", "send text frames with JSON")  # noqa: TRY301
            asked = read_client_message(message)
            if asked.type != "ping":
                raise BadMessage("unhandled_type", "this connection only watches", asked.id)  # noqa: TRY301
            connection.write(message_frame("pong", asked.data, asked.id))
        except BadMessage as exc:
            connection.write(error_frame(exc))
        except InvalidJSON as exc:
            # A number such as 1e999 can be read, as an infinity, but not sent back.
            connection.write(error_frame(BadMessage("invalid_json", str(exc))))

    def flooded(self, connection: Connection, excess: Excess) -> None:
        """Tell a client that it sends too much, and close it if it goes on."""
        answer_excess(connection, excess)

    def leaving(self, connection: Connection) -> None:
        """Take a connection out of its group."""
        self._node.hub.groups.discard(connection, [WATCHERS])
        self._node.membership.grouping.note_left()
        self._quotas.release(connection)
        super().leaving(connection)
