"""The application: Sanic with one node in each worker."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

import uvloop
from sanic import Sanic
from sanic.config import Config

from sanic_ws.core.messages import OWN_TYPES
from sanic_ws.core.requests import MAX_BODY_BYTES
from sanic_ws.core.tokens import Identity
from sanic_ws.http import (
    cluster,
    console,
    demo,
    docs,
    errors,
    groups,
    health,
    mailboxes,
    metrics,
    push,
    sockets,
    static,
    tracing,
)
from sanic_ws.http.deadlines import Deadlines
from sanic_ws.logs import configure_logging
from sanic_ws.node.process import leave
from sanic_ws.publishing.pushes import Pushes, push_traced
from sanic_ws.websocket.authentication import Authentication
from sanic_ws.websocket.handlers import Handler, Handlers, Message
from sanic_ws.websocket.member import Member
from sanic_ws.workers import run_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.core.requests import PushRequest
    from sanic_ws.settings import Settings
    from sanic_ws.websocket.authentication import Authenticate

__all__ = ["Gateway", "Identity", "Message"]

HEADER_BYTES = 16 << 10
BACKLOG = 4096
CLOSE_S, CLOSE_STEP_S = 2.0, 0.02

T = TypeVar("T")


class Gateway(Pushes):
    """Put a node into a Sanic application.

    ::

        gateway = Gateway(read_settings("serve"))

        class ChatSend(pydantic.BaseModel):
            text: str

        @gateway.on("chat.send", ChatSend)
        async def chat(message: Message[ChatSend]) -> None:
            await gateway.push(Group("chat"), "chat.sent", message.data.text, exclude=[message.conn])

        app = Sanic("chat")
        gateway.attach(app)

    An application that knows its clients in a way of its own says who they are::

        async def authenticate(request: Request) -> Identity | None:
            session = await sessions.find(request.cookies.get("session"))
            return session and Identity(User(session.user_id), expires_at=session.ends)

        gateway = Gateway(read_settings("serve"), authenticate=authenticate)

    Args:
        settings: the operator's.
        authenticate: a coroutine function that gets the request of each handshake and returns who asks for
            a connection. With None, or with whatever it raises, the client is refused (401); what it raises
            is logged by kind and place only. It stands in place of a token at the handshake; tokens in
            `auth` messages, where a JWT setting is given, prolong what it said.
    """

    def __init__(self, settings: Settings, authenticate: Authenticate | None = None) -> None:
        self.settings = settings
        self._authenticate = authenticate
        self._handlers = Handlers()
        self._member: Member | None = None
        self._refreshing: asyncio.Task[None] | None = None

    @overload
    def on(self, kind: str) -> Callable[[Handler[Any]], Handler[Any]]: ...

    @overload
    def on(self, kind: str, model: type[T]) -> Callable[[Handler[T]], Handler[T]]: ...

    def on(self, kind: str, model: Any = None) -> Callable[[Handler[Any]], Handler[Any]]:
        """Register a function, or a coroutine function, for client messages of a type.

        A function is called in turn, for messages that take no time; a coroutine function runs beside.

        Args:
            kind: the type.
            model: what the data are: a pydantic model, a dataclass, or any type that pydantic can check. Data
                that do not fit get their client an `error` `invalid_data`, and the handler is not called.

        Raises:
            InvalidField: the type is the gateway's own, or has a handler.
        """

        def register(handler: Handler[Any]) -> Handler[Any]:
            self._handlers.add(kind, handler, OWN_TYPES, model)
            return handler

        return register

    async def push_many(self, requests: Sequence[PushRequest]) -> list[Receipt]:
        """Push through this gateway's own node, wherever the targets are; as `Publisher.push_many`.

        A handler that is a coroutine function may await it, and `push`: other messages, of its client too,
        go on.

        Raises:
            InvalidField: a request breaks the contract; nothing was sent.
            RuntimeError: the gateway does not run.
        """
        if self._member is None:
            raise RuntimeError("the gateway does not run: attach it to an application and start that")
        node = self._member.node
        return await push_traced(node.dispatcher, requests, node.tracing, self.settings.max_message_bytes)

    def attach(self, app: Sanic[Any, Any], echo_path: str | None = None) -> None:
        """Add the gateway's routes and the node's start and leave to an application.

        Args:
            app: it; each of its workers is a node.
            echo_path: where to send messages back as they came, if anywhere.
        """
        app.ctx.api_keys = self.settings.keys
        errors.install(app)
        for module in (sockets, push, cluster, mailboxes, groups, health, metrics, docs, static, console):
            app.blueprint(module.blueprint)
        if self.settings.mode == "dev":
            app.blueprint(demo.blueprint)
        if self.settings.otel:
            tracing.install(app)
        if echo_path is not None:
            app.add_route(sockets.echo, echo_path, methods=["GET"], name="echo")
        app.register_listener(self._start, "before_server_start")
        app.register_listener(self._drain, "before_server_stop")
        app.register_listener(self._stop, "after_server_stop")

    async def _start(self, app: Sanic[Any, Any]) -> None:
        authentication = Authentication(self.settings, self._authenticate)
        self._refreshing = asyncio.create_task(authentication.run())
        self._member = member = Member(self.settings, self._handlers, authentication, leave)
        app.ctx.node, app.ctx.clients = member.node, member.clients
        app.ctx.neighbour = demo.Neighbour(self.settings, self._handlers, authentication)
        await member.start()

    async def _drain(self, app: Sanic[Any, Any]) -> None:
        await app.ctx.neighbour.stop()
        if self._member is not None:
            await self._member.drain()

    async def _stop(self, _: Sanic[Any, Any]) -> None:
        member, self._member = self._member, None
        if self._refreshing is not None:
            self._refreshing.cancel()
        if member is not None:
            await member.stop()

    def run(self, echo_path: str | None = None) -> None:
        """Run a gateway and nothing else until SIGINT or SIGTERM, in as many processes as the settings say.

        Args:
            echo_path: where to send messages back as they came, if anywhere.
        """
        configure_logging(self.settings.log_format, self.settings.log_level)
        if self.settings.workers == 1:
            self._work(echo_path)
        else:
            run_workers(self.settings.workers, partial(self._work, echo_path))

    def _work(self, echo_path: str | None) -> None:
        # A node holds many objects for long and makes few cycles: look for these less often.
        gc.set_threshold(20_000, 10, 100)
        uvloop.run(self._serve(echo_path))

    async def _serve(self, echo_path: str | None) -> None:
        """Serve until told to stop.

        Sanic's own runner can miss a signal that comes while it starts, so its parts are put together here.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        app = _bare_app(self.settings)
        self.attach(app, echo_path)
        server: Any = await app.create_server(
            sock=_listen(self.settings),
            backlog=BACKLOG,
            access_log=False,
            protocol=Deadlines,
            asyncio_server_kwargs={"start_serving": False},
        )
        await server.startup()
        await server.before_start()
        await server.start_serving()
        await server.after_start()
        await stop.wait()
        await server.before_stop()
        await _close(server)
        await server.after_stop()


def _bare_app(settings: Settings) -> Sanic[Any, Any]:
    config = Config(env_prefix=None)
    config.update(
        {
            "ACCESS_LOG": False,
            "OAS": False,
            "REQUEST_MAX_SIZE": MAX_BODY_BYTES,
            "REQUEST_MAX_HEADER_SIZE": HEADER_BYTES,
            "REQUEST_TIMEOUT": settings.header_timeout_s,
            "RESPONSE_TIMEOUT": 90,
            "KEEP_ALIVE_TIMEOUT": 75,
            "GRACEFUL_SHUTDOWN_TIMEOUT": 2.0,
            "MOTD": False,
            "AUTO_EXTEND": False,
        }
    )
    return Sanic("sanic_ws", config=config, configure_logging=False)


async def _close(server: Any) -> None:
    """Take no new requests, let those under way end, and close what does not."""
    server.server.close()
    try:
        async with asyncio.timeout(CLOSE_S):
            while server.connections:
                for connection in list(server.connections):
                    connection.close_if_idle()
                await asyncio.sleep(CLOSE_STEP_S)
    except TimeoutError:
        for connection in list(server.connections):
            connection.abort()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.workers > 1:
        # Each process has a queue of its own, and the system spreads connections over them.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((settings.host, settings.port))
    sock.setblocking(False)
    return sock
