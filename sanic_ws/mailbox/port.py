"""What a mailbox can do.

Every call but `Mailbox.store` raises `MailboxUnavailable` if the mailbox does not answer in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.core.mail import Contents, Letter, Place, Position, Stored
    from sanic_ws.errors import MailboxUnavailable


@dataclass(frozen=True)
class Bounds:
    """Bound each mailbox; what is too much goes, the oldest first, but never the newest letter.

    Attributes:
        letters: how many it may hold.
        octets: how many bytes their payloads may have.
        replicas: how many of a server's replicas must have a letter before it counts as stored.
    """

    letters: int = 1000
    octets: int = 4 << 20
    replicas: int = 0


class Mailbox(Protocol):
    """Keep letters in the order in which they came."""

    async def store(self, letters: Sequence[Letter]) -> list[Place | MailboxUnavailable]:
        """Put letters into their mailboxes, in this order; say where each is.

        A repeatable letter that is there already, by its id, is not stored a second time: its place is the
        old one.
        One that is not with as many replicas as is asked for may be lost: its place is not `certain`.

        In the place of one that was not stored is why: `MailboxAway`, or `MailboxUnavailable` if it is not
        known whether it was. Nothing is raised.
        """

    async def find(self, box: str, push_id: str) -> Position | None:
        """Return the position after which all letters came later than this one; None if that is not known.

        It is for a letter that is gone too, as long as the one after it is there.
        """

    async def read(self, box: str, after: Position, most: int) -> list[Stored]:
        """Return the letters after a position, the oldest first."""

    async def newest(self, boxes: Sequence[str]) -> tuple[Position, list[Position | None]]:
        """Return where a letter would be put now, and of each mailbox where its newest letter is, if any."""

    async def describe(self, box: str) -> Contents:
        """Return what is in a mailbox."""

    async def clear(self, box: str, up_to: Position | None = None) -> bool:
        """Throw away what is in a mailbox, all or up to a letter, with it; say whether there was anything."""

    async def close(self) -> None:
        """Let go of the connections to the mailbox."""
