"""Serve an echo on Sanic's own WebSocket support, with Sanic's defaults."""

from __future__ import annotations

import sys
from typing import Any

from sanic import Sanic

app = Sanic("stock")


@app.websocket("/ws")  # type: ignore[untyped-decorator, unused-ignore]
async def echo(_: Any, websocket: Any) -> None:
    """Send every message back as it came; without messages this is an idle connection."""
    async for message in websocket:
        await websocket.send(message)


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, access_log=False, motd=False, backlog=4096)
