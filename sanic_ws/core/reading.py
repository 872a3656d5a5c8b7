"""Reading: where one session stands in a mailbox, and what each letter that it meets is to it.

Letters come live, each with its place, or are read from the mailbox. A session gets them in the order of
their places, each once. What it has not seen in between, it reads; what is nowhere to be read is a gap, and
the client sees it: what the frame behind a gap names as the one before is not what the client has.

*A server that has lost its tail.* Letters that were passed are gone, and others take their places. A letter
that follows one of those that are left, or that lies among those that were passed and is none of them, tells
of it, and the session stands where the tail now begins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from sanic_ws.core import json
from sanic_ws.core.frames import text_frame
from sanic_ws.core.mail import NOWHERE, Position

if TYPE_CHECKING:
    from sanic_ws.core.mail import Place

MEMORY = 16
"""Letters that a session remembers to have passed; that a server has lost more is not seen for certain."""

BEHIND_MS = 5000
"""How far the clock of a server may be behind that of the one whose place it takes."""


class Meeting(Enum):
    """What a letter is to a session."""

    NEXT = auto()
    """It follows what was passed last."""
    PAST = auto()
    """It was sent, or was not for this session."""
    MISSED = auto()
    """It lies before all that is for this session, or in a gap; it is not sent."""
    AHEAD = auto()
    """Something before it was not passed."""


class _Passed(NamedTuple):
    at: Position
    id: str
    gap: bool
    had: bool = True
    """Whether it was sent, or is not for this session."""


class Reader:
    """Hold where one session stands in its mailbox.

    Args:
        conn: the session's connection.
        from_type: as it is escaped in a user's token, if it has one.
        start: what lies at it or before is not for this session.
        last_id: the push id of the letter that is there, if the client has it.

    Attributes:
        at: where the last letter is that was passed.
        last_id: the id of the last durable message that the client has; empty if that is none.
        whole: whether there was no gap.
    """

    __slots__ = (
        "_broken",
        "_names",
        "_passed",
        "_sent",
        "_skips",
        "_start",
        "at",
        "last_id",
        "whole",
    )

    def __init__(self, conn: str, from_type: str, start: Position, last_id: str = "") -> None:
        self._names = frozenset((conn, f"@{from_type}"))
        self._start = start
        self._passed = [_Passed(start, last_id, gap=False)] if last_id else []
        self._sent: dict[str, None] = {last_id: None} if last_id else {}
        self._skips: set[str] = set()
        # Whether there is a gap between what the client has got last and what was passed last.
        self._broken = False
        self.at = start
        self.last_id = last_id
        self.whole = True

    def skip(self, push_id: str) -> None:
        """Take in that the client has a letter, or that it is not for this session, wherever it lies."""
        self._skips.add(push_id)

    def begin_at(self, start: Position) -> None:
        """Stand at an earlier beginning, if nothing was passed yet, and it is not much earlier.

        A server that takes over may have a clock that is behind; a letter that is much older is a copy.
        """
        if not self._passed and self._start.ms - BEHIND_MS <= start.ms < self._start.ms:
            self._start = self.at = start

    def takes(self, only: str) -> bool:
        """Say whether a letter that is for these readers is for this session."""
        return not only or not self._names.isdisjoint(only.split(","))

    def meet(self, place: Place, push_id: str, *, live: bool = False) -> Meeting:
        """Say what a letter is to this session; that nothing was done yet but found out.

        Args:
            place: where it is, or was when it was sent.
            push_id: its push's id.
            live: whether it was not read just now, so that it may be lost by now.
        """
        if push_id in self._sent or push_id in self._skips:
            return Meeting.PAST
        known = self._find(place.at, push_id)
        if known is not None:
            return Meeting.PAST if known.had and place.at > self._start else Meeting.MISSED
        follows = self._follows(place)
        if place.at <= self.at:
            if not self._is_lost(place.at, push_id):
                return Meeting.MISSED
            follows = self._rewind(place) and not live
        elif self._is_lost(place.after, place.after_id):
            follows = self._rewind(place) and not live
        elif live and self._passed:
            # Of two letters that follow the same one a server has lost one: which it is can only be read.
            follows = place.after == self.at and place.after_id == self._passed[-1].id
        return Meeting.NEXT if follows else Meeting.AHEAD

    def passed(self, place: Place, push_id: str, *, sent: bool, lost: bool = False) -> None:
        """Take in that a letter was sent, or is not for this session, or cannot be sent: it is lost."""
        gap = lost or not self._follows(place)
        # Before the first letter of a mailbox there may have been others, that came and went.
        hidden = place.after == NOWHERE
        if not (self._passed or hidden or gap):
            self._passed.append(_Passed(place.after, place.after_id, gap=True, had=False))
        self._passed.append(_Passed(place.at, push_id, gap or hidden, had=not lost))
        self._skips.discard(push_id)
        self.at = place.at
        if len(self._passed) > MEMORY:
            del self._passed[0]
        self._broken |= gap
        self.whole &= not gap
        if sent:
            self._broken = False
            self.last_id = push_id
            self._sent[push_id] = None
            if len(self._sent) > MEMORY:
                del self._sent[next(iter(self._sent))]

    def prev(self, place: Place) -> str:
        """Return what the frame of the next letter names as the one before; empty if that is none.

        To a client that has none, and behind a gap, that is the letter before it in the mailbox.
        """
        if self.last_id and self._follows(place) and not self._broken:
            return self.last_id
        return place.after_id

    def _follows(self, place: Place) -> bool:
        """Say whether nothing lies between what was passed last and a letter."""
        after = place.after
        if not self._passed:
            # Of what the client has got nothing is left: there is nothing that this could follow.
            return after <= self.at and not self.last_id
        # If that is not the last, a server has lost its tail, and what came behind it was passed.
        return self._knows(after, place.after_id)

    def _knows(self, at: Position, push_id: str) -> bool:
        return self._find(at, push_id) is not None

    def _find(self, at: Position, push_id: str) -> _Passed | None:
        index = bisect_left(self._passed, at, key=_position)
        found = self._passed[index] if index < len(self._passed) else None
        return found if found is not None and found[:2] == (at, push_id) else None

    def _is_lost(self, at: Position, push_id: str) -> bool:
        """Say whether a letter that was not passed lies among those that were, and in no gap."""
        if at > self.at or not self._passed or self._knows(at, push_id):
            return False
        index = bisect_left(self._passed, at, key=_position)
        found = self._passed[index]
        return found.at == at or not (found.gap or index == 0)

    def _rewind(self, place: Place) -> bool:
        """Stand where a tail begins that has taken the place of another; say whether a letter begins it."""
        after = place.after
        del self._passed[bisect_right(self._passed, after, key=_position) :]
        if self._passed and self._passed[-1].at == after and self._passed[-1].id != place.after_id:
            # Another letter has its very place.
            self._passed.pop()
            after = Position(max(0, after.ms - 1))
        self.at = self._passed[-1].at if self._passed else after
        return self._follows(place)


def _position(passed: _Passed) -> Position:
    return passed.at


def durable_frame(payload: bytes, prev: str) -> bytes:
    """Return the frame of a letter for one session.

    Args:
        payload: the letter's, a JSON object that is not empty.
        prev: the id of the durable message before it; empty if there is none. By `prev`, null or not, a
            client knows that a message is durable.
    """
    return text_frame(b"".join((payload[:-1], b',"prev":', json.dumps(prev or None), b"}")))
