"""The application: Sanic with one node in each worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sanic import Sanic
from sanic.config import Config

from sanic_ws.http import cluster, errors, health, push, sockets
from sanic_ws.node import Node
from sanic_ws.websocket.clients import Clients

if TYPE_CHECKING:
    from sanic_ws.settings import Settings

BODY_BYTES = 16 << 20


def create_app(settings: Settings, echo_path: str | None = None) -> Sanic[Any, Any]:
    """Return the application of one worker.

    Args:
        settings: the operator's.
        echo_path: where to send messages back as they came, if anywhere.
    """
    config = Config(env_prefix=None)
    config.update(
        {
            "ACCESS_LOG": False,
            "OAS": False,
            "REQUEST_MAX_SIZE": BODY_BYTES,
            "REQUEST_TIMEOUT": 10,
            "RESPONSE_TIMEOUT": 90,
            "KEEP_ALIVE_TIMEOUT": 75,
            "GRACEFUL_SHUTDOWN_TIMEOUT": 2.0,
            "MOTD": False,
            "AUTO_EXTEND": False,
        }
    )
    app: Sanic[Any, Any] = Sanic("sanic_ws", config=config, configure_logging=False)
    app.ctx.api_keys = settings.keys
    errors.install(app)
    for module in (sockets, push, cluster, health):
        app.blueprint(module.blueprint)
    if echo_path is not None:
        app.add_route(sockets.echo, echo_path, methods=["GET"], name="echo")

    @app.before_server_start
    async def start(app: Sanic[Any, Any]) -> None:
        app.ctx.node = node = Node(settings)
        app.ctx.clients = clients = Clients(node)
        app.ctx.keep_alive = asyncio.create_task(clients.keep_alive.run())
        await node.start()

    @app.before_server_stop
    async def stop(app: Sanic[Any, Any]) -> None:
        await app.ctx.clients.drain(settings.drain_s)
        app.ctx.keep_alive.cancel()
        await app.ctx.node.stop()

    return app
