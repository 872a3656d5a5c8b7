"""A WebSocket client of raw bytes: it sends what no proper client would, and takes nothing on trust.

Nothing here uses the package or a WebSocket library, so that a fault of either cannot hide itself.
"""

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from tests.servers import LOOPBACK

WAIT_S = 60.0
"""How long anything is waited for before the test fails; nothing is expected to take that long."""

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def masked(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a payload (RFC 6455, section 5.3)."""
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x12\x34\xab\xcd",
) -> bytes:
    """Build a client's frame, right or wrong; `mask` None: it is not masked."""
    first, size, flag = (0x80 if fin else 0) | rsv << 4 | opcode, len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    return head + (mask + masked(payload, mask) if mask else payload)


def fragments(opcode: int, payload: bytes, size: int, *, rsv: int = 0) -> list[bytes]:
    """Build the frames of a message that is cut into fragments of a size."""
    parts = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    last = len(parts) - 1
    return [
        frame(CONTINUED if n else opcode, part, fin=n == last, rsv=0 if n else rsv)
        for n, part in enumerate(parts)
    ]


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """Build what a close frame holds."""
    return struct.pack("!H", code) + reason


class Frame(NamedTuple):
    """A frame that the node sent."""

    opcode: int
    payload: bytes
    compressed: bool = False

    @property
    def code(self) -> int | None:
        """A close frame's code."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


class RawClient:
    """A connection that is open; `headers` are those of the node's answer, their names in lower case."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.headers: dict[str, str] = {}
        self.status = 0

    @classmethod
    async def open(
        cls, port: int, path: str = "/echo", headers: Mapping[str, str] | None = None, more: bytes = b""
    ) -> Self:
        """Make the opening handshake, with `more` in the same packet; the node's answer is checked."""
        client = cls(*await asyncio.open_connection(LOOPBACK, port, limit=1 << 26))
        key = base64.b64encode(os.urandom(16))
        client.writer.write(handshake(path, key, headers) + more)
        await client.read_answer()
        assert client.status == 101, (client.status, client.headers)
        proof = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        assert client.headers["sec-websocket-accept"] == proof
        assert client.headers["upgrade"].lower() == "websocket"
        assert client.headers["connection"].lower() == "upgrade"
        return client

    async def read_answer(self) -> None:
        """Read the head of the answer to the handshake."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT_S)
        first, *lines = head.decode().split("\r\n")[:-2]
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    async def send(self, *frames: bytes, chop: int | None = None) -> None:
        """Send frames: all at once, or cut into pieces of `chop` bytes; 0: a frame a piece."""
        data = b"".join(frames)
        pieces = [data]
        if chop is not None:
            pieces = [data[n : n + chop] for n in range(0, len(data), chop)] if chop else list(frames)
        with suppress(ConnectionError):  # the node may have failed the connection by now
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def next(self) -> Frame:
        """Return the node's next frame; it must be one that a server may send."""
        return await asyncio.wait_for(self._next(), WAIT_S)

    async def _next(self) -> Frame:
        first, length = await self.reader.readexactly(2)
        assert first & 0x80, "a node sends whole messages"
        assert not first & 0x30, "reserved bits"
        assert length < 0x80, "a server does not mask"
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2))
            assert length >= 126, "not the shortest form"
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8))
            assert length >= 1 << 16, "not the shortest form"
        return Frame(first & 0x0F, await self.reader.readexactly(length), bool(first & 0x40))

    async def ended(self) -> bytes:
        """Return what comes until the node closes the socket."""
        with suppress(ConnectionResetError):
            return await asyncio.wait_for(self.reader.read(), WAIT_S)
        return b""

    async def close(self) -> None:
        """Drop the socket."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def handshake(path: str, key: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Build an opening handshake."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {LOOPBACK}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key.decode()}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
