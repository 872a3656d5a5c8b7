"""Reporting: what clients say within a turn of the event loop goes to each sender as one message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.core.reports import Report

MOST_BYTES = 1 << 20
"""Of replies in one message; a single one may be longer."""


class Reporting:
    """Collect reports, without a timer: they leave when all of this turn have come.

    Args:
        send: takes an address, or None for this node, and what is to be told there.
    """

    def __init__(self, send: Callable[[str | None, list[Report]], None]) -> None:
        self._send = send
        self._waiting: dict[str | None, list[Report]] = {}
        self._bytes: dict[str | None, int] = {}

    def add(self, address: str | None, report: Report) -> None:
        """Have something told to a sender, behind all that it is told before."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send_all)
        self._waiting.setdefault(address, []).append(report)
        self._bytes[address] = self._bytes.get(address, 0) + len(report.reply)
        if address is not None and self._bytes[address] > MOST_BYTES:
            del self._bytes[address]
            self._send(address, self._waiting.pop(address))

    def _send_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._bytes.clear()
        for address, reports in waiting.items():
            self._send(address, reports)
