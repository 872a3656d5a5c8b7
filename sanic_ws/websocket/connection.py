"""One WebSocket: an `asyncio.Protocol` around the sans-I/O protocol of ``websockets``.

No task, no lock and no timer per connection. Output is bounded by the transport's own buffer: past the
bound nothing more is written, and input pauses too, so that a client that does not read cannot make the
node hold its answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.frames import ping_frame

if TYPE_CHECKING:
    from websockets.server import ServerProtocol
    from websockets.typing import BytesLike

    from sanic_ws.core.identity import User

_PING = ping_frame()


class Owner(Protocol):
    """What a connection tells about itself."""

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Take one whole message: text, or bytes of a binary one. Must not block."""

    def leaving(self, connection: Connection) -> None:
        """Take in that nothing more can be written; called once."""

    def lost(self, connection: Connection) -> None:
        """Take in that the socket is gone; called once, after `leaving`."""

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Take in that the client has stopped reading, or reads again."""


class Connection(asyncio.Protocol):
    """Read and write one WebSocket.

    Args:
        conn: its id.
        session: this life of the id on this node.
        protocol: after a successful handshake.
        owner: is told what happens.
        max_queue_bytes: how much may wait for the client to read; a frame is written whole if less waits.
    """

    __slots__ = (
        "_left",
        "_max_queue_bytes",
        "_message",
        "_message_is_text",
        "_owner",
        "_paused",
        "_protocol",
        "_transport",
        "conn",
        "generation",
        "opened",
        "session",
        "silent_beats",
        "user",
    )

    def __init__(
        self, conn: str, session: str, protocol: ServerProtocol, owner: Owner, max_queue_bytes: int
    ) -> None:
        self.conn = conn
        self.session = session
        self.user: User | None = None
        self.opened = False
        self.generation = 0
        self.silent_beats = 0
        self._protocol = protocol
        self._owner = owner
        self._max_queue_bytes = max_queue_bytes
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._left = False
        self._message: bytearray | None = None
        self._message_is_text = False

    # Output

    def write(self, frame: bytes) -> bool:
        """Write a whole frame, or nothing and say `False` if the client has too much to read already."""
        if self._paused or self._left or self._transport is None:
            return False
        self._transport.write(frame)
        return True

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        self.write(_PING)

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455, section 7.1.2); nothing more is written after it."""
        if self._transport is not None and self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
        self._leave()

    def abort(self) -> None:
        """Drop the socket at once."""
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    @property
    def left(self) -> bool:
        """Whether nothing more can be written."""
        return self._left

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._max_queue_bytes, low=self._max_queue_bytes // 4)

    def data_received(self, data: bytes) -> None:
        """Read what the client sent."""
        self.silent_beats = 0
        protocol = self._protocol
        if protocol.reader.eof:
            return
        protocol.receive_data(data)
        for event in protocol.events_received():
            self._take(cast("Frame", event))
        self._flush()
        if protocol.state is not OPEN:
            self._leave()

    def eof_received(self) -> bool:
        """Take in that the client sends no more: close."""
        self._protocol.receive_eof()
        self._flush()
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Let go of the socket."""
        self._leave()
        self._transport = None
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """Stop: the client has too much to read."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._owner.stuck(self, paused=True)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._owner.stuck(self, paused=False)

    # Input

    def _take(self, frame: Frame) -> None:
        """Put messages together from frames (RFC 6455, section 5.4); pings were answered already."""
        opcode = frame.opcode
        if opcode is Opcode.CONT:
            assert self._message is not None
            self._message += frame.data
            if frame.fin:
                message, self._message = self._message, None
                self._deliver(message, self._message_is_text)
        elif opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._deliver(frame.data, opcode is Opcode.TEXT)
            else:
                self._message = bytearray(frame.data)
                self._message_is_text = opcode is Opcode.TEXT

    def _deliver(self, message: BytesLike, is_text: bool) -> None:
        if self._left:
            return
        if not is_text:
            self._owner.received(self, bytes(message))
            return
        try:
            text = str(message, "utf-8")
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
            self._leave()
        else:
            self._owner.received(self, text)

    def _flush(self) -> None:
        transport = self._transport
        for data in self._protocol.data_to_send():
            if transport is None:
                return
            if data:
                transport.write(data)
            else:
                transport.close()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._owner.leaving(self)
