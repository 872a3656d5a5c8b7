"""Thousands of bare WebSocket connections that all connect at the same moment.

The fleet's clients take longer for a handshake than a node does: a storm of them measures themselves. Here a
handshake is four system calls.
"""

import base64
import errno
import random
import select
import socket
import time
from collections.abc import Sequence
from typing import Self

from tests.faults.proxy import RESET_ON_CLOSE
from tests.servers import LOOPBACK

KEY = base64.b64encode(bytes(16)).decode()
GUARD_S = 60.0
RETRY_S = 1.0


class Crowd:
    """Hold one connection for each id; the calls block, so run them in a thread.

    Args:
        signs: the ids.
    """

    def __init__(self, signs: Sequence[str]) -> None:
        self._signs = signs
        self._sockets: dict[str, socket.socket] = {}
        self._jitter = random.Random(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def connect(self, port: int) -> list[float]:
        """Connect all at once; return after how many seconds each read its first frame.

        Who is refused or loses its connection tries again a second later, more or less.

        Raises:
            TimeoutError: not all were let in within a minute.
        """
        self.cut()
        storm = _Storm(port, self._jitter)
        return storm.run(self._signs, self._sockets)

    def read(self, sign: str) -> str:
        """Return what has come for one of them; wait for something."""
        sock = self._sockets[sign]
        sock.settimeout(GUARD_S)
        return sock.recv(65536).decode(errors="replace")

    def cut(self) -> None:
        """Reset all connections."""
        for sock in self._sockets.values():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
        self._sockets.clear()


class _Storm:
    """One time that all connect."""

    def __init__(self, port: int, jitter: random.Random) -> None:
        self._address = (LOOPBACK, port)
        self._jitter = jitter
        self._poll = select.epoll()
        self._trying: dict[int, tuple[str, socket.socket]] = {}
        self._read: dict[int, bytes] = {}
        self._again: list[tuple[float, str]] = []

    def run(self, signs: Sequence[str], opened: dict[str, socket.socket]) -> list[float]:
        began = time.monotonic()
        waits: list[float] = []
        self._again = [(began, sign) for sign in signs]
        with self._poll:
            while len(waits) < len(signs):
                now = time.monotonic()
                if now - began > GUARD_S:
                    raise TimeoutError(f"{len(waits)} of {len(signs)} were let in")
                due = [sign for at, sign in self._again if at <= now]
                self._again = [(at, sign) for at, sign in self._again if at > now]
                for sign in due:
                    self._try(sign)
                for fd, event in self._poll.poll(0.02):
                    sign = self._go_on(fd, event)
                    if sign is not None:
                        opened[sign] = self._trying.pop(fd)[1]
                        waits.append(time.monotonic() - began)
        return waits

    def _try(self, sign: str) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        code = sock.connect_ex(self._address)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self._retry(sign)
            return
        self._trying[sock.fileno()] = sign, sock
        self._poll.register(sock, select.EPOLLOUT)

    def _go_on(self, fd: int, event: int) -> str | None:
        """Take a step with one connection; return its id once it is open."""
        sign, sock = self._trying[fd]
        try:
            if event & select.EPOLLOUT:
                sock.send(_request(sign))
                self._poll.modify(fd, select.EPOLLIN)
                return None
            data = sock.recv(4096)
        except OSError:
            data = b""
        read = self._read[fd] = self._read.get(fd, b"") + data
        if b'"connected"' in read:
            self._poll.unregister(fd)
            del self._read[fd]
            return sign
        if not data or b" 503 " in read:
            self._poll.unregister(fd)
            del self._trying[fd], self._read[fd]
            sock.close()
            self._retry(sign)
        return None

    def _retry(self, sign: str) -> None:
        self._again.append((time.monotonic() + RETRY_S * self._jitter.uniform(0.5, 1.5), sign))


def _request(sign: str) -> bytes:
    head = (
        f"GET /ws?sign={sign} HTTP/1.1\r\nHost: {LOOPBACK}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    )
    return f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
