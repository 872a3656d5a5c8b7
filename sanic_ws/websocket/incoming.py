"""What a client sends: messages and control frames, made of bytes that come cut anywhere (RFC 6455).

No I/O. Payloads are taken as they come, so that text which is not UTF-8, a message that is too long and a
compressed one that would unfold to too much are refused before the rest of them is here.
"""

from __future__ import annotations

import zlib
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError
from websockets.frames import Close

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.meter import PIECE_BYTES
from sanic_ws.errors import SanicWsError

if TYPE_CHECKING:
    from codecs import IncrementalDecoder

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_OPCODES = frozenset((CONTINUED, TEXT, BINARY, CLOSE, PING, PONG))
_FINAL, _RESERVED, _COMPRESSED, _MASKED = 0x80, 0x70, 0x40, 0x80
_MEDIUM, _LONG, _MAX_CONTROL = 126, 127, 125
_SMALLEST_HEAD, _SHORT_HEAD = 2, 6
_HEADS = {_MEDIUM: 8, _LONG: 14}

_Utf8 = getincrementaldecoder("utf-8")

_LARGEST_WINDOW = -15
_TAIL = b"\0\0\xff\xff"
# A sender may end a message with a final block and an empty one (RFC 7692, section 7.2.3.4).
_AFTER_THE_FINAL_BLOCK = (b"", b"\0", _TAIL, b"\0" + _TAIL)


class BrokenProtocol(SanicWsError):  # noqa: N818 - what the client did
    """Report what a client may not send: the connection has to be failed (RFC 6455, section 7.1.7).

    Args:
        code: to close with.
        reason: what is wrong, for people.
    """

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Incoming:
    """Make messages and control frames of bytes.

    Args:
        max_message_bytes: of one message, after it is decompressed.
        compressed: whether messages may be compressed (RFC 7692), each without the context of others.
    """

    __slots__ = (
        "_buffer",
        "_compressed",
        "_final",
        "_inflate",
        "_kind",
        "_mask",
        "_max_message_bytes",
        "_message",
        "_missing",
        "_opcode",
        "_utf8",
        "_weight",
    )

    def __init__(self, max_message_bytes: int, *, compressed: bool = False) -> None:
        self._max_message_bytes = max_message_bytes
        self._compressed = compressed
        self._buffer = bytearray()
        # The frame whose payload comes: its opcode, None between two frames, and how much is missing.
        self._opcode: int | None = None
        self._final = True
        self._missing = 0
        self._mask = b""
        # The message of which it is a part: TEXT or BINARY, 0 between two messages.
        self._kind = 0
        self._message = bytearray()
        self._utf8: IncrementalDecoder | None = None
        self._inflate: zlib._Decompress | None = None
        self._weight = 0

    @property
    def idle(self) -> bool:
        """Whether all that came is read, and nothing is begun."""
        return self._opcode is None and not self._kind and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def weigh(self) -> int:
        """Return how many bytes of payload, decompressed, were read since this was asked last."""
        weight, self._weight = self._weight, 0
        return weight

    def next(self) -> tuple[int, str | bytes] | None:
        """Return the next message or control frame, as its opcode and payload; None: the rest is not here.

        The payload of a close frame is valid.

        Raises:
            BrokenProtocol: nothing that follows may be read.
        """
        while self._opcode is not None or self._read_head():
            if self._opcode is not None and self._opcode >= CLOSE:
                return self._end_control(self._opcode) if len(self._buffer) >= self._missing else None
            self._read_data()
            if self._missing:
                return None
            self._opcode = None
            if self._final:
                return self._end_message()
        return None

    # Frames

    def _read_head(self) -> bool:
        """Read the head of a frame, if it is here whole."""
        buffer = self._buffer
        if len(buffer) < _SMALLEST_HEAD:
            return False
        first, length = buffer[0], buffer[1] & ~_MASKED
        self._check(first, length, masked=buffer[1] >= _MASKED)
        size = _HEADS.get(length, _SHORT_HEAD)
        if len(buffer) < size:
            return False
        if size > _SHORT_HEAD:
            length = int.from_bytes(buffer[2 : size - 4], "big")
        self._mask = bytes(buffer[size - 4 : size])
        del buffer[:size]
        self._begin(first, length)
        return True

    def _check(self, first: int, length: int, *, masked: bool) -> None:
        opcode, reserved = first & 0x0F, first & _RESERVED
        if opcode not in _OPCODES:
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "unknown opcode")
        if reserved and not (reserved == _COMPRESSED and self._compressed and opcode in {TEXT, BINARY}):
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if not masked:
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "a client's frames are masked")
        if opcode >= CLOSE:
            if first < _FINAL or length > _MAX_CONTROL:
                raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "a control frame is short and whole")
        elif opcode == CONTINUED and not self._kind:
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "there is nothing to continue")
        elif opcode != CONTINUED and self._kind:
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "the message before has not ended")

    def _begin(self, first: int, length: int) -> None:
        self._opcode = opcode = first & 0x0F
        self._missing = length
        if opcode >= CLOSE:
            self._weight += length
            return
        self._final = first >= _FINAL
        if not self._final:
            self._weight += max(0, PIECE_BYTES - length)
        if opcode != CONTINUED:
            self._kind = opcode
            self._utf8 = _Utf8() if opcode == TEXT else None
            self._inflate = zlib.decompressobj(_LARGEST_WINDOW) if first & _COMPRESSED else None
        if self._inflate is None and length > self._max_message_bytes - len(self._message):
            raise self._too_big()

    def _take(self, size: int) -> bytes:
        """Take a piece of the payload out of the buffer."""
        mask = self._mask
        payload = apply_mask(self._buffer[:size], mask)
        del self._buffer[:size]
        self._missing -= size
        turn = size % 4
        self._mask = mask[turn:] + mask[:turn]
        return payload

    def _end_control(self, opcode: int) -> tuple[int, bytes]:
        self._opcode = None
        payload = self._take(self._missing)
        if opcode == CLOSE:
            try:
                Close.parse(payload)
            except ProtocolError as exc:
                raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, str(exc)) from None
            except UnicodeDecodeError:
                raise BrokenProtocol(CloseCode.INVALID_DATA, "the reason is not UTF-8") from None
        return opcode, payload

    # Messages (section 5.4)

    def _read_data(self) -> None:
        """Read as much of a frame's payload as is here."""
        size = min(self._missing, len(self._buffer))
        if size:
            self._add(self._take(size))

    def _add(self, data: bytes) -> None:
        if self._inflate is not None:
            data = self._decompress(data, self._inflate)
        self._weight += len(data)
        if self._utf8 is not None:
            try:
                self._utf8.decode(data)
            except UnicodeDecodeError:
                raise BrokenProtocol(CloseCode.INVALID_DATA, "not UTF-8") from None
        self._message += data

    def _decompress(self, data: bytes, inflate: zlib._Decompress) -> bytes:
        """Decompress a piece; never to more than one byte past the bound."""
        room = self._max_message_bytes - len(self._message)
        try:
            unfolded = inflate.decompress(data, room + 1)
        except zlib.error:
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "cannot be decompressed") from None
        if len(unfolded) > room:
            raise self._too_big()
        if inflate.unused_data not in _AFTER_THE_FINAL_BLOCK:
            raise BrokenProtocol(CloseCode.PROTOCOL_ERROR, "data after the final block")
        return unfolded

    def _end_message(self) -> tuple[int, str | bytes]:
        if self._inflate is not None:
            self._add(_TAIL)
        kind, message = self._kind, self._message
        self._kind, self._message, self._utf8, self._inflate = 0, bytearray(), None, None
        if kind == BINARY:
            return kind, bytes(message)
        try:
            return kind, str(message, "utf-8")
        except UnicodeDecodeError:
            raise BrokenProtocol(CloseCode.INVALID_DATA, "not UTF-8") from None

    def _too_big(self) -> BrokenProtocol:
        return BrokenProtocol(CloseCode.TOO_BIG, f"more than {self._max_message_bytes} bytes")
