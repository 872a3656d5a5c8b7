"""Mail: a node brings durable messages to its clients, live and from their mailboxes.

A session reads one mailbox: its user's, or that of its connection if it is bound to none. It stands nowhere
until the first letter comes for it or its client asks for what it has missed; until then it costs nothing.
Letters for the connection of a session that is bound are moved into the user's mailbox first, for this
connection only: there is one order of all that a session gets.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.frames import payload_start
from sanic_ws.core.mail import NOWHERE
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reading import Meeting, durable_frame
from sanic_ws.node.reading import Reading, beginning
from sanic_ws.node.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sanic_ws.core.hub import Hub, Socket
    from sanic_ws.core.mail import Position, Posted
    from sanic_ws.core.reading import Reader
    from sanic_ws.mailbox import Mailbox

MOST_WAITING = 256
"""Live letters of one session that wait to be read from its mailbox; of any more nobody is told later."""
LATE_S = 1.0
"""A session that is bound later than this after it began is not for what its user got until then."""
PATIENCE_S = 3.0
"""How long a session that is bound to nobody may be yet, before it is told that its letter is not there."""
_ANSWERS = {Meeting.PAST: Answer.DELIVERED, Meeting.MISSED: Answer.OVERLOADED}


class Mail:
    """Hold the sessions of a node that read mailboxes.

    Args:
        hub: the connections.
        mailbox: all mailboxes.
        late_identity: whether clients may say who they are after they were connected.
    """

    def __init__(self, hub: Hub, mailbox: Mailbox, *, late_identity: bool = False) -> None:
        self._hub = hub
        self._late_identity = late_identity
        self._mailbox = mailbox
        self.replay = Replay(mailbox)
        self._readings: dict[Socket, Reading] = {}
        self._pending: dict[Socket, str] = {}
        self._bound_at: dict[Socket, float] = {}

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
        if posted.box not in (reading.box, socket.conn):
            return Answer.OVERLOADED
        if posted.box != reading.box:
            reading.moves = True
        reader = reading.reader
        if reading.since is None and (reader is None or posted.place.at <= reader.at):
            reader = reading.begin(posted.place.at)
        if reader is not None and posted.box == reading.box:
            meeting = reader.meet(posted.place, push_id, live=True)
            if meeting in _ANSWERS:
                return _ANSWERS[meeting]
            if meeting is Meeting.NEXT and self._write(reading, reader, push_id, posted, frame):
                return Answer.DELIVERED
        waits = reading.wait(push_id, ended, MOST_WAITING)
        self.replay.start(reading)
        return Answer.WAITING if waits else Answer.OVERLOADED

    def _write(self, reading: Reading, reader: Reader, push_id: str, posted: Posted, frame: bytes) -> bool:
        """Write the next letter; say `False` if it has to wait, and so do all that come behind it."""
        if reading.busy:
            return False
        content = durable_frame(frame[payload_start(frame) :], reader.prev(posted.place))
        if self._hub.deliver(reading.socket.conn, content) is not Answer.DELIVERED:
            reading.stalled = True
            return False
        reader.passed(posted.place, push_id, sent=True)
        return True

    # What does not come

    @property
    def readers(self) -> list[Socket]:
        """The sessions that stand somewhere in a mailbox, or are about to."""
        return list(self._readings)

    @staticmethod
    def boxes_of(socket: Socket) -> list[str]:
        """Return the mailboxes that letters for a session may be in."""
        return list({_box(socket), socket.conn})

    def catch_up(self, socket: Socket, newest: Mapping[str, Position | None], now: Position) -> None:
        """Have a session read what was not brought to it.

        Args:
            socket: it.
            newest: where the newest letter of each of its mailboxes is.
            now: where a letter would be put now.
        """
        if socket.left or not socket.opened:
            return
        reading, box = self._readings.get(socket), _box(socket)
        reader = None if reading is None or reading.box != box else reading.reader
        start = beginning(now, self._began(socket))
        moves = box != socket.conn and (newest[socket.conn] or NOWHERE) > start
        if not moves and (newest[box] or NOWHERE) <= (start if reader is None else reader.at):
            return
        reading = self._reading(socket)
        reading.moves |= moves
        if reading.reader is None and reading.since is None:
            reading.begin(now)
        self.replay.start(reading)

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
        if self._late_identity and socket.user is None:
            reading.patient_until = monotonic() + PATIENCE_S
        self.replay.start(reading)

    def bound(self, socket: Socket) -> None:
        """Take in that an open session is bound, maybe to another user: it reads that one's mailbox now."""
        if socket.left:
            return
        now = monotonic()
        if now - socket.began > LATE_S:
            self._bound_at[socket] = now
        before = self._readings.get(socket)
        if before is None or before.box == _box(socket):
            return
        if before.box != socket.conn:
            # What it has got, or asked for, was another user's.
            self._readings.pop(socket).end()
            return
        reading = self._replace(socket)
        reading.moves = True
        if before.reader is not None:
            reading.skips = before.reader.at
        if before.since is not None:
            reading.since, reading.asked = before.since, True
            reading.last_id = "" if before.reader is None else before.reader.last_id
        self.replay.start(reading)

    def writable(self, socket: Socket) -> None:
        """Take in that a client reads again."""
        reading = self._readings.get(socket)
        if reading is not None and reading.stalled:
            reading.stalled = False
            self.replay.start(reading)

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
            self._readings[socket] = reading = Reading(socket, _box(socket), self._began(socket))
        elif reading.box != _box(socket):
            self.bound(socket)
            return self._reading(socket)
        return reading

    def _began(self, socket: Socket) -> float:
        """Return from when on what comes is for a session."""
        return self._bound_at.get(socket, socket.began)

    def _replace(self, socket: Socket) -> Reading:
        """Have a session begin anew; what waited for it goes on waiting."""
        before = self._readings.pop(socket, None)
        reading = self._reading(socket)
        if before is not None:
            reading.waits, before.waits = before.waits, {}
            before.end()
        return reading


def _box(socket: Socket) -> str:
    return socket.conn if socket.user is None else f"@{socket.user.key}"
