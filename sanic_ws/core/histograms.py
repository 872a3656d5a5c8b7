"""Histograms: how often something had which size, without keeping what was measured."""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Count what is observed by size, as Prometheus does.

    Args:
        bounds: upper bounds, rising; what is larger than the last is counted as well.

    Attributes:
        total: the sum of all that was observed.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def buckets(self) -> list[tuple[float, int]]:
        """How many values were not larger than each bound; the last bound is infinite."""
        found, sofar = [], 0
        for bound, number in zip((*self._bounds, inf), self._counts, strict=True):
            sofar += number
            found.append((bound, sofar))
        return found
