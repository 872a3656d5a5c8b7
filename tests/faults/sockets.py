"""One client's socket: what is read on it goes into the session's log."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any, Protocol

from picows import WSFrame, WSListener, WSMsgType, WSParsedURL, WSTransport

from tests.faults.logs import ABNORMAL, ClientLog, Frame, Session
from tests.faults.proxy import RESET_ON_CLOSE

ReadPush = Callable[[bytes], tuple[str, str, int] | tuple[()] | None]
"""Reads push id, publisher and sequence from a frame; nothing if it need not be written down; None if it is
no push."""


CATCH_UP_S = 2.0
"""What a client reads so soon after it reads again may have been sent long before."""


class Owner(Protocol):
    """What a socket needs of its client.

    Attributes:
        log: the client's.
        user: who the client says that it is.
        read: reads a push.
    """

    log: ClientLog
    user: str | None
    read: ReadPush

    def forget(self, socket: "ClientSocket") -> None:
        """Take in that a socket is gone."""


class ClientSocket(WSListener):  # type: ignore[misc, unused-ignore]
    """Read and write one session's socket, and write down what happens to it.

    Args:
        client: whose it is.
        session: its log.
        source: the address that it connects from, if it matters.
    """

    def __init__(self, client: Owner, session: Session, source: str | None = None) -> None:
        super().__init__()
        self.client = client
        self.session = session
        self._source = source
        self._dialled: socket.socket | None = None
        self.number = -1
        self.transport: WSTransport | None = None
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.paused = False
        self._resumed_at = -inf
        self._heard_at = session.tried_at
        self._marks: dict[str, asyncio.Event] = {}

    async def dial(self, url: WSParsedURL) -> socket.socket:
        """Return a connected socket; picows closes it, but not where it is cancelled."""
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if self._source is not None:
                sock.bind((self._source, 0))
            await asyncio.get_running_loop().sock_connect(sock, (url.host, url.port))
        except BaseException:
            sock.close()
            raise
        self._dialled = sock
        return sock

    # WSListener

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.number = len(self.client.log.sessions)
        self.client.log.sessions.append(self.session)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard_at = time.monotonic()
        if self._heard_at - self._resumed_at > CATCH_UP_S:
            self.session.unread_since = None
        if frame.msg_type is WSMsgType.CLOSE:
            self.session.closed_at = self._heard_at
            self.session.code = int(frame.get_close_code())
            self.session.reason = frame.get_close_reason() or ""
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._take(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        session = self.session
        session.ended_at = time.monotonic()
        if session.closed_at is None:
            session.closed_at, session.code = session.ended_at, ABNORMAL
        self.ready.set()
        self.ended.set()
        for waited in self._marks.values():
            waited.set()
        self.client.forget(self)

    def _take(self, payload: bytes) -> None:
        if self.session.opened_at is not None:
            push = self.client.read(payload)
            if push:
                self.client.log.frames.append(Frame(*push, self._heard_at, self.number))
            if push is not None:
                return
        self._take_own(json.loads(payload))

    def _take_own(self, message: dict[str, Any]) -> None:
        """Take a frame of the gateway's own types."""
        kind, data = message["type"], message["data"]
        session, user = self.session, self.client.user
        if kind == "connected":
            session.node, session.opened_at = data["node"], self._heard_at
            if user is not None and data["user"] is None:
                self.send("user_info", {"userId": user, "fromType": "test"})
            else:
                session.bound_at = self._heard_at
            self.ready.set()
        elif kind == "user_bound":
            session.bound_at = self._heard_at
        elif kind == "reconnect":
            session.after_ms = data["after_ms"]
        elif kind == "pong" and data in self._marks:
            self._marks[data].set()

    def send(self, kind: str, data: Any) -> None:
        if self.transport is not None:
            self.transport.send(WSMsgType.TEXT, json.dumps({"type": kind, "data": data}).encode())

    async def settle(self, mark: str) -> None:
        self._marks[mark] = asyncio.Event()
        self.send("ping", mark)
        await self._marks[mark].wait()
        self._marks.pop(mark)

    def check(self, silent_s: float) -> None:
        now = time.monotonic()
        if now - self._heard_at > silent_s:
            self.drop()
        else:
            self.send("ping", None)

    def give_up(self) -> None:
        """Let go of a session that never opened, so that it never will."""
        if self.transport is None:
            if self._dialled is not None:
                with suppress(OSError):
                    self._dialled.shutdown(socket.SHUT_RDWR)
            self.client.forget(self)
        else:
            self.drop()

    def drop(self) -> None:
        if self.transport is None or self.ended.is_set():
            return
        underlying = self.transport.underlying_transport
        if self.session.closed_at is None:
            self.session.by_client = True
        if not underlying.is_closing():
            sock = underlying.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            underlying.abort()

    def stop_reading(self) -> None:
        self.paused = self.session.stuck = True
        self.session.unread_since = time.monotonic()
        if self.transport is not None:
            self.transport.underlying_transport.pause_reading()

    def read_again(self) -> None:
        self.paused = False
        self._resumed_at = time.monotonic()
        if self.transport is not None and not self.ended.is_set():
            self.transport.underlying_transport.resume_reading()
