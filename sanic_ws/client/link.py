"""One WebSocket of a client, over picows; no exception of that leaves this module."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from picows import (
    WSError,
    WSFrame,
    WSHandshakeError,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from sanic_ws.client.dialing import Dial
from sanic_ws.core import json
from sanic_ws.core.closing import CloseCode
from sanic_ws.core.pulse import BEATS_S, Pulse, Sign
from sanic_ws.errors import ClientAway, InvalidJSON, SanicWsError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

ABNORMAL = 1006
NO_STATUS = 1005
NORMAL = 1000
CLOSE_S = 2.0
"""How long the other side may take for the closing handshake, seconds."""
READ_BUFFER_BYTES = 16 * 1024
_BODY_BYTES = 4096


class Ended(NamedTuple):
    """Say how a connection ended: its close code, 1006 without one, and the reason."""

    code: int
    reason: str


class LinkRefused(SanicWsError):  # noqa: N818 - what happened to the handshake
    """Report a handshake that was answered with an HTTP error.

    Args:
        status: of the answer.
        retry_after: its header, if it has one.
        message: for people.
    """

    def __init__(self, status: int, retry_after: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Link(WSListener):  # type: ignore[misc, unused-ignore]
    """Hold one open WebSocket.

    Args:
        heard: called with each message, and whether it is a binary one.

    Attributes:
        ended: tells how it ended, once it has.
    """

    def __init__(self, heard: Callable[[bytes, bool], None]) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._loop = loop
        self._heard = heard
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._binary = False
        self._pulse = Pulse()
        self._timer: asyncio.TimerHandle | None = None
        self._beat_s = 0.0
        self._how: Ended | None = None
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()

    # WSListener

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take in the transport."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame in."""
        self._pulse.heard = True
        kind = frame.msg_type
        if kind in _DATA and frame.fin and not self._parts:
            self._take(frame.get_payload_as_bytes(), kind is WSMsgType.BINARY)
        elif kind in _DATA or kind is WSMsgType.CONTINUATION:
            self._take_part(frame)
        elif kind is WSMsgType.CLOSE:
            code = int(frame.get_close_code())  # type: ignore[call-overload]
            self._how = self._how or Ended(code or NO_STATUS, frame.get_close_reason() or "")
            transport.send_close(code or NORMAL)  # type: ignore[arg-type]
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows's signature
        """Tell how it ended."""
        self._stop_timer()
        self._writable.set()
        if not self.ended.done():
            self.ended.set_result(self._how or Ended(ABNORMAL, "the connection was lost"))

    def pause_writing(self) -> None:
        """Take in that the other side reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Take in that it reads again."""
        self._writable.set()

    # What the client does

    @property
    def was_open(self) -> bool:
        """Whether it was open, be it for a moment."""
        return self._transport is not None

    @property
    def is_up(self) -> bool:
        """Whether something that is written may arrive."""
        return self._how is None and not self.ended.done()

    def write(self, content: bytes) -> None:
        """Write a text frame."""
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, content)

    async def drain(self) -> None:
        """Wait until the other side has read most of what was written, or the connection has ended."""
        await self._writable.wait()

    def pause(self, paused: bool) -> None:
        """Read nothing, or go on."""
        self._paused = paused
        if self._transport is None or not self.is_up:
            return
        transport = self._transport.underlying_transport
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def watch(self, heartbeat_s: float) -> None:
        """Drop the connection where nothing is heard for two of the other side's heartbeats and a half."""
        self._stop_timer()
        self._beat_s = heartbeat_s * BEATS_S
        self._timer = self._loop.call_later(self._beat_s, self._beat)

    def abort(self, reason: str) -> None:
        """End it at once."""
        self._how = self._how or Ended(ABNORMAL, reason)
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    async def close(self, code: int = NORMAL) -> None:
        """End it in an orderly way, within `CLOSE_S`."""
        if self._transport is None or self.ended.done():
            return
        if self.is_up:
            self._how = Ended(code, "")
            # The answer has to be read.
            self._transport.underlying_transport.resume_reading()
            self._transport.send_close(code)  # type: ignore[arg-type]
        try:
            await asyncio.wait([self.ended], timeout=CLOSE_S)
        finally:
            if not self.ended.done():
                self.abort("")

    def _take(self, content: bytes, binary: bool) -> None:
        try:
            self._heard(content, binary)
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")

    def _take_part(self, frame: WSFrame) -> None:
        """Put a message together that came in several frames (RFC 6455, section 5.4)."""
        begins = frame.msg_type is not WSMsgType.CONTINUATION
        if begins == bool(self._parts):
            self._fail(CloseCode.PROTOCOL_ERROR, "frames out of order")
            return
        if begins:
            self._binary = frame.msg_type is WSMsgType.BINARY
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            content = b"".join(self._parts)
            self._parts = []
            self._take(content, self._binary)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._how = self._how or Ended(code, reason)
        if self._transport is not None:
            self._transport.send_close(code)  # type: ignore[arg-type]
            self._transport.disconnect()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._beat_s, self._beat)
        if self._paused:
            self._pulse.heard = True
        sign = self._pulse.beat()
        if sign is Sign.DEAD:
            self.abort("nothing was heard of the node")
        elif sign is Sign.ASK and self._transport is not None and self.is_up:
            self._transport.send_ping()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)


async def open_link(
    url: str,
    headers: Mapping[str, str],
    heard: Callable[[bytes, bool], None],
    *,
    tls: ssl.SSLContext | None,
    max_message_bytes: int,
    timeout_s: float,
) -> Link:
    """Connect; the handshake may take `timeout_s` seconds.

    Raises:
        LinkRefused: the handshake was answered with an HTTP error.
        ClientAway: nobody answers, or it is no WebSocket server.
    """
    where = url.partition("?")[0]
    link, dial = Link(heard), Dial()
    try:
        # A redirect could lead the token elsewhere.
        await ws_connect(
            lambda: link,
            url,
            ssl_context=tls,
            extra_headers=dict(headers),
            websocket_handshake_timeout=timeout_s,
            max_frame_size=max_message_bytes,
            max_redirects=0,
            read_buffer_init_size=READ_BUFFER_BYTES,
            socket_factory=dial,
        )
    except asyncio.CancelledError:
        dial.hang_up()
        raise
    except WSInvalidStatusError as exc:
        raise _refused(where, exc) from None
    except WSError as exc:
        raise ClientAway(f"{where} does not answer as a WebSocket server: {exc}") from None
    except OSError as exc:
        raise ClientAway(f"{where} does not answer: {exc.strerror or exc}") from None
    if not link.was_open:
        raise ClientAway(f"{where} has closed the connection before it was open")
    return link


def _refused(where: str, exc: WSHandshakeError) -> LinkRefused:
    response = exc.response
    status = HTTPStatus.BAD_GATEWAY.value if response is None else int(response.status)
    retry_after = None if response is None else response.headers.get("Retry-After")
    said = _error_text(exc.raw_body)
    return LinkRefused(status, retry_after, f"{where} refused the connection: {said or f'HTTP {status}'}")


def _error_text(body: bytes | None) -> str:
    """Return what a node's error says; empty if this is none."""
    try:
        error = json.loads((body or b"")[:_BODY_BYTES])["error"]
        return f"{error['message']} ({error['code']})"
    except (InvalidJSON, TypeError, KeyError):
        return ""
