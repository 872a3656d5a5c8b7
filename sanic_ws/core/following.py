"""Following: what a client has of its durable messages, over all the connections that it makes.

A durable message names the one before it, ``prev``, but for the very first of a mailbox. A client that comes
back asks for what came after the last one that it has.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

MEMORY = 1024
"""Ids that a client remembers; of messages that come again after so many others it would show one twice."""


class Sight(Enum):
    """What a message is to a client."""

    NEW = auto()
    """It is to be shown."""
    GAP = auto()
    """It is to be shown, and something before it is missing."""
    OLD = auto()
    """It was shown, or was sent before this client began."""


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
        self._began: str | None = None
        self._replays = False
        self._seen: dict[str, int] = {}
        self._count = 0
        # Which of those that were seen was the last durable one.
        self._durable_at = 0

    @property
    def since(self) -> str | None:
        """What to ask for when connecting; None: nothing."""
        if self.last_id is not None:
            return self.last_id
        return "" if self._wants_all or self._began is not None else None

    def connected(self, time: str) -> None:
        """Take in that a connection was made, at a time of the node's."""
        self._replays = self.since is not None
        if self._began is None:
            self._began = time

    def bound(self) -> None:
        """Take in that the connection is another user's now: what is stored for that one comes."""
        self._replays = self.since is not None

    def resumed(self, last_id: Any) -> None:
        """Take in that all has come that was stored, up to a message, if there was any."""
        self._replays = False
        if isinstance(last_id, str) and last_id:
            self._stand_at(last_id)

    def meet(self, message_id: Any, prev: Any, time: Any) -> Sight:
        """Say what a push is to the client, and take it in.

        Args:
            message_id: the push's id, if it has one.
            prev: the id of the durable message before it, if it names one.
            time: when it was made, RFC 3339.
        """
        if not isinstance(message_id, str):
            return Sight.NEW
        is_durable = isinstance(prev, str)
        if (is_durable or self._replays) and (message_id in self._seen or message_id == self.last_id):
            return Sight.OLD
        is_gap = is_durable and self._misses(prev)
        is_early = self._is_early(time)
        self._remember(message_id)
        if is_durable:
            self._stand_at(message_id)
        if is_early:
            return Sight.OLD
        return Sight.GAP if is_gap else Sight.NEW

    def _misses(self, prev: str) -> bool:
        """Say whether the client has not got the durable message before one that names it as `prev`."""
        if self.last_id is None or prev == self.last_id:
            return False
        # The first one of a mailbox names none, and so was not known for a durable one.
        return self._seen.get(prev, -1) < self._durable_at

    def _is_early(self, time: Any) -> bool:
        """Say whether what is replayed is from before the beginning of a client that wants none of that."""
        if self._wants_all or not self._replays or self._began is None:
            return False
        return isinstance(time, str) and time < self._began

    def _remember(self, message_id: str) -> None:
        self._count += 1
        self._seen[message_id] = self._count
        if len(self._seen) > MEMORY:
            del self._seen[next(iter(self._seen))]

    def _stand_at(self, message_id: str) -> None:
        self.last_id = message_id
        self._durable_at = self._seen.get(message_id, self._durable_at)
