"""Leave a server alone for a moment after it failed, and say so once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sanic_ws.errors import RegistryAway
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_S = 1.0
"""How long nobody waits for a server that failed; then one call tries."""

log = event_log("sanic_ws.registry")


class Breaker:
    """Let calls through to a server that answers; refuse them at once while it is away.

    Every try puts the next one off, so that one call in `OPEN_S` waits for an absent server, and no other.

    Args:
        name: the server, as it appears in the log.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._answered_at = clock()
        self._away_since: float | None = None
        self._failed_at = 0.0
        self._retry_at = 0.0
        self._reason = ""

    @property
    def away(self) -> bool:
        """Whether the last that was heard of the server is that it failed."""
        return self._away_since is not None

    def admit(self, *, insist: bool = False) -> float:
        """Let a call through, or not; return when it began.

        Args:
            insist: try an absent server before its time, as a heartbeat does.

        Raises:
            RegistryAway: the server is away and it is not yet time for another try.
        """
        now = self._clock()
        if self._away_since is not None:
            if not insist and now < self._retry_at:
                raise self._refusal()
            self._retry_at = now + OPEN_S
        return now

    def check(self, began: float) -> None:
        """Stop a call that has waited for its turn while the server failed another.

        Raises:
            RegistryAway: so it was.
        """
        if self._away_since is not None and self._failed_at > began:
            raise self._refusal()

    def _refusal(self) -> RegistryAway:
        return RegistryAway(f"{self._name}: {self._reason}")

    def failed(self, reason: str, began: float) -> None:
        """Note that the server did not answer a call, or could not be connected to for it.

        Args:
            reason: what happened, for people.
            began: when, as `admit` returned it; what has been answered since then counts for more.
        """
        if began < self._answered_at:
            return
        self._failed_at = now = self._clock()
        self._retry_at = now + OPEN_S
        self._reason = reason
        if self._away_since is None:
            self._away_since = now
            log.warning("Redis is away", server=self._name, reason=reason)

    def succeeded(self) -> None:
        """Note that the server answered."""
        self._answered_at = self._clock()
        if self._away_since is not None:
            away_s, self._away_since = self._answered_at - self._away_since, None
            log.info("Redis answers again", server=self._name, away_s=round(away_s, 1))
