"""Serve python-socketio under uvicorn: `socketio_node amqp|redis URL PORT`."""

from __future__ import annotations

import sys
from typing import Any

import socketio
import uvicorn

MANAGERS = {"amqp": socketio.AsyncAioPikaManager, "redis": socketio.AsyncRedisManager}


def build(kind: str, url: str) -> socketio.ASGIApp:
    """Return the application; a client that connects as user 5 joins the room `u5`."""
    server = socketio.AsyncServer(async_mode="asgi", client_manager=MANAGERS[kind](url))

    @server.event  # type: ignore[untyped-decorator, unused-ignore]
    async def connect(sid: str, _: dict[str, Any], auth: dict[str, Any]) -> None:
        await server.enter_room(sid, f"u{auth['user']}")

    return socketio.ASGIApp(server)


if __name__ == "__main__":
    uvicorn.run(
        build(sys.argv[1], sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[3]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
