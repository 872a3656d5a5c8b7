"""Comeback: whether and when a client connects again, after README's table of close codes."""

from __future__ import annotations

import random
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_S, CAP_S = 0.5, 30.0
"""Full jitter: anything up to the base, which doubles with each attempt up to the cap."""
STABLE_S = 10.0
"""A connection that lasted so long was a good one: what comes next is a first attempt."""
MOST_TOLD_S = 300.0
"""The longest wait that a node may ask for."""

_STAY_AWAY = frozenset(code for code in CloseCode if not code.reconnect)
_TRY_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SERVER_ERRORS = 500
_TOLD = re.compile(r"\bretry_after_ms=(\d{1,9})\b")


class Comeback:
    """Decide what a client does after each end of a connection.

    Args:
        renews: whether there can be another token at the next attempt.
        draw: gives a number of at least 0 and less than 1, for the jitter.
    """

    def __init__(self, *, renews: bool = False, draw: Callable[[], float] = random.random) -> None:
        self._renews = renews
        self._draw = draw
        self._attempts = 0
        self._was_unproven = False

    def after_close(self, code: int, reason: str, open_s: float, after_ms: int | None = None) -> float | None:
        """Return after how many seconds to connect again; None: not by itself.

        Args:
            code: the close code (RFC 6455, section 7.4); 1006 where there was none.
            reason: what came with it.
            open_s: how long the connection was open; 0 if it was never.
            after_ms: how long the node has asked to wait in a message, if it has.
        """
        if open_s >= STABLE_S:
            self._attempts = 0
            self._was_unproven = False
        if code == CloseCode.UNAUTHENTICATED:
            return self._after_unproven()
        if code in _STAY_AWAY:
            return None
        if code == CloseCode.TOO_MANY:
            return self._slowly()
        told = _TOLD.search(reason) if code == CloseCode.RESTART else None
        wait_ms = int(told[1]) if told else after_ms
        if wait_ms is None:
            return self.after_failure()
        # The node has drawn it for this client alone: it holds the jitter.
        return min(wait_ms / 1000, MOST_TOLD_S)

    def after_refusal(self, status: int, retry_after: str | None = None) -> float | None:
        """Return after how many seconds to connect again, or None, where a handshake was answered by HTTP.

        Args:
            status: of the answer.
            retry_after: its header, if it has one.
        """
        if status == HTTPStatus.UNAUTHORIZED:
            return self._after_unproven()
        if status not in _TRY_LATER and status < _SERVER_ERRORS:
            return None
        told_s = int(retry_after) if retry_after is not None and re.fullmatch(r"\d{1,6}", retry_after) else 0
        return min(told_s, MOST_TOLD_S) + self.after_failure()

    def after_failure(self) -> float:
        """Return after how many seconds to connect again where nobody has said anything."""
        most_s = min(CAP_S, BASE_S * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        return self._draw() * most_s

    def _slowly(self) -> float:
        self._attempts += 1
        return CAP_S * (1 + self._draw()) / 2

    def _after_unproven(self) -> float | None:
        """Allow for one attempt with a fresh token."""
        if self._was_unproven or not self._renews:
            return None
        self._was_unproven = True
        return self.after_failure()
