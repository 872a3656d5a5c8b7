"""Hold many WebSocket connections and count the frames that arrive on them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import uvloop
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from . import control

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_BUFFER = 1024  # bytes; a connection's first read buffer
HANDSHAKE_TIMEOUT_S = 90.0  # a dropped SYN is sent again after 1, 3, 7, 15, 31 and 63 s
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: no TIME_WAIT, so that ports do not run out
ENGINE_IO_PING, ENGINE_IO_PONG = b"2", b"3"
STAMP, STAMP_DIGITS = b"@ns", 20  # a payload may carry its monotonic clock: @ns and 20 digits

Step = tuple[bytes, str | None]


class Fleet:
    """All connections of this process, and what they have received since the last mark."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        self.steps: list[Step] = []
        self.marker = b""
        self.engine_io = False
        self.latency = False
        self.latencies: list[float] = []
        self.counts: Counter[int] = Counter()
        self.frames = 0
        self.goal = 0
        self.reached = asyncio.Event()
        self.reached_ns = 0
        self.lost = 0
        self.echo: Echo | None = None

    def mark(self, goal: int, *, latency: bool) -> None:
        """Forget what was counted and wait for `goal` frames from here on."""
        self.frames, self.goal, self.reached_ns, self.latency = 0, goal, 0, latency
        self.latencies = []
        self.counts.clear()
        self.reached.clear()

    def received(self, connection: Connection, payload: bytes) -> None:
        """Count one application frame."""
        self.frames += 1
        self.counts[connection.index] += 1
        if self.latency:
            self._measure(payload)
        if self.frames == self.goal:
            self.reached_ns = time.monotonic_ns()
            self.reached.set()
        if self.echo is not None:
            self.echo.send()

    def _measure(self, payload: bytes) -> None:
        at = payload.find(STAMP)
        if at >= 0:
            start = at + len(STAMP)
            sent_ns = int(payload[start : start + STAMP_DIGITS])
            self.latencies.append((time.monotonic_ns() - sent_ns) / 1e6)


class Echo:
    """Keep some messages in flight, each on the next connection in turn, until `count` have been sent."""

    def __init__(self, message: bytes, count: int, connections: Iterable[Connection]) -> None:
        self._message = message
        self._turns = itertools.islice(itertools.cycle(connections), count)

    def send(self) -> None:
        """Send the next message, if any is left."""
        connection = next(self._turns, None)
        if connection is not None:
            connection.send(self._message)


class Connection(WSListener):  # type: ignore[misc, unused-ignore]
    """One WebSocket: walks through the opening steps, then counts."""

    def __init__(self, fleet: Fleet, index: int) -> None:
        super().__init__()
        self.fleet = fleet
        self.index = index
        self.step = 0
        self.transport: WSTransport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, message: bytes) -> None:
        """Send one text frame."""
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, message)

    def drop(self) -> None:
        """Cut the connection with a reset."""
        if self.transport is not None:
            underlying = self.transport.underlying_transport
            underlying.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
            )
            underlying.abort()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport; without opening steps the connection is ready."""
        self.transport = transport
        if not self.fleet.steps:
            self.ready.set_result(None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame."""
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._data(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        """Count a connection that ended without having been dropped here."""
        if self.fleet.connections.get(self.index) is self:
            del self.fleet.connections[self.index]
            self.fleet.lost += 1
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("closed before it was ready"))
            self.ready.exception()  # seen: nobody may be waiting yet

    def _data(self, payload: bytes) -> None:
        fleet = self.fleet
        if fleet.engine_io and payload == ENGINE_IO_PING:
            self.send(ENGINE_IO_PONG)
        elif self.step < len(fleet.steps):
            self._walk(payload)
        elif fleet.marker in payload:
            fleet.received(self, payload)

    def _walk(self, payload: bytes) -> None:
        expected, answer = self.fleet.steps[self.step]
        if expected not in payload:
            return
        self.step += 1
        if answer is not None:
            self.send(answer.replace("{i}", str(self.index)).encode())
        if self.step == len(self.fleet.steps) and not self.ready.done():
            self.ready.set_result(None)


def _source_socket(source: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.bind((source, 0))
    return made


class Client:
    """The commands that the benchmark gives to this process."""

    def __init__(self) -> None:
        self.fleet = Fleet()

    async def open(
        self,
        *,
        urls: list[str],
        count: int,
        first: int = 1,
        steps: list[Step] = [],  # noqa: B006 - read only
        marker: str = "",
        engine_io: bool = False,
        concurrency: int = 100,
        sources: list[str] = ["127.0.0.1"],  # noqa: B006 - read only
    ) -> dict[str, Any]:
        """Open `count` connections, `concurrency` at a time (0: all at once), spread over `urls`."""
        fleet = self.fleet
        fleet.steps = [(expected.encode(), answer) for expected, answer in steps]  # type: ignore[attr-defined]
        fleet.marker, fleet.engine_io = marker.encode(), engine_io
        errors: Counter[str] = Counter()
        indexes = iter(range(first, first + count))

        async def connect(index: int) -> None:
            try:
                await self._connect(urls[index % len(urls)], sources[index % len(sources)], index)
            except (OSError, WSError, TimeoutError) as error:
                errors[f"{type(error).__name__}: {error}"[:120]] += 1

        async def worker() -> None:
            for index in indexes:
                await connect(index)

        start = time.monotonic()
        await asyncio.gather(*(worker() for _ in range(concurrency or count)))
        seconds = time.monotonic() - start
        gc.freeze()
        failed = sum(errors.values())
        return {"opened": count - failed, "failed": failed, "seconds": seconds, "errors": dict(errors)}

    async def _connect(self, url: str, source: str, index: int) -> None:
        connection = Connection(self.fleet, index)
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            await ws_connect(
                lambda: connection,
                url.replace("{i}", str(index)),
                websocket_handshake_timeout=None,
                read_buffer_init_size=READ_BUFFER,
                socket_factory=lambda _: _source_socket(source),
            )
            await connection.ready
        self.fleet.connections[index] = connection

    async def mark(self, *, goal: int, latency: bool = False) -> dict[str, Any]:
        """Start to count from zero towards `goal` frames."""
        self.fleet.mark(goal, latency=latency)
        return {}

    async def wait(self, *, timeout_s: float) -> dict[str, Any]:
        """Wait until the goal is reached; say how many arrived and when the last one did."""
        fleet = self.fleet
        try:
            await asyncio.wait_for(fleet.reached.wait(), timeout_s)
        except TimeoutError:
            fleet.reached_ns = time.monotonic_ns()
        return {"frames": fleet.frames, "reached_ns": fleet.reached_ns, "lost": fleet.lost}

    async def counts(self) -> dict[str, Any]:
        """Say how many frames each connection received since the mark, and their latencies in ms."""
        return {"counts": list(self.fleet.counts.items()), "latencies_ms": self.fleet.latencies}

    async def echo(self, *, message: str, count: int, in_flight: int, timeout_s: float) -> dict[str, Any]:
        """Send `count` messages over all connections in turn, `in_flight` at a time; wait for the echoes."""
        fleet = self.fleet
        fleet.mark(count, latency=False)
        fleet.echo = Echo(message.encode(), count, list(fleet.connections.values()))
        start_ns = time.monotonic_ns()
        for _ in range(in_flight):
            fleet.echo.send()
        result = await self.wait(timeout_s=timeout_s)
        fleet.echo = None
        return {**result, "start_ns": start_ns}

    async def drop(self) -> dict[str, Any]:
        """Cut every connection at once, with resets."""
        connections = list(self.fleet.connections.values())
        self.fleet.connections.clear()
        for connection in connections:
            connection.drop()
        lost, self.fleet.lost = self.fleet.lost, 0
        await asyncio.sleep(0)
        return {"dropped": len(connections), "lost": lost}


async def main() -> None:
    """Serve the benchmark until it hangs up."""
    gc.disable()
    client = Client()
    commands = ("open", "mark", "wait", "counts", "echo", "drop")
    await control.serve({name: getattr(client, name) for name in commands})


if __name__ == "__main__":
    uvloop.run(main())
