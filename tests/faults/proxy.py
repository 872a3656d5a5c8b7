"""A TCP proxy on loopback that can refuse, freeze, delay and cut what passes through it."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Self, cast

from tests.servers import LOOPBACK, free_port

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


class Proxy:
    """Stand in front of a server; at first everything passes.

    Args:
        target_port: where the server listens.
        port: where the proxy does; a free one if left out.
    """

    def __init__(self, target_port: int, port: int | None = None) -> None:
        self.target_port = target_port
        self.port = port or free_port()
        self.delay_s = 0.0
        self.accepted = 0
        self._swallowing = False
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        self.cut()
        await asyncio.gather(*(link.closed.wait() for link in list(self._links)))

    @property
    def connections(self) -> int:
        """How many connections there are, frozen and swallowed ones too."""
        return len(self._links)

    @property
    def waiting(self) -> int:
        """How many pieces wait to be written, because they are late or frozen."""
        return sum(len(link.near._due) + len(link.far._due) for link in self._links)

    async def pass_on(self) -> None:
        """Undo everything: what was frozen goes on, late; what was swallowed is reset."""
        self.delay_s = 0.0
        self._swallowing = False
        for link in list(self._links):
            link.thaw()
        await self._listen()

    async def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await asyncio.sleep(0)  # what was accepted in this turn of the loop gets its transport

    def black_hole(self) -> None:
        """Freeze every connection, both ways; new ones are accepted and what they say is swallowed."""
        self.half_open()
        self._swallowing = True

    def half_open(self) -> None:
        """Freeze the connections of now, both ways; new ones pass."""
        for link in self._links:
            link.freeze()

    def delay(self, delay_s: float) -> None:
        """Let everything arrive this much later, both ways and in order."""
        self.delay_s = delay_s

    def cut(self) -> None:
        """Reset every connection, at both ends; new ones pass."""
        for link in list(self._links):
            link.reset()

    async def _listen(self) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._accept, LOOPBACK, self.port, backlog=1024)

    def _accept(self) -> asyncio.Protocol:
        self.accepted += 1
        link = _Link(self)
        self._links.add(link)
        link.swallowed = self._swallowing
        if not link.swallowed:
            link.connect(self.target_port)
        return link.near


class Proxies:
    """Several proxies that do the same at once."""

    def __init__(self, proxies: Iterable[Proxy]) -> None:
        self.all = list(proxies)

    async def pass_on(self) -> None:
        """Undo everything."""
        for proxy in self.all:
            await proxy.pass_on()

    async def refuse(self) -> None:
        """Refuse new connections."""
        for proxy in self.all:
            await proxy.refuse()

    def black_hole(self) -> None:
        """Freeze every connection and swallow new ones."""
        for proxy in self.all:
            proxy.black_hole()

    def half_open(self) -> None:
        """Freeze the connections of now."""
        for proxy in self.all:
            proxy.half_open()

    def delay(self, delay_s: float) -> None:
        """Let everything arrive this much later."""
        for proxy in self.all:
            proxy.delay(delay_s)

    def cut(self) -> None:
        """Reset every connection."""
        for proxy in self.all:
            proxy.cut()


class _Link:
    """Two ends that belong together."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.frozen = False
        self.swallowed = False
        self.closed = asyncio.Event()
        self.near, self.far = _End(self), _End(self)
        self.near.peer, self.far.peer = self.far, self.near
        self._connecting: asyncio.Task[None] | None = None

    def connect(self, port: int) -> None:
        self._connecting = asyncio.create_task(self._connect(port))

    async def _connect(self, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.far, LOOPBACK, port)
        except OSError:
            self.reset()

    def freeze(self) -> None:
        self.frozen = True
        for end in (self.near, self.far):
            end.regulate()

    def thaw(self) -> None:
        self.frozen = False
        if self.swallowed:
            self.reset()
            return
        for end in (self.near, self.far):
            end.regulate()
            end.pump()

    def reset(self) -> None:
        """Reset both ends."""
        if self._connecting is not None and self.far.transport is None:
            self._connecting.cancel()
        for end in (self.near, self.far):
            end.reset()
        self.forget_if_over()

    def forget_if_over(self) -> None:
        if self.near.over and (self.far.over or self.far.transport is None):
            self.proxy._links.discard(self)
            self.closed.set()


class _End(asyncio.Protocol):
    """One end of a connection: what it reads is written by its peer."""

    peer: "_End"

    def __init__(self, link: _Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.over = False
        self._full = False
        self._got_eof = False
        self._put_eof = False
        # What waits to be written here, with the time when it is due; None stands for the end.
        self._due: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.regulate()
        self.pump()

    def data_received(self, data: bytes) -> None:
        if not self.link.swallowed:
            self.peer.write(data)

    def eof_received(self) -> bool:
        if self.link.swallowed:
            return False
        self._got_eof = True
        self.peer.write(None)
        self._close_if_done()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        if exc is not None:
            self.link.reset()
        self.link.forget_if_over()

    def pause_writing(self) -> None:
        self._full = True
        self.peer.regulate()

    def resume_writing(self) -> None:
        self._full = False
        self.peer.regulate()

    def write(self, data: bytes | None) -> None:
        """Write now, or when it is due."""
        self._due.append((asyncio.get_running_loop().time() + self.link.proxy.delay_s, data))
        self.pump()

    def pump(self) -> None:
        """Write what is due, in order."""
        loop = asyncio.get_running_loop()
        while self._due and self.transport is not None and not self.link.frozen and not self.over:
            due, data = self._due[0]
            if due > loop.time():
                if self._timer is None:
                    self._timer = loop.call_at(due, self._on_time)
                return
            self._due.popleft()
            if data is not None:
                self.transport.write(data)
            elif not self.transport.is_closing():
                self._put_eof = True
                with suppress(OSError):  # it may have been reset at this very moment
                    self.transport.write_eof()
                self._close_if_done()

    def _on_time(self) -> None:
        self._timer = None
        self.pump()

    def _close_if_done(self) -> None:
        if self._got_eof and self._put_eof and self.transport is not None:
            self.transport.close()

    def regulate(self) -> None:
        """Read only while the peer can write and nothing is frozen."""
        if self.transport is None or self.over or self.transport.is_closing():
            return
        if self.link.frozen or self.peer._full:
            self.transport.pause_reading()
        elif not self._got_eof:
            self.transport.resume_reading()

    def reset(self) -> None:
        if self.transport is None or self.over:
            return
        sock = self.transport.get_extra_info("socket")
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()
