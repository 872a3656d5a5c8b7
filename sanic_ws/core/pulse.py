"""Pulse: whether the other side of a connection is still there, by what is heard of it."""

from __future__ import annotations

from enum import Enum, auto

BEATS_S = 0.5
"""How long a beat is, in heartbeats of the node, which says something at every one of these."""
PING_AT, DEAD_AT = 3, 5


class Sign(Enum):
    """What a beat says."""

    WELL = auto()
    ASK = auto()
    """Send a ping."""
    DEAD = auto()


class Pulse:
    """Count the beats of silence; a machine that slept for an hour has slept for one beat.

    Attributes:
        heard: to be set when anything is heard.
    """

    def __init__(self) -> None:
        self.heard = True
        self._silent = 0

    def beat(self) -> Sign:
        """Take in that a beat has passed."""
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        if self._silent >= DEAD_AT:
            return Sign.DEAD
        return Sign.ASK if self._silent == PING_AT else Sign.WELL
