"""What a node holds of a session that reads a mailbox."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.mail import Position
from sanic_ws.core.reading import Reader

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from sanic_ws.core.hub import Socket


def beginning(now: Position, began: float) -> Position:
    """Return where a mailbox was when a session began.

    It is a little before that: a letter more may be sent, none less.

    Args:
        now: where a letter would be put now.
        began: when the session did, monotonic seconds.
    """
    return Position(max(0, now.ms - int((monotonic() - began) * 1000) - 2))


class Reading:
    """Hold how far a session is with its mailbox, and what waits for it.

    Args:
        socket: the session's.
        box: its mailbox.
        began: when it began to read that one, monotonic seconds.

    Attributes:
        reader: where it stands, once that is known.
        since: after which letter its client wanted to go on; empty: with the first.
        found: whether that letter was found.
        unproven: whether it may have gone since it was found.
        last_id: the id of what its client has got last from another mailbox since it asked, if anything.
        asked: whether the client waits to be told that it has all.
        count: how many letters it was sent from its mailbox.
        moves: whether letters of its connection have to be moved into its mailbox first.
        skips: up to where in the connection's own mailbox they are not for it, or it has them.
        known: the ids of those.
        calls: how many live letters have waited.
        waits: by push id, who is told what becomes of them.
        stalled: whether its client is too slow, and says when it is not any more.
        told_away: whether its client knows that the mailbox is away.
        patient_until: until when its client may say who it is, monotonic seconds.
        over: whether it has ended.
        task: reads, if anything is to be read.
    """

    __slots__ = (
        "_began",
        "asked",
        "box",
        "calls",
        "count",
        "found",
        "known",
        "last_id",
        "moves",
        "over",
        "patient_until",
        "reader",
        "since",
        "skips",
        "socket",
        "stalled",
        "task",
        "told_away",
        "unproven",
        "waits",
    )

    def __init__(self, socket: Socket, box: str, began: float) -> None:
        self.socket = socket
        self.box = box
        self.reader: Reader | None = None
        self.since: str | None = None
        self.found = True
        self.unproven = False
        self.last_id = ""
        self.asked = False
        self.count = 0
        self.moves = False
        self.skips: Position | None = None
        self.known: list[str] = []
        self.calls = 0
        self.waits: dict[str, list[Callable[[bool], None]]] = {}
        self.stalled = False
        self.told_away = False
        self.patient_until = 0.0
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self._began = began

    @property
    def busy(self) -> bool:
        """Whether what comes live has to wait."""
        return self.task is not None or self.stalled or self.moves

    @property
    def patience_s(self) -> float:
        """For how long its client may say who it is, seconds."""
        return max(0.0, self.patient_until - monotonic())

    def begin(self, at: Position) -> Reader:
        """Stand where the session began, by a letter that was stored a moment ago.

        A clock may have been set back since the first one came.
        """
        start = beginning(at, self._began)
        if self.reader is not None:
            self.reader.begin_at(start)
            return self.reader
        self.skips = self.skips or start
        return self.place(start)

    def place(self, start: Position, last_id: str = "") -> Reader:
        """Stand behind a letter, or where one could be."""
        user = self.socket.user
        from_type = "" if user is None else user.token.partition(";")[2]
        self.reader = Reader(self.socket.conn, from_type, start, last_id)
        if self.last_id:
            self.reader.last_id = self.last_id
        for push_id in self.known:
            self.reader.skip(push_id)
        return self.reader

    def skip(self, push_id: str) -> None:
        """Take in that its client has a letter, or that it is not for this session."""
        self.known.append(push_id)
        if self.reader is not None:
            self.reader.skip(push_id)

    def wait(self, push_id: str, ended: Callable[[bool], None], most: int) -> bool:
        """Have somebody told what becomes of a letter; say `False` if too many wait already."""
        self.calls += 1
        if len(self.waits) >= most and push_id not in self.waits:
            return False
        self.waits.setdefault(push_id, []).append(ended)
        return True

    def settle(self, push_id: str, *, sent: bool) -> None:
        """Tell who waits what has become of a letter."""
        for ended in self.waits.pop(push_id, ()):
            ended(sent)

    def drop_waits(self) -> None:
        """Tell all who wait that their letters were not sent."""
        for push_id in list(self.waits):
            self.settle(push_id, sent=False)

    def end(self) -> None:
        """Read no more; what is being read is let go of when it comes."""
        self.over = True
        self.drop_waits()
