"""The publisher for asyncio."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from sanic_ws.backends import make_broker, make_mailbox, make_registry
from sanic_ws.dispatch import Dispatcher
from sanic_ws.errors import InvalidField
from sanic_ws.logs import event_log
from sanic_ws.mailbox import Bounds
from sanic_ws.publishing.pushes import Pushes, push_traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.core.requests import PushRequest
    from sanic_ws.tracing import Tracing

CONNECT_TIMEOUT_S = 5.0

log = event_log("sanic_ws.publishing")


class Publisher(Pushes):
    """Push to clients from a back end, straight to the node that holds each connection.

    It looks the owner up in Redis and publishes to the owner's queue: no gateway node in between. Use it
    as an asynchronous context manager, one for a process; any number of tasks may push at once, and
    what they push at the same time travels together. Pushes to one connection arrive in the order in
    which they were made.

    Args:
        redis_url: of the gateway's registry; ``SANIC_WS_REDIS_URL`` by default.
        amqp_url: of the gateway's broker; ``SANIC_WS_AMQP_URL`` by default.
        prefix: the gateway's; ``SANIC_WS_PREFIX`` or ``sanic_ws`` by default.

    Of what is stored for those who are away ``SANIC_WS_MAILBOX_MESSAGES``, ``SANIC_WS_MAILBOX_BYTES`` and
    ``SANIC_WS_MAILBOX_WAIT_REPLICAS`` say the same as for the gateway, and have to.

    Raises:
        InvalidField: a URL is missing or of an unknown kind, or one of these is no number.
    """

    def __init__(
        self, redis_url: str | None = None, amqp_url: str | None = None, prefix: str | None = None
    ) -> None:
        self._redis_url = redis_url or _from_environment("redis_url")
        self._amqp_url = amqp_url or _from_environment("amqp_url")
        self._prefix = prefix or os.environ.get("SANIC_WS_PREFIX") or "sanic_ws"
        self._bounds = Bounds(
            _bound("mailbox_messages", Bounds.letters),
            _bound("mailbox_bytes", Bounds.octets),
            _bound("mailbox_wait_replicas", Bounds.replicas),
        )
        self._dispatcher: Dispatcher | None = None
        self._tracing: Tracing | None = None

    async def __aenter__(self) -> Self:
        self._registry = make_registry(self._redis_url, self._prefix)
        self._broker = make_broker(self._amqp_url, self._prefix)
        self._mailbox = make_mailbox(self._redis_url, self._prefix, self._bounds)
        self._tracing = _tracing(self._amqp_url, self._prefix)
        self._dispatcher = Dispatcher(
            self._registry, self._broker, tracing=self._tracing, mailbox=self._mailbox
        )
        try:
            await self._broker.open(self._dispatcher.on_reply)
            if not await self._broker.wait_connected(CONNECT_TIMEOUT_S):
                log.warning("no broker yet, pushes are 'unavailable' until there is one")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is None:
            return
        # Each is closed, whatever becomes of the one before, a cancellation too.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._registry.close)
            stack.push_async_callback(self._mailbox.close)
            stack.push_async_callback(self._broker.close)
            await dispatcher.close()

    async def push_many(self, requests: Sequence[PushRequest]) -> list[Receipt]:
        """Push many messages with one call; the receipts come in the same order.

        Raises:
            InvalidField: a request breaks the contract; nothing was sent.
        """
        if self._dispatcher is None:
            raise RuntimeError(
                "use the publisher as a context manager: async with Publisher(...) as publisher"
            )
        return await push_traced(self._dispatcher, requests, self._tracing)


def _tracing(amqp_url: str, prefix: str) -> Tracing | None:
    """Return what passes the application's traces on, where OpenTelemetry is installed."""
    try:
        from sanic_ws.tracing import make_tracing  # noqa: PLC0415 - it is an extra
    except ImportError:
        return None
    return make_tracing(amqp_url, prefix)


def _bound(name: str, default: int) -> int:
    variable = f"SANIC_WS_{name.upper()}"
    text = os.environ.get(variable)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise InvalidField(variable, "must be a whole number")
    return int(text)


def _from_environment(name: str) -> str:
    variable = f"SANIC_WS_{name.upper()}"
    try:
        return os.environ[variable]
    except KeyError:
        raise InvalidField(name, f"is required, or else the environment variable {variable}") from None
