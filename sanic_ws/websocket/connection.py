"""One WebSocket: an `asyncio.Protocol` around the sans-I/O protocol of ``websockets``.

No task, no lock and no timer per connection. Output is bounded by the transport's own buffer: past the
bound nothing more is written, and input pauses too, so that a client that does not read cannot make the
node hold its answers.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.frames import ping_frame

if TYPE_CHECKING:
    from websockets.typing import BytesLike

    from sanic_ws.core.identity import User

_PING = ping_frame()

_QUIET = logging.getLogger("sanic_ws.websocket.protocol")
_QUIET.setLevel(logging.WARNING)

# Of a client's frame (RFC 6455, section 5.2): final and without reserved bits.
_SIMPLE = {0x81: Opcode.TEXT, 0x82: Opcode.BINARY, 0x8A: Opcode.PONG}
_MASKED, _MEDIUM, _LONG = 0x80, 126, 127
_SHORTEST, _FAST_BYTES, _MAX_CONTROL = 6, 0xFFFF, 125


def _wire_size(length: int) -> int:
    """Return how long a client's frame is, its head included."""
    return length + (6 if length < _MEDIUM else 8 if length <= _FAST_BYTES else 14)


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
        owner: is told what happens.
        max_message_bytes: a client's message that is longer closes the connection with 1009.
        max_queue_bytes: how much may wait for the client to read; a frame is written whole if less waits.
    """

    __slots__ = (
        "_left",
        "_max_message_bytes",
        "_max_queue_bytes",
        "_message",
        "_message_is_text",
        "_owner",
        "_paused",
        "_protocol",
        "_transport",
        "_unread",
        "conn",
        "generation",
        "opened",
        "session",
        "silent_beats",
        "user",
    )

    def __init__(
        self, conn: str, session: str, owner: Owner, max_message_bytes: int, max_queue_bytes: int
    ) -> None:
        self.conn = conn
        self.session = session
        self.user: User | None = None
        self.opened = False
        self.generation = 0
        self.silent_beats = 0
        # Made for what needs it: most connections never send anything but whole short messages.
        self._protocol: ServerProtocol | None = None
        self._owner = owner
        self._max_message_bytes = max_message_bytes
        self._max_queue_bytes = max_queue_bytes
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._left = False
        # Bytes given to the protocol that it has not made frames of: 0 between two frames.
        self._unread = 0
        self._message: bytearray | None = None
        self._message_is_text = False

    # Output

    def write(self, frame: bytes) -> bool:
        """Write a whole frame, or nothing and say `False` if the client has too much to read already."""
        if self._paused or self._left or self._transport is None:
            return False
        self._transport.write(frame)
        return True

    @property
    def writable(self) -> bool:
        """Whether `write` would write."""
        return not (self._paused or self._left or self._transport is None)

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        self.write(_PING)

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455, section 7.1.2); nothing more is written after it."""
        if self._transport is not None and not self._left:
            self._sans_io().send_close(code, reason)
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
        if not self._unread:
            data = self._read_whole_frames(data)
            if not data:
                return
        self._unread += len(data)
        protocol = self._sans_io()
        if protocol.reader.eof:
            return
        protocol.receive_data(data)
        for event in protocol.events_received():
            frame = cast("Frame", event)
            self._unread -= _wire_size(len(frame.data))
            self._take(frame)
        self._flush()
        if protocol.state is not OPEN:
            self._leave()

    def _read_whole_frames(self, data: bytes) -> bytes:
        """Read messages that came whole, in one frame of moderate size; return what is left.

        That is nearly all that clients send, and takes a fifth of the time that the protocol takes,
        which gets everything else: parts, fragments, control frames, and whatever is wrong.
        """
        position, size = 0, len(data)
        while self._message is None and not self._left and size - position >= _SHORTEST:
            opcode = _SIMPLE.get(data[position])
            length = data[position + 1] - _MASKED
            head = 6
            if length == _LONG:
                break
            if length == _MEDIUM:
                length = data[position + 2] << 8 | data[position + 3]
                head = 8
            start = position + head
            end = start + length
            if opcode is None or not 0 <= length <= self._max_message_bytes or end > size:
                break
            if opcode is Opcode.PONG:
                if length > _MAX_CONTROL:
                    break
                position = end
                continue
            position = end
            payload = apply_mask(data[start:end], data[start - 4 : start])
            self._deliver(payload, opcode is Opcode.TEXT)
        return data[position:] if position else data

    def eof_received(self) -> bool:
        """Take in that the client sends no more: close."""
        self._sans_io().receive_eof()
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
            self._sans_io().fail(CloseCode.INVALID_DATA, "not UTF-8")
            self._flush()
            self._leave()
        else:
            self._owner.received(self, text)

    def _flush(self) -> None:
        transport = self._transport
        for data in self._sans_io().data_to_send():
            if transport is None:
                return
            if data:
                transport.write(data)
            elif self._sans_io().close_rcvd is None and transport.can_write_eof():
                # What the client is still sending has to be read, or the system resets the connection
                # and the client never sees why it was closed.
                transport.write_eof()
            else:
                transport.close()

    def _sans_io(self) -> ServerProtocol:
        if self._protocol is None:
            self._protocol = ServerProtocol(state=OPEN, max_size=self._max_message_bytes, logger=_QUIET)
        return self._protocol

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._owner.leaving(self)
