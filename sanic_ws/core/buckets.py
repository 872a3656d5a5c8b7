"""Token buckets: how many may come in a second, and a second's worth at once.

A bucket is no more than the time at which it will be full again (the generic cell rate algorithm, ITU-T
I.371): nothing ticks, and one that is full need not be kept.
"""

from __future__ import annotations

from collections import OrderedDict

BURST_S = 1.0


class Bucket:
    """Hold one bucket.

    Args:
        per_s: how many tokens it gets in a second; 0: there are always some.
    """

    __slots__ = ("_full_at", "_token_s")

    def __init__(self, per_s: int) -> None:
        self._token_s = _token_s(per_s)
        self._full_at = 0.0

    def take(self, now: float) -> bool:
        """Take a token; say `False` if there is none."""
        full_at = _taken(self._full_at, self._token_s, now)
        if full_at is None:
            return False
        self._full_at = full_at
        return True


class Buckets:
    """Hold a bucket for every key, for as long as it is not full.

    Args:
        per_s: how many tokens each gets in a second; 0: there are always some.
    """

    def __init__(self, per_s: int) -> None:
        self._token_s = _token_s(per_s)
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, now: float) -> bool:
        """Take a token of a key; say `False` if there is none."""
        if not self._token_s:
            return True
        self._drop_full(now)
        full_at = _taken(self._full_at.get(key, now), self._token_s, now)
        if full_at is None:
            return False
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        return True

    def _drop_full(self, now: float) -> None:
        """Forget those that are full; they are in the order of their last use, full a second after it."""
        while self._full_at and next(iter(self._full_at.values())) <= now:
            self._full_at.popitem(last=False)


def _token_s(per_s: int) -> float:
    return 1 / per_s if per_s else 0.0


def _taken(full_at: float, token_s: float, now: float) -> float | None:
    """Return when a bucket will be full again if a token is taken now; None if there is none."""
    missing_s = max(0.0, full_at - now)
    # To half a token, as sums of fractions are not exact.
    return None if missing_s > BURST_S - token_s / 2 else now + missing_s + token_s
