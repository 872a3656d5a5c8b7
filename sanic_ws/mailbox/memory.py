"""Mailboxes in this process's own memory: for one process, with the same rules as those in Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sanic_ws.core.mail import NOWHERE, Contents, Place, Position, Stored
from sanic_ws.mailbox.port import Bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.core.mail import Letter
    from sanic_ws.errors import MailboxUnavailable


@dataclass(frozen=True, slots=True)
class _Kept:
    letter: Letter
    place: Place
    expires_ms: int


_boxes: dict[tuple[str, str], dict[str, list[_Kept]]] = {}


class MemoryMailbox:
    """Keep mailboxes in memory; those of one URL and prefix are the same.

    Args:
        url: ``memory://`` and a name.
        prefix: as for Redis.
        bounds: of each mailbox; there are no replicas.
    """

    def __init__(self, url: str, prefix: str, bounds: Bounds | None = None) -> None:
        self._boxes = _boxes.setdefault((url, prefix), {})
        self._bounds = bounds or Bounds()

    async def store(self, letters: Sequence[Letter]) -> list[Place | MailboxUnavailable]:
        """Put letters into their mailboxes, unless they are there."""
        return [self._store(letter) for letter in letters]

    def _store(self, letter: Letter) -> Place:
        now, kept = _now_ms(), self._boxes.setdefault(letter.box, [])
        if not any(one.expires_ms > now for one in kept):
            # As the key expires in Redis.
            kept.clear()
        for one in kept:
            if letter.repeatable and one.letter.id == letter.id:
                return one.place
        last = kept[-1] if kept else None
        after = last.place.at if last is not None else NOWHERE
        at = Position(now) if now > after.ms else Position(after.ms, after.number + 1)
        place = Place(at, after, last.letter.id if last is not None else "")
        kept.append(_Kept(letter, place, now + int(letter.ttl_s * 1000)))
        while len(kept) > 1 and (self._is_too_much(kept) or kept[0].expires_ms <= now):
            del kept[0]
        return place

    def _is_too_much(self, kept: list[_Kept]) -> bool:
        return len(kept) > self._bounds.letters or _octets(kept) > self._bounds.octets

    async def find(self, box: str, push_id: str) -> Position | None:
        """Return where a letter is, or the letter before the one that followed it."""
        for one in reversed(self._alive(box)):
            if one.letter.id == push_id:
                return one.place.at
            if one.place.after_id == push_id:
                return one.place.after
        return None

    async def read(self, box: str, after: Position, most: int) -> list[Stored]:
        """Return the letters after a position, the oldest first."""
        now = _now_ms()
        return [
            Stored(
                one.place,
                one.letter.id,
                one.letter.only,
                None if one.expires_ms <= now else one.letter.payload,
                max(0, one.expires_ms - now) / 1000,
            )
            for one in self._alive(box)
            if one.place.at > after
        ][:most]

    async def newest(self, boxes: Sequence[str]) -> tuple[Position, list[Position | None]]:
        """Return where a letter would be put now, and of each mailbox where its newest letter is, if any."""
        kept = map(self._alive, boxes)
        return Position(_now_ms()), [one[-1].place.at if one else None for one in kept]

    async def describe(self, box: str) -> Contents:
        """Return what is in a mailbox."""
        kept = self._alive(box)
        if not kept:
            return Contents(0, 0, None, None)
        return Contents(len(kept), _octets(kept), kept[0].letter.id, kept[-1].letter.id)

    async def clear(self, box: str, up_to: Position | None = None) -> bool:
        """Throw away what is in a mailbox, all or up to a letter; say whether there was anything."""
        alive = self._alive(box)
        kept = [] if up_to is None else [one for one in alive if one.place.at > up_to]
        if kept:
            self._boxes[box] = kept
        else:
            self._boxes.pop(box, None)
        return len(kept) < len(alive)

    async def close(self) -> None:
        """Do nothing: the mailboxes stay."""

    def _alive(self, box: str) -> list[_Kept]:
        """Return what Redis would hold, which forgets a mailbox when the last of it has expired."""
        kept, now = self._boxes.get(box, []), _now_ms()
        return kept if any(one.expires_ms > now for one in kept) else []


def _octets(kept: list[_Kept]) -> int:
    return sum(len(one.letter.payload) for one in kept)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
