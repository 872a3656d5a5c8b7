"""Following: what a client has of its durable messages, over all the connections that it makes.

A durable message names the one before it, ``prev``, which is null for the first of all. A client that comes
back asks for what came after the last one that it has.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SKEW = timedelta(seconds=5)
"""How far the clocks of nodes and publishers may be apart; a message more may be shown, none less."""

MEMORY = 1024
"""Ids that a client remembers; what comes again after so many others is shown twice."""


class Sight(Enum):
    """What a message is to a client."""

    NEW = auto()
    """It is to be shown."""
    GAP = auto()
    """It is to be shown, and something before it is missing."""
    OLD = auto()
    """It was shown, or is from before this client began."""


class Follower:
    """Hold what one client has seen.

    Args:
        since: the id of the durable message that it has; empty: none, it wants all there is; None: it wants
            what comes from the beginning of its first connection on.

    Attributes:
        last_id: the id of the last durable message that it has, if there is one.
    """

    def __init__(self, since: str | None = None) -> None:
        self.last_id = since or None
        self._wants_all = since is not None
        self._began: datetime | None = None
        # Whether what comes may be from before the beginning.
        self._asked_all = self._replays_all = False
        self._seen: dict[str, None] = {} if self.last_id is None else {self.last_id: None}

    @property
    def since(self) -> str | None:
        """What to ask for when connecting; None: nothing."""
        if self.last_id is not None:
            return self.last_id
        return "" if self._wants_all or self._began is not None else None

    def connected(self, time: str) -> None:
        """Take in that a connection was made, at a time of the node's, RFC 3339 in UTC."""
        self._asked_all = self.since == "" and not self._wants_all
        self._replays_all = self._asked_all
        if self._began is None:
            self._began = _read_time(time)

    def bound(self) -> None:
        """Take in that the connection is another user's now: what is stored for that one comes."""
        self._replays_all = self._asked_all

    def resumed(self, last_id: Any) -> None:
        """Take in that all has come that was stored, up to a message, if there was any."""
        self._replays_all = False
        if isinstance(last_id, str) and last_id:
            self.last_id = last_id

    def meet(self, message: Mapping[str, Any]) -> Sight:
        """Say what a push is to the client, and take it in."""
        if "prev" not in message:
            return Sight.NEW
        message_id, prev = message.get("id"), message["prev"]
        if not isinstance(message_id, str):
            return Sight.NEW
        if message_id in self._seen:
            return Sight.OLD
        is_early = self._is_early(message.get("time"))
        is_gap = self.last_id is not None and prev != self.last_id
        self._seen[message_id] = None
        if len(self._seen) > MEMORY:
            del self._seen[next(iter(self._seen))]
        self.last_id = message_id
        if is_early:
            return Sight.OLD
        return Sight.GAP if is_gap else Sight.NEW

    def _is_early(self, time: Any) -> bool:
        """Say whether what is replayed is from before the beginning of a client that wants none of that."""
        if not self._replays_all or self._began is None:
            return False
        made = _read_time(time)
        return made is not None and made < self._began - SKEW


def _read_time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else None
