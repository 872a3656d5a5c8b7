"""One WebSocket: an `asyncio.Protocol` that reads and writes frames.

No task, no lock and no timer per connection. While too much waits for its client, input pauses too, so that
a client that does not read cannot make the node hold its answers. What it had sent by then is answered once
it reads again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, cast

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.frames import close_frame, pong_frame, repeated_close_frame
from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.meter import PIECE_BYTES
from sanic_ws.websocket.incoming import BINARY, CLOSE, PING, PONG, TEXT, BrokenProtocol, Incoming
from sanic_ws.websocket.output import Output

if TYPE_CHECKING:
    from sanic_ws.core.identity import User
    from sanic_ws.core.meter import Excess, Meter

# Of a client's frame (RFC 6455, section 5.2): final and without reserved bits.
_SIMPLE = {0x81: TEXT, 0x82: BINARY, 0x8A: PONG}
_MASKED, _MEDIUM, _LONG = 0x80, 126, 127
_SHORTEST, _MAX_CONTROL = 6, 125


class Owner(Protocol):
    """What a connection tells about itself."""

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Take one whole message: text, or bytes of a binary one. Must not block."""

    def flooded(self, connection: Connection, excess: Excess) -> None:
        """Take in that the client sends more than it may, and that this is dropped."""

    def closing(self, code: int) -> None:
        """Take in that a connection is closed from here, with this code."""

    def leaving(self, connection: Connection) -> None:
        """Take in that nothing more can be written; called once."""

    def lost(self, connection: Connection) -> None:
        """Take in that the socket is gone; called once, after `leaving`."""

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Take in that the client has stopped reading, or reads again."""

    def slow(self, connection: Connection, *, waits: bool) -> None:
        """Take in that something waits that may be given up, or that nothing does any more."""


class Connection(Output):
    """Read and write one WebSocket.

    Args:
        conn: its id.
        session: this life of the id on this node.
        owner: is told what happens.
        max_message_bytes: a client's message that is longer closes the connection with 1009.
        max_queue_bytes: how much may wait for the client to read; a frame is written whole if less waits.
    """

    __slots__ = (
        "_ended",
        "_incoming",
        "_max_message_bytes",
        "_owner",
        "address",
        "began",
        "conn",
        "generation",
        "groups",
        "meter",
        "opened",
        "session",
        "silent_beats",
        "user",
    )

    compressed = False
    """Whether client and node agreed on permessage-deflate."""

    def __init__(
        self, conn: str, session: str, owner: Owner, max_message_bytes: int, max_queue_bytes: int
    ) -> None:
        super().__init__(max_queue_bytes)
        self.conn = conn
        self.session = session
        self.user: User | None = None
        self.groups = NO_GROUPS
        # Where the client is, and how much it may send; None: any amount.
        self.address = ""
        self.meter: Meter | None = None
        self.opened = False
        self.generation = 0
        self.began = time.monotonic()
        self.silent_beats = 0
        self._owner = owner
        self._max_message_bytes = max_message_bytes
        # Nothing more is read: the client has said goodbye, or has broken the protocol.
        self._ended = False
        # Only while something is begun: most connections never send anything but whole short messages.
        self._incoming: Incoming | None = None

    # Its end

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455, section 7.1.2); nothing more is written after it."""
        if self._transport is not None and not self._left:
            self._owner.closing(code)
            self._write_last(close_frame(code, reason))
        self._leave()

    def fail(self, code: CloseCode, reason: str) -> None:
        """Close without waiting for the client's answer, and read no more (RFC 6455, section 7.1.7)."""
        transport = self._transport
        self._end()
        if transport is not None:
            if not self._left:
                self._owner.closing(code)
                self._write_last(close_frame(code, reason))
            # What the client is still sending has to be read, or the system resets the connection
            # and the client never sees why it was closed.
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
        self._leave()

    def abort(self) -> None:
        """Drop the socket at once."""
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Read what the client sent."""
        self.silent_beats = 0
        if self._incoming is None:
            data = self._read_whole_frames(data)
            if not data:
                return
        self._read_rest(data)

    def _read_whole_frames(self, data: bytes) -> bytes:
        """Read messages that came whole, in one frame of moderate size; return what is left.

        That is nearly all that clients send, and takes a fifth of the time of `Incoming`, which gets
        everything else: parts, fragments, control frames, and whatever is wrong.
        """
        position, size = 0, len(data)
        limited = self.meter is not None
        while size - position >= _SHORTEST and not (self._left or self._full):
            kind = _SIMPLE.get(data[position])
            length = data[position + 1] - _MASKED
            head = 6
            if length == _LONG:
                break
            if length == _MEDIUM:
                length = data[position + 2] << 8 | data[position + 3]
                head = 8
            start = position + head
            end = start + length
            if kind is None or not 0 <= length <= self._max_message_bytes or end > size:
                break
            if kind == PONG and length > _MAX_CONTROL:
                break
            position = end
            if (limited and self._exceeds(length)) or kind == PONG:
                continue
            payload = apply_mask(data[start:end], data[start - 4 : start])
            if kind == BINARY:
                self._owner.received(self, payload)
                continue
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                self.fail(CloseCode.INVALID_DATA, "not UTF-8")
            else:
                self._owner.received(self, text)
        return data[position:] if position else data

    def _read_rest(self, data: bytes) -> None:
        if self._ended:
            return
        if self._incoming is None:
            self._incoming = Incoming(self._max_message_bytes, compressed=self.compressed)
        self._incoming.feed(data)
        self._go_on(self._incoming)

    def _go_on(self, incoming: Incoming) -> None:
        """Take what has come; while the client does not read, no more than is needed to close."""
        try:
            while self._left or not self._full:
                found = incoming.next()
                if found is None:
                    break
                if not self._exceeds(incoming.weigh()) or found[0] == CLOSE:
                    self._take(*found)
                if self._ended:
                    return
        except BrokenProtocol as exc:
            self.fail(exc.code, str(exc))
            return
        if incoming.idle:
            self._incoming = None
        else:
            self._exceeds(max(incoming.weigh(), PIECE_BYTES), messages=0)

    def _exceeds(self, size: int, messages: int = 1) -> bool:
        """Measure what has come; say whether it is more than the client may send."""
        if self.meter is None:
            return False
        excess = self.meter.over(size, time.monotonic(), messages)
        if excess is None:
            return False
        self._owner.flooded(self, excess)
        return True

    def eof_received(self) -> bool:
        """Take in that the client sends no more: close."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Let go of the socket."""
        self._leave()
        self._end()
        self._transport = None
        self._owner.lost(self)

    # Input

    def _filled(self, *, full: bool) -> None:
        """Read no more from a client that has too much to read, or go on."""
        if self._transport is not None and full:
            self._transport.pause_reading()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._owner.stuck(self, paused=full)
        if self._incoming is not None and not full:
            self._go_on(self._incoming)

    def _slowed(self, *, waits: bool) -> None:
        self._owner.slow(self, waits=waits)

    def _take(self, kind: int, payload: str | bytes) -> None:
        """Hand a message over, or answer a control frame; after a close only the client's own matters."""
        if kind == CLOSE:
            self._end_handshake(cast("bytes", payload))
        elif self._left:
            return
        elif kind == PING:
            self._write(pong_frame(cast("bytes", payload)))
        elif kind != PONG:
            self._owner.received(self, payload)

    def _end_handshake(self, payload: bytes) -> None:
        """Answer a close with the same, unless it is the answer to ours (RFC 6455, section 5.5.1)."""
        if not self._left:
            self._write_last(repeated_close_frame(payload))
        self._end()
        self._leave()
        if self._transport is not None:
            self._transport.close()

    def _end(self) -> None:
        self._ended = True
        self._incoming = None

    def _leave(self) -> None:
        if not self._left:
            self._end_output()
            self._owner.leaving(self)
