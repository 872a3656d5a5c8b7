"""The output of a connection.

It is bounded by the transport's own buffer: past the bound nothing more is written. Only a slow client for
which something waits that may be given up for newer things has a queue of its own, a `Backlog`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sanic_ws.core.frames import ping_frame
from sanic_ws.core.outcomes import Answer
from sanic_ws.websocket.backlog import Backlog, slow_bytes

if TYPE_CHECKING:
    from sanic_ws.core.waiting import Late

_PING = ping_frame()


class Output(asyncio.Protocol):
    """Write to one client.

    Args:
        max_queue_bytes: how much may wait for the client to read; a frame is written whole if less waits.
    """

    __slots__ = ("_backlog", "_full", "_left", "_max_queue_bytes", "_paused", "_transport")

    def __init__(self, max_queue_bytes: int) -> None:
        self._max_queue_bytes = max_queue_bytes
        self._transport: asyncio.Transport | None = None
        # Whether nothing can be written straight to the transport: too much waits there, or something
        # waits that is to be written before.
        self._paused = False
        # Whether so much waits that nothing is taken any more.
        self._full = False
        self._backlog: Backlog | None = None
        self._left = False

    def _filled(self, *, full: bool) -> None:
        """Take in that too much waits for the client, or no longer."""
        raise NotImplementedError

    def _slowed(self, *, waits: bool) -> None:
        """Take in that something waits that may be given up, or that nothing does any more."""
        raise NotImplementedError

    @property
    def left(self) -> bool:
        """Whether nothing more can be written."""
        return self._left

    def write(self, frame: bytes) -> bool:
        """Write a whole frame, or nothing and say `False` if the client has too much to read already."""
        if self._paused or self._left or self._transport is None:
            return self._write_behind(frame)
        self._transport.write(frame)
        return True

    def _write_behind(self, frame: bytes) -> bool:
        """Have a frame wait behind what waits already."""
        written = self._backlog is not None and self._backlog.put(frame)
        self._measure()
        return written

    def offer(self, frame: bytes, late: Late) -> Answer:
        """Write a whole frame, or have it wait if the client is slow."""
        transport = self._transport
        if self._left or transport is None:
            return Answer.OVERLOADED
        if self._backlog is None:
            if not self._paused and transport.get_write_buffer_size() <= slow_bytes(self._max_queue_bytes):
                transport.write(frame)
                return Answer.DELIVERED
            self._backlog = Backlog(transport, self._max_queue_bytes, full=self._full)
            self._paused = True
            self._slowed(waits=True)
        waits = self._backlog.offer(frame, late)
        self._measure()
        return Answer.WAITING if waits else Answer.OVERLOADED

    def expire(self, now: float) -> None:
        """Give up what has waited for too long, by monotonic seconds."""
        if self._backlog is not None:
            self._backlog.expire(now)

    @property
    def writable(self) -> bool:
        """Whether `write` would write, or have a frame wait."""
        if self._paused:
            return self._backlog is not None and not self._full
        return not (self._left or self._transport is None)

    def ping(self) -> None:
        """Ask the client for a sign of life; control frames do not wait."""
        if self.writable:
            self._write(_PING)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._max_queue_bytes, low=self._max_queue_bytes // 4)

    def pause_writing(self) -> None:
        """Stop: the client has too much to read. If something waits that only says that it is slow."""
        self._paused = True
        if self._backlog is None:
            self._fill(full=True)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        if self._backlog is not None and self._backlog.feed():
            self._measure()
        else:
            self._catch_up()
            self._fill(full=False)

    def _measure(self) -> None:
        if self._backlog is not None:
            self._fill(full=self._backlog.full)

    # What waits

    def _fill(self, *, full: bool) -> None:
        if full is not self._full:
            self._full = full
            self._filled(full=full)

    def _catch_up(self) -> None:
        """Do without a backlog, and write straight to the transport again unless that is full."""
        self._paused = False
        if self._backlog is not None:
            self._backlog = None
            self._slowed(waits=False)

    def _write(self, frame: bytes) -> None:
        """Write a control frame, ahead of what waits."""
        if self._transport is not None:
            self._transport.write(frame)
            if self._backlog is not None:
                self._backlog.measure()
                self._measure()

    def _write_last(self, frame: bytes) -> None:
        """Write a close, behind what was promised to be written and instead of what was not."""
        self._end_backlog()
        self._write(frame)

    def _end_output(self) -> None:
        """Write nothing from now on."""
        self._end_backlog()
        self._left = True

    def _end_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.end()
            self._catch_up()
            self._paused = self._full
