"""Replay: what is in a mailbox is sent to a session, in pages, as fast as its client reads."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

from sanic_ws.core.mail import NOWHERE, Letter
from sanic_ws.core.messages import BadMessage, error_frame, message_frame
from sanic_ws.core.reading import Meeting, durable_frame
from sanic_ws.errors import MailboxUnavailable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from sanic_ws.core.mail import Stored
    from sanic_ws.core.reading import Reader
    from sanic_ws.mailbox import Mailbox
    from sanic_ws.node.reading import Reading

PAGE = 100
PAGES_AT_ONCE = 16
"""Pages of mailboxes that a node reads, or holds, at a time."""
RETRY_S, MOST_RETRY_S = 0.1, 5.0
"""How long a mailbox that is away is left alone, at first and at most."""

log = event_log("sanic_ws.node")


class Replay:
    """Send sessions what is in their mailboxes.

    Args:
        mailbox: all mailboxes.

    Attributes:
        replayed: how many letters were sent so.
        gaps: how many times something was missing before a letter.
        recoveries: how many sessions went on where they had been, ``true``, or could not, ``false``.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)
        self.replayed = 0
        self.gaps = 0
        self.recoveries: Counter[str] = Counter()

    def start(self, reading: Reading) -> None:
        """Have a session read its mailbox, unless it does, or its client is too slow at this moment."""
        if reading.task is None and not (reading.stalled or reading.over):
            reading.task = asyncio.create_task(self._run(reading), name="sanic_ws.replay")

    async def _run(self, reading: Reading) -> None:
        """Read until a session has all, or its client is too slow."""
        retry_s = RETRY_S
        try:
            while not reading.over:
                try:
                    async with self._pages:
                        done = await self._read(reading)
                except MailboxUnavailable as exc:
                    log.debug("mailbox not read", reason=str(exc))
                    _tell_away(reading)
                    await asyncio.sleep(retry_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
                    retry_s = min(2 * retry_s, MOST_RETRY_S)
                else:
                    retry_s = RETRY_S
                    if done:
                        return
        except Exception as exc:  # noqa: BLE001 - a fault of ours: whoever waits is told, and it is tried again
            log.fault("mailbox not read", exc)
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
        at = reader.at
        page = await self._mailbox.read(reading.box, at.before if reading.unproven else at, PAGE)
        if reading.over:
            return True
        is_last = len(page) < PAGE
        if reading.unproven:
            page = self._prove(reading, page)
        # If it stands elsewhere a live letter has told that the server has lost its tail.
        if reader.at != at or not self._send_all(reading, reader, page):
            return False
        if reading.stalled:
            return True
        if not is_last or reading.moves or reading.calls != calls:
            return False
        self._end(reading, reader)
        return True

    async def _find(self, reading: Reading) -> Reader | None:
        """Stand where the client wants to go on, or before all that there is."""
        since = reading.since
        if since is None:
            return None
        at = await self._mailbox.find(reading.box, since) if since else NOWHERE
        patience_s = reading.patience_s
        if patience_s and (at is None or not (since or (await self._mailbox.describe(reading.box)).size)):
            # It may be in the mailbox of the user that the client is about to name.
            asyncio.get_running_loop().call_later(patience_s, self.start, reading)
            return None
        reading.found = at is not None
        reading.unproven = at is not None and at > NOWHERE
        return reading.place(NOWHERE) if at is None else reading.place(at, since)

    def _prove(self, reading: Reading, page: list[Stored]) -> list[Stored]:
        """Check that what was found has not gone since then, with all behind it; return what is behind it."""
        reading.unproven = False
        if not page:
            reading.found = False
        elif page[0].id == reading.since:
            return page[1:]
        return page

    async def _move(self, reading: Reading) -> bool:
        """Move letters for a connection into the mailbox of its user; say whether more may be there.

        They are stored there before they are cleared away here: one that was moved twice is stored once.
        """
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
            for place in places:
                if isinstance(place, MailboxUnavailable):
                    raise place
                if reading.reader is None and reading.since is None:
                    reading.begin(place.at)
            await self._mailbox.clear(conn, page[-1].place.at)
        return reading.calls != calls

    def _send_all(self, reading: Reading, reader: Reader, page: list[Stored]) -> bool:
        """Send a page, as far as the client reads; say `False` if it has to be read from elsewhere."""
        for stored in page:
            at = reader.at
            self._send(reading, reader, stored)
            if reader.at < at:
                return False
            if reading.stalled:
                break
        return True

    def _send(self, reading: Reading, reader: Reader, stored: Stored) -> None:
        """Send one letter, unless it is not for this session."""
        place, at = stored.place, reader.at
        meeting = reader.meet(place, stored.id)
        if reader.at < at and meeting is Meeting.AHEAD:
            return
        if meeting in (Meeting.PAST, Meeting.MISSED):
            if place.at > reader.at:
                reader.passed(place, stored.id, sent=False)
            reading.settle(stored.id, sent=meeting is Meeting.PAST)
            return
        is_ours = reader.takes(stored.only)
        sent = is_ours and stored.payload is not None
        if sent:
            assert stored.payload is not None
            if not reading.socket.write(durable_frame(stored.payload, reader.prev(place))):
                reading.stalled = True
                return
            self.replayed += 1
            reading.count += 1
        lost = is_ours and not sent
        self.gaps += lost or meeting is Meeting.AHEAD
        reader.passed(place, stored.id, sent=sent, lost=lost)
        reading.settle(stored.id, sent=sent)

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


def _tell_away(reading: Reading) -> None:
    if reading.asked and not reading.told_away:
        reason = "what you have missed cannot be read now; it comes as soon as it can"
        reading.told_away = reading.socket.write(error_frame(BadMessage("mailbox_unavailable", reason)))
