"""Mail: durable messages, as a mailbox keeps them and as they travel to those who read them.

A mailbox is a sequence of letters. Each has a position in it, and knows the position and the id of the
letter before it, so that whoever reads sees where one is missing: trimmed, expired, or lost with a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

_LAST_NUMBER = (1 << 64) - 1
DEFAULT_TTL_S = 24 * 3600


class Position(NamedTuple):
    """Say where in a mailbox a letter is: milliseconds of the mailbox's clock, and a number within these."""

    ms: int
    number: int = 0

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"

    @property
    def before(self) -> Position:
        """The last position before this one."""
        return Position(self.ms, self.number - 1) if self.number else Position(self.ms - 1, _LAST_NUMBER)

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read what `str` wrote; nothing is `NOWHERE`."""
        ms, _, number = text.partition("-")
        return cls(int(ms or 0), int(number or 0))


NOWHERE = Position(0, 0)
"""Before every letter."""


@dataclass(frozen=True, slots=True)
class Letter:
    """Hold what is to be stored.

    Attributes:
        box: whose mailbox: a user's key behind ``@``, or a connection's id.
        id: the push's.
        payload: the message as JSON, an object, without the id of the one before it.
        ttl_s: for how long it is of use.
        only: which of the mailbox's readers it is for, by commas: a ``fromType`` behind ``@``, as a user's
            token has it, or a connection's id; empty: all.
        repeatable: whether the caller gave the id, so that a copy may be stored already.
    """

    box: str
    id: str
    payload: bytes
    ttl_s: float = DEFAULT_TTL_S
    only: str = ""
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Say where a letter was put.

    Attributes:
        at: its position.
        after: that of the letter before it; `NOWHERE` if there was none.
        after_id: the push id of that one; empty if there was none.
        certain: whether it is with as many of the server's replicas as is asked for.
    """

    at: Position
    after: Position
    after_id: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Posted:
    """Tell a node where a push was stored that it is to deliver."""

    box: str
    place: Place

    def __str__(self) -> str:
        place = self.place
        return f"{self.box},{place.at},{place.after},{quote(place.after_id, safe='')}"

    @classmethod
    def parse(cls, text: str) -> Posted:
        """Read what `str` wrote.

        Raises:
            ValueError: it is not that.
        """
        box, at, after, after_id = text.split(",")
        return cls(box, Place(Position.parse(at), Position.parse(after), unquote(after_id)))


@dataclass(frozen=True, slots=True)
class Stored:
    """Hold a letter as it is read.

    Attributes:
        payload: None if it has expired.
        left_s: for how long it is of use yet.
    """

    place: Place
    id: str
    only: str
    payload: bytes | None
    left_s: float


@dataclass(frozen=True, slots=True)
class Contents:
    """Say what is in a mailbox.

    Attributes:
        size: how many letters; expired ones that nobody has cleared away yet included.
        octets: how many bytes their payloads have.
        first: the id of the oldest one, if any.
        last: that of the newest.
    """

    size: int
    octets: int
    first: str | None
    last: str | None
