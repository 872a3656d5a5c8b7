"""Frames that wait for a slow client, in order; some of them may be given up for newer ones."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAME_BYTES, LATE_BYTES = 256, 1024
"""What a waiting frame counts beside its length: what Python holds for it, and for who is told about it."""


class Late(NamedTuple):
    """Say how a frame waits.

    Attributes:
        key: only the newest frame of a key waits; None: it has none.
        expires: when it is not to be written any more, monotonic seconds.
        ended: called once if it has waited, with whether it was written.
    """

    key: str | None
    expires: float
    ended: Callable[[bool], None]


class Frame(NamedTuple):
    """Hold a frame that waits; without `late` it is not given up."""

    content: bytes
    late: Late | None

    @property
    def size(self) -> int:
        """What it counts, in bytes."""
        return len(self.content) + (FRAME_BYTES if self.late is None else LATE_BYTES)


class Waiting:
    """Hold the frames that wait for one client.

    Attributes:
        bytes: what all of them count.
        plain_bytes: what those count that are not given up.
    """

    __slots__ = ("_count", "_expires", "_frames", "_keys", "_late", "bytes", "plain_bytes")

    def __init__(self) -> None:
        self._count = 0
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._late: OrderedDict[int, Frame] = OrderedDict()
        self._keys: dict[str, int] = {}
        # Nothing is over before; what was first may have gone since.
        self._expires = inf
        self.bytes = 0
        self.plain_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, content: bytes, late: Late | None = None) -> None:
        """Have a frame wait behind the others; the one of its key has been given up before."""
        if late is not None and late.key is not None:
            self._keys[late.key] = self._count
        frame = Frame(content, late)
        self._frames[self._count] = frame
        self.bytes += frame.size
        if late is None:
            self.plain_bytes += frame.size
        else:
            self._late[self._count] = frame
            self._expires = min(self._expires, late.expires)
        self._count += 1

    def drop_key(self, key: str | None) -> None:
        """Give up the frame of a key, if one waits."""
        number = None if key is None else self._keys.get(key)
        if number is not None:
            self._give_up(number)

    def drop_oldest(self) -> bool:
        """Give the oldest frame up that may be; say `False` if there is none."""
        if not self._late:
            return False
        self._give_up(next(iter(self._late)))
        return True

    def expire(self, now: float) -> None:
        """Give up what is not to be written any more."""
        if now < self._expires:
            return
        for number in [n for n, frame in self._late.items() if _is_over(frame, now)]:
            self._give_up(number)
        self._expires = min((f.late.expires for f in self._late.values() if f.late is not None), default=inf)

    def take(self, now: float) -> Frame | None:
        """Return the frame that is to be written next; whoever writes it says so to its `Late`."""
        while self._frames:
            number = next(iter(self._frames))
            if _is_over(self._frames[number], now):
                self._give_up(number)
            else:
                return self._remove(number)
        return None

    def end(self) -> Iterator[bytes]:
        """Give up what may be, and return the others in order."""
        while self.drop_oldest():
            pass
        return (frame.content for frame in self._frames.values())

    def _give_up(self, number: int) -> None:
        late = self._remove(number).late
        assert late is not None
        late.ended(False)

    def _remove(self, number: int) -> Frame:
        frame = self._frames.pop(number)
        self.bytes -= frame.size
        if frame.late is None:
            self.plain_bytes -= frame.size
        else:
            del self._late[number]
            if frame.late.key is not None:
                del self._keys[frame.late.key]
        return frame


def _is_over(frame: Frame, now: float) -> bool:
    return frame.late is not None and frame.late.expires <= now
