"""Deadlines of requests that do not move because a byte came (slow loris).

Sanic counts `REQUEST_TIMEOUT` and `RESPONSE_TIMEOUT` from the last byte that came: a client that sends one
a second holds a connection for as long as it likes.
"""

from __future__ import annotations

from typing import Any

from sanic.http import Stage
from sanic.server import HttpProtocol


class Deadlines(HttpProtocol):
    """Count the time for a request's head, and for its body and handler, from its first byte."""

    __slots__ = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Until the first request has begun: silence from the start is no keep-alive.
        self.keep_alive_timeout = self.request_timeout

    def data_received(self, data: bytes) -> None:
        """Take what came; only the first byte of a request starts a deadline."""
        began, idle = self._time, self.http is None or self.http.stage is Stage.IDLE
        super().data_received(data)
        if idle:
            self.keep_alive_timeout = self.app.config.KEEP_ALIVE_TIMEOUT
        else:
            self._time = began
