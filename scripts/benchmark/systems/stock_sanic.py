"""Sanic's own `@app.websocket`, as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.benchmark.load import Endpoint
from scripts.benchmark.processes import BenchServer, python

if TYPE_CHECKING:
    from collections.abc import Sequence

TITLE = "stock Sanic"


class StockSanic(BenchServer):
    """One Sanic process with an echo handler."""

    name = "stock-sanic"
    title = TITLE

    @property
    def endpoint(self) -> Endpoint:
        """Connections that are ready at the handshake."""
        return Endpoint([f"ws://{self.address}/ws?sign=c{{i}}"])

    @property
    def echo(self) -> Endpoint:
        """Connections on which every message comes back."""
        return self.endpoint

    def _command(self) -> Sequence[str]:
        return python("stock_sanic", str(self.port))
