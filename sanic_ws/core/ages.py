"""How old a message is, by the difference between two clocks that need not agree."""

from __future__ import annotations


class Ages:
    """Measure the age of senders' messages without trusting that clocks are set alike.

    The quickest message of a sender so far shows how far the clocks differ; what a later one takes
    longer is its age.

    Args:
        most_senders: how many are remembered; past that all are learnt anew.
    """

    def __init__(self, most_senders: int = 10_000) -> None:
        self._offsets: dict[str, float] = {}
        self._most = most_senders

    def age_s(self, sender: str, sent_at: float, now: float) -> float:
        """Return how many seconds longer than the sender's quickest message this one took."""
        offset = now - sent_at
        least = self._offsets.get(sender)
        if least is None or offset < least:
            if least is None and len(self._offsets) >= self._most:
                self._offsets.clear()
            self._offsets[sender] = least = offset
        return offset - least
