"""A WebSocket whose two sides agreed on permessage-deflate (RFC 7692)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.websocket.compression import compressor
from sanic_ws.websocket.connection import Connection

if TYPE_CHECKING:
    from sanic_ws.core.outcomes import Answer
    from sanic_ws.core.waiting import Late
    from sanic_ws.settings import Settings
    from sanic_ws.websocket.connection import Owner
    from sanic_ws.websocket.handshake import Accepted


class CompressedConnection(Connection):
    """Read and write one WebSocket with compression; the others pay nothing for it."""

    __slots__ = ("_compressor",)

    compressed = True

    def __init__(
        self,
        conn: str,
        session: str,
        owner: Owner,
        max_message_bytes: int,
        max_queue_bytes: int,
        window_bits: int,
    ) -> None:
        super().__init__(conn, session, owner, max_message_bytes, max_queue_bytes)
        self._compressor = compressor(window_bits)

    def write(self, frame: bytes) -> bool:
        """Write whole frames, compressed where that makes them shorter; or nothing and say `False`."""
        return self.writable and super().write(self._compressor.translate(frame))

    def offer(self, frame: bytes, late: Late) -> Answer:
        """Write a whole frame, or have it wait, compressed where that makes it shorter."""
        return super().offer(self._compressor.translate(frame), late)


def new_connection(
    accepted: Accepted, conn: str, session: str, owner: Owner, settings: Settings
) -> Connection:
    """Return a connection of the kind that the handshake agreed on."""
    bounds = settings.max_message_bytes, settings.max_queue_bytes
    if accepted.window_bits:
        return CompressedConnection(conn, session, owner, *bounds, accepted.window_bits)
    return Connection(conn, session, owner, *bounds)
