"""The echo endpoint: for conformance suites and load tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.frames import binary_frame, text_frame
from sanic_ws.websocket.unregistered import Unregistered

if TYPE_CHECKING:
    from sanic_ws.websocket.connection import Connection


class Echo(Unregistered):
    """Own connections that get every message back as it came."""

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Send a message back."""
        frame = binary_frame(message) if isinstance(message, bytes) else text_frame(message.encode())
        connection.write(frame)
