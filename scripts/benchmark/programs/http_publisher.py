"""Send HTTP requests on a few kept-alive connections, one in flight on each."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import uvloop

from . import control

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_END = b"\r\n\r\n"
LENGTH = b"content-length:"


class Sender(asyncio.Protocol):
    """One connection: sends the next request when the last one is answered."""

    def __init__(self, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._tally = tally
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Send the first request."""
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._buffer += data
        head_end = self._buffer.find(HEADER_END)
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(LENGTH)
        length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        end = head_end + len(HEADER_END) + length
        if len(self._buffer) >= end:
            self._tally.add(head[9:12], self._buffer[head_end:end])
            self._buffer = self._buffer[end:]
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail where requests were left."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("the server closed the connection"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


class Tally:
    """How the requests were answered."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self.expected = 0
        self.refused = 0
        self.example = ""

    def add(self, status: bytes, body: bytes) -> None:
        """Count one answer."""
        self.expected += body.count(self._expected) if self._expected else 1
        if not status.startswith(b"2"):
            self.refused += 1
            self.example = (status + body).decode(errors="replace")[:300]


async def post(
    *,
    host: str,
    port: int,
    requests: list[tuple[str, str]],
    headers: dict[str, str],
    expected: str,
    connections: int,
) -> dict[str, Any]:
    """Post each (path, body); count `expected` in the answers' bodies (empty: the answers)."""
    fixed = "".join(f"{name}: {value}\r\n" for name, value in {"Host": host, **headers}.items())
    built = iter([_request(path, fixed, body.encode()) for path, body in requests])
    tally = Tally(expected.encode())
    loop = asyncio.get_running_loop()
    start_ns = time.monotonic_ns()
    pairs = [
        await loop.create_connection(lambda: Sender(built, tally), host, port) for _ in range(connections)
    ]
    await asyncio.gather(*(sender.done for _, sender in pairs))
    end_ns = time.monotonic_ns()
    if tally.refused:
        raise RuntimeError(f"{tally.refused} requests were refused: {tally.example}")
    return {"start_ns": start_ns, "end_ns": end_ns, "expected": tally.expected}


def _request(path: str, headers: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    uvloop.run(control.serve({"post": post}))
