"""How much a client may send: token buckets for its messages and for their bytes.

What is over is dropped and takes no tokens, so that a client that sends a little too much loses that little.
A third bucket holds what was dropped: a client that goes on in spite of it is to be closed.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf

BURST_S = 2.0
"""So many seconds' worth may come at once."""
PATIENCE_S = 10.0
"""So many seconds' worth are dropped, beside one second's worth in each second, before the end."""
TELL_S = 1.0
"""How often a client is told, so that the answers are no flood of their own."""
PIECE_BYTES = 256
"""What a piece of a message counts at least: a tiny one costs far more than its bytes."""

_NEVER = -inf


class Excess(Enum):
    """What is to be done about more than a client may send."""

    DROP = auto()
    TELL = auto()
    CLOSE = auto()


class Rates:
    """Hold what every client may send; 0: any number.

    Args:
        messages_per_s: how many messages and control frames.
        bytes_per_s: of their payloads, decompressed.
        max_message_bytes: of one message, which may always come whole.
    """

    __slots__ = ("burst_bytes_s", "burst_messages_s", "byte_s", "message_s")

    def __init__(self, messages_per_s: int, bytes_per_s: int, max_message_bytes: int) -> None:
        self.message_s = 1 / messages_per_s if messages_per_s else 0.0
        self.byte_s = 1 / bytes_per_s if bytes_per_s else 0.0
        # To half of one, as sums of fractions are not exact.
        self.burst_messages_s = BURST_S + self.message_s / 2
        self.burst_bytes_s = max(BURST_S, max_message_bytes * self.byte_s) + self.byte_s / 2


class Meter:
    """Measure what one client sends.

    Args:
        rates: what it may send.
    """

    __slots__ = ("_bytes_at", "_dropped_at", "_messages_at", "_rates", "_told_at")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        # When each bucket will be full again.
        self._messages_at = self._bytes_at = self._dropped_at = 0.0
        self._told_at = _NEVER

    def over(self, size: int, now: float, messages: int = 1) -> Excess | None:
        """Take in what a client has sent; None: it may, otherwise what to do about it.

        Args:
            size: bytes of the payload.
            now: monotonic seconds.
            messages: 0 for a part of one.
        """
        rates = self._rates
        messages_at = self._messages_at if self._messages_at > now else now  # noqa: FURB136 - it takes a third
        bytes_at = self._bytes_at if self._bytes_at > now else now  # noqa: FURB136
        messages_at += rates.message_s * messages
        bytes_at += rates.byte_s * size
        if messages_at - now <= rates.burst_messages_s and bytes_at - now <= rates.burst_bytes_s:
            self._messages_at = messages_at
            self._bytes_at = bytes_at
            return None
        return self._drop(max(rates.message_s * messages, rates.byte_s * size), now)

    def _drop(self, worth_s: float, now: float) -> Excess:
        dropped_s = max(0.0, self._dropped_at - now)
        if dropped_s > PATIENCE_S:
            return Excess.CLOSE
        self._dropped_at = now + dropped_s + worth_s
        if now - self._told_at < TELL_S:
            return Excess.DROP
        self._told_at = now
        return Excess.TELL
