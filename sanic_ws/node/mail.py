"""Mail: a node brings durable messages to its clients, live and from their mailboxes.

A session reads one mailbox: its user's, or that of its connection if it is bound to none. It stands nowhere
until the first letter comes for it or its client asks for what it has missed; until then it costs nothing.
Letters for the connection of a session that is bound are moved into the user's mailbox first, for this
connection only: there is one order of all that a session gets.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.frames import payload_start
from sanic_ws.core.mail import NOWHERE, Letter
from sanic_ws.core.messages import BadMessage, error_frame, message_frame
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reading import Meeting, Reader, durable_frame
from sanic_ws.errors import MailboxUnavailable
from sanic_ws.node.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.core.hub import Hub, Socket
    from sanic_ws.core.mail import Posted, Stored
    from sanic_ws.mailbox import Mailbox

PAGE = 100
PAGES_AT_ONCE = 16
"""Pages of mailboxes that a node reads, or holds, at a time."""
MOST_WAITING = 256
"""Live letters of one session that wait to be read from its mailbox; of any more it is not told."""
RETRY_S, MOST_RETRY_S = 0.1, 5.0
"""How long a mailbox that is away is left alone, at first and at most."""
LATE_S = 1.0
"""A session that is bound later than this after it began is not for what its user got until then."""

log = logging.getLogger("sanic_ws.node")


class Mail:
    """Read mailboxes for the sessions of a node.

    Args:
        hub: the connections.
        mailbox: all mailboxes.

    Attributes:
        replayed: how many letters were read from mailboxes and sent.
        gaps: how many times something was missing before a letter.
        recoveries: how many sessions went on where they had been, ``true``, or could not, ``false``.
    """

    def __init__(self, hub: Hub, mailbox: Mailbox) -> None:
        self._hub = hub
        self._mailbox = mailbox
        self._readings: dict[Socket, Reading] = {}
        self._pending: dict[Socket, str] = {}
        self._bound_at: dict[Socket, float] = {}
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)
        self.replayed = 0
        self.gaps = 0
        self.recoveries: Counter[str] = Counter()

    # What comes live

    def deliver(
        self, socket: Socket, push_id: str, posted: Posted, frame: bytes, ended: Callable[[bool], None]
    ) -> Answer:
        """Write a letter's frame to a session here, or have it wait for what comes before it.

        Args:
            socket: the session's.
            push_id: the push's id.
            posted: where it is stored.
            frame: the frame, without the id of the message before.
            ended: called once if it waits, with whether it was written.
        """
        reading = self._reading(socket)
        if posted.box != reading.box:
            if posted.box != socket.conn:
                return Answer.OVERLOADED
            reading.moves = True
        reader = reading.reader
        if reader is None and reading.since is None:
            reader = reading.begin(posted.place.at)
        if reader is None or reading.busy:
            return self._wait(reading, push_id, ended)
        meeting = reader.meet(posted.place, push_id)
        if meeting is Meeting.PAST:
            return Answer.DELIVERED
        if meeting is Meeting.MISSED:
            return Answer.OVERLOADED
        if meeting is Meeting.NEXT:
            content = durable_frame(frame[payload_start(frame) :], reader.prev(posted.place))
            answer = self._hub.deliver(socket.conn, content)
            if answer is Answer.DELIVERED:
                reader.passed(posted.place, push_id, sent=True)
                return answer
            reading.stalled = True
        return self._wait(reading, push_id, ended)

    def _wait(self, reading: Reading, push_id: str, ended: Callable[[bool], None]) -> Answer:
        waits = reading.wait(push_id, ended, MOST_WAITING)
        self._start(reading)
        return Answer.WAITING if waits else Answer.OVERLOADED

    # What clients do

    def resume_later(self, socket: Socket, since: str) -> None:
        """Note where a session wants to go on, for when it is open."""
        self._pending[socket] = since

    def opened(self, socket: Socket) -> None:
        """Take in that a session is open, and whose it is."""
        since = self._pending.pop(socket, None)
        if since is not None:
            self.resume(socket, since)

    def resumes(self, socket: Socket) -> bool:
        """Say whether a session waits to be told that it has all."""
        reading = self._readings.get(socket)
        return reading is not None and reading.asked

    def resume(self, socket: Socket, since: str) -> None:
        """Send a session what came after a letter, all of it if that is empty, and tell it how that went."""
        reading = self._replace(socket)
        reading.since = since
        reading.asked = reading.moves = True
        self._start(reading)

    def bound(self, socket: Socket) -> None:
        """Take in that an open session is bound, maybe to another user: it reads that one's mailbox now."""
        now = monotonic()
        if socket.left:
            return
        if now - socket.began > LATE_S:
            self._bound_at[socket] = now
        before = self._readings.get(socket)
        if before is None or before.box == _box(socket):
            return
        reading = self._replace(socket)
        reading.moves = True
        if before.reader is not None and before.box == socket.conn:
            reading.skips = before.reader.at
        if before.since is not None:
            reading.since = (before.reader is not None and before.reader.last_id) or before.since
            reading.asked = True
        self._start(reading)

    def writable(self, socket: Socket) -> None:
        """Take in that a client reads again."""
        reading = self._readings.get(socket)
        if reading is not None and reading.stalled:
            reading.stalled = False
            self._start(reading)

    def left(self, socket: Socket) -> None:
        """Take in that a session has ended."""
        self._pending.pop(socket, None)
        self._bound_at.pop(socket, None)
        reading = self._readings.pop(socket, None)
        if reading is not None:
            reading.end()

    async def close(self) -> None:
        """End everything."""
        tasks = [reading.task for reading in self._readings.values() if reading.task is not None]
        for socket in list(self._readings):
            self.left(socket)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._mailbox.close()

    def _reading(self, socket: Socket) -> Reading:
        reading = self._readings.get(socket)
        if reading is None:
            began = self._bound_at.get(socket, socket.began)
            self._readings[socket] = reading = Reading(socket, _box(socket), began)
        elif reading.box != _box(socket):
            self.bound(socket)
            reading = self._readings[socket]
        return reading

    def _replace(self, socket: Socket) -> Reading:
        """Have a session begin anew; what waited for it goes on waiting."""
        before = self._readings.pop(socket, None)
        reading = self._reading(socket)
        if before is not None:
            reading.waits, before.waits = before.waits, {}
            before.end()
        return reading

    # Reading

    def _start(self, reading: Reading) -> None:
        if reading.task is None and not reading.stalled:
            reading.task = asyncio.create_task(self._catch_up(reading), name="sanic_ws.mail")

    async def _catch_up(self, reading: Reading) -> None:
        """Send a session what is in its mailbox, until it has all or does not read on."""
        retry_s = RETRY_S
        try:
            while not reading.over:
                try:
                    async with self._pages:
                        done = await self._read(reading)
                except MailboxUnavailable as exc:
                    log.debug("mailbox not read: %s", exc)
                    self._tell_away(reading)
                    await asyncio.sleep(retry_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
                    retry_s = min(2 * retry_s, MOST_RETRY_S)
                else:
                    retry_s = RETRY_S
                    if done:
                        return
        except Exception:
            # Whoever waits is told; the next letter tries again.
            log.exception("mailbox not read")
            reading.drop_waits()
        finally:
            reading.task = None

    async def _read(self, reading: Reading) -> bool:
        """Read and send one page; say whether that was all for now."""
        calls = reading.calls
        if reading.moves:
            reading.moves = await self._move(reading)
        reader = reading.reader or await self._find(reading)
        if reader is None:
            reading.drop_waits()
            return True
        page = await self._mailbox.read(reading.box, reader.at, PAGE)
        if reading.over:
            return True
        for stored in page:
            at = reader.at
            if not self._send(reading, reader, stored):
                reading.stalled = True
                return True
            if reader.at < at:
                return False
        if len(page) == PAGE or reading.moves or reading.calls != calls:
            return False
        self._end(reading, reader)
        return True

    async def _find(self, reading: Reading) -> Reader | None:
        """Stand where the client wants to go on, or before all that there is."""
        since = reading.since
        if since is None:
            return None
        at = await self._mailbox.find(reading.box, since) if since else NOWHERE
        reading.found = at is not None
        return reading.place(NOWHERE) if at is None else reading.place(at, since)

    async def _move(self, reading: Reading) -> bool:
        """Move letters for a connection into the mailbox of its user; say whether more may be there."""
        conn = reading.socket.conn
        if reading.box == conn:
            return False
        calls = reading.calls
        while page := await self._mailbox.read(conn, NOWHERE, PAGE):
            for one in page:
                if reading.skips is not None and one.place.at <= reading.skips:
                    reading.skip(one.id)
            letters = [
                Letter(reading.box, one.id, one.payload, one.left_s, only=conn, repeatable=True)
                for one in page
                if one.payload is not None
            ]
            places = await self._mailbox.store(letters) if letters else []
            if places and reading.reader is None and reading.since is None:
                reading.begin(places[0].at)
            await self._mailbox.clear(conn, page[-1].place.at)
        return reading.calls != calls

    def _send(self, reading: Reading, reader: Reader, stored: Stored) -> bool:
        """Send one letter, unless it is not for this session; say `False` if the client is too slow."""
        place = stored.place
        at = reader.at
        meeting = reader.meet(place, stored.id)
        if reader.at < at and meeting is Meeting.AHEAD:
            return True
        if meeting in (Meeting.PAST, Meeting.MISSED):
            if place.at > reader.at:
                reader.passed(place, stored.id, sent=False)
            reading.settle(stored.id, sent=meeting is Meeting.PAST)
            return True
        for_us = reader.takes(stored.only)
        lost = for_us and stored.payload is None
        sent = False
        if for_us and stored.payload is not None:
            if not reading.socket.write(durable_frame(stored.payload, reader.prev(place))):
                return False
            self.replayed += 1
            reading.count += 1
            sent = True
        self.gaps += lost or meeting is Meeting.AHEAD
        reader.passed(place, stored.id, sent=sent, lost=lost)
        reading.settle(stored.id, sent=sent)
        return True

    def _end(self, reading: Reading, reader: Reader) -> None:
        """Take in that a session has all; tell it so if it asked."""
        reading.drop_waits()
        if not reading.asked:
            return
        recovered = reading.found and reader.whole
        data = {"recovered": recovered, "count": reading.count, "last_id": reader.last_id or None}
        if reading.socket.write(message_frame("resumed", data)):
            self.recoveries[str(recovered).lower()] += 1
            reading.asked = reading.told_away = False
        else:
            reading.stalled = True

    def _tell_away(self, reading: Reading) -> None:
        if reading.asked and not reading.told_away:
            reason = "what you have missed cannot be read now; it comes as soon as it can"
            reading.told_away = reading.socket.write(error_frame(BadMessage("mailbox_unavailable", reason)))


def _box(socket: Socket) -> str:
    return socket.conn if socket.user is None else f"@{socket.user.key}"
