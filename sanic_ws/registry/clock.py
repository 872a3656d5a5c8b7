"""The registry's clock, as far as this process knows it."""

from __future__ import annotations

DRIFT = 1e-3
"""How far two clocks may drift apart, in seconds a second: an older reading is worth less."""


class RemoteClock:
    """Tell what another machine's clock shows, by its answers: half a round trip is the error."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._error = 0.0
        self._read = 0.0

    def learn(self, shown: float, sent: float, read: float) -> None:
        """Take in what the clock showed between two moments here; keep what is most exact."""
        error = (read - sent) / 2
        if self._offset is None or error <= self._error + DRIFT * (read - self._read):
            self._offset, self._error, self._read = shown - (sent + read) / 2, error, read

    def forget(self) -> None:
        """Know nothing: it may be another clock now."""
        self._offset = None

    def at(self, local: float) -> float | None:
        """Return what the clock shows at a moment here; None if that is not known."""
        return None if self._offset is None else local + self._offset
