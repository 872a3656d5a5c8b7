"""What one connect to RabbitMQ builds: connections, channels, exchanges, queues.

Objects; all names begin with the prefix, so that a broker's user can be limited to them::

    <prefix>.direct             direct exchange; a node's queue is bound by the node's id, a reply queue and
                                the dead one by their own names: the registry names nodes, never queues
    <prefix>.fanout             fanout exchange; every node's queue is bound to it
    <prefix>.node.<id>.<new>    a node's queue: exclusive, bounded, refuses when full
    <prefix>.reply.<new>        a sender's replies: exclusive
    <prefix>.rpc                what back ends ask for: durable, bounded, refuses when full; all nodes take
                                from it, and it is bound to direct by its own name
    <prefix>.inbound            topic exchange; back ends bind queues of their own by types of messages
    <prefix>.events             topic exchange; back ends bind queues of their own by names of events
    <prefix>.dead               what nobody can read: durable, bounded, the oldest goes first

Exclusive queues die with their connection, so that a batch for a dead node comes back at once
(``mandatory``). They get new names at every connect, so that nothing stale is found in them. Publishing
and consuming have a connection each: RabbitMQ stops reading from one that publishes too much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import aio_pika
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity
from aiormq import spec
from aiormq.channel import Returning

from sanic_ws.logs import event_log
from sanic_ws.tasks import end, take_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aio_pika.abc import AbstractChannel, AbstractConnection
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel

    from sanic_ws.broker.names import Names

    Take = Callable[[DeliveredMessage], Coroutine[Any, Any, None]]

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 6
"""RabbitMQ's own; a silent connection is given up after three of them and three seconds."""
QUEUE_MESSAGES = 10_000
QUEUE_BYTES = 64 << 20
DEAD_MESSAGES = 1000
_WITH_BODIES = ("Unhandled message", "message_id if None")
"""What the library logs of messages that come back when nobody waits for them any more."""
GONE = (
    AMQPError,
    ChannelInvalidStateError,
    ConnectionError,
    OSError,
    RuntimeError,
    TimeoutError,
    asyncio.InvalidStateError,
)
"""What a connection or channel that is gone, or does not answer, raises."""

log = event_log("sanic_ws.broker")
# A payload has no place in a log.
logging.getLogger("aiormq.channel").addFilter(lambda record: not str(record.msg).startswith(_WITH_BODIES))


@dataclass(slots=True)
class Link:
    """Hold what one connect has built.

    Attributes:
        names: of exchanges and queues.
        connections: one for publishing, one for consuming.
        channels: held because a channel closes when it is collected.
        publishing: with confirms.
        answering: without.
        consuming: of replies, and of a node's batches.
    """

    names: Names
    connections: list[AbstractConnection] = field(default_factory=list)
    channels: list[AbstractChannel] = field(default_factory=list)
    publishing: Channel = field(init=False)
    answering: Channel = field(init=False)
    consuming: Channel = field(init=False)
    _unblocked: asyncio.Event | None = None

    @classmethod
    async def connect(
        cls,
        url: str,
        names: Names,
        take_reply: Take,
        take_batch: Take | None,
        on_lost: Callable[[], None],
    ) -> Self:
        """Connect and build everything, or nothing.

        Args:
            url: of one server.
            names: of exchanges and queues.
            take_reply: called for each message of the reply queue.
            take_batch: called for each message of the node's queue; without it there is none.
            on_lost: called when a part of this is gone; it then is worth nothing as a whole.

        Raises:
            AMQPError, OSError, TimeoutError: it did not work.
        """
        link = cls(names)
        try:
            await link._open(url, on_lost)
            await link._declare()
            await link._consume_replies(take_reply)
            if take_batch is not None:
                await link._consume_batches(take_batch)
        except BaseException:
            await link.close()
            raise
        return link

    @property
    def blocked(self) -> bool:
        """Whether RabbitMQ reads nothing that is published: it is short of memory or disk."""
        return self._unblocked is not None and not self._unblocked.is_set()

    async def leave(self, last_calls_s: float) -> None:
        """Take the node's queue from the exchanges; wait until all that is in it has been handed over."""
        names = self.names
        assert names.node is not None
        await self.consuming.queue_unbind(names.node_queue, names.direct, routing_key=names.node)
        await asyncio.sleep(last_calls_s)
        await self.consuming.queue_unbind(names.node_queue, names.fanout)
        # The answer comes behind every message that the queue had sent before.
        while (await self.consuming.queue_declare(names.node_queue, passive=True)).message_count:
            pass

    async def close(self) -> None:
        """Close the connections, in bounded time."""
        for connection in self.connections:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.close()
            except GONE as exc:
                log.debug("close failed", reason=reason(exc))

    async def _open(self, url: str, on_lost: Callable[[], None]) -> None:
        for role in ("publish", "consume"):
            label = f"{self.names.prefix} {self.names.node or 'publisher'} {role}"
            connection = aio_pika.Connection(
                aio_pika.connection.make_url(url, heartbeat=HEARTBEAT_S),
                client_properties={"connection_name": label},
            )
            # In the list before it is open: one that fails half-way has to be closed as well.
            self.connections.append(connection)
            await _connect(connection)
            connection.close_callbacks.add(lambda *_: on_lost())
        publish, consume = self.connections
        assert publish.transport is not None
        # There is no public way to see it without waiting for its end.
        self._unblocked = getattr(publish.transport.connection, "_Connection__connection_unblocked", None)
        self.publishing = await self._channel(publish, on_lost, confirms=True)
        self.answering = await self._channel(publish, on_lost)
        self.consuming = await self._channel(consume, on_lost)

    async def _channel(
        self, connection: AbstractConnection, on_lost: Callable[[], None], *, confirms: bool = False
    ) -> Channel:
        opened, channel = await open_channel(connection, on_lost, confirms=confirms)
        self.channels.append(opened)
        return channel

    async def _declare(self) -> None:
        names, channel = self.names, self.consuming
        await channel.exchange_declare(names.direct, exchange_type="direct", durable=True)
        await channel.exchange_declare(names.fanout, exchange_type="fanout", durable=True)
        await channel.exchange_declare(names.inbound, exchange_type="topic", durable=True)
        await channel.exchange_declare(names.events, exchange_type="topic", durable=True)
        await self._declare_dead()

    async def _declare_dead(self) -> None:
        """Declare the queue that lasts, on a channel of its own: in a cluster its home may be away."""
        opened = await self.connections[-1].channel(publisher_confirms=False)
        channel = cast("Channel", await opened.get_underlay_channel())
        bounds: dict[str, Any] = {"x-max-length": DEAD_MESSAGES, "x-overflow": "drop-head"}
        try:
            await channel.queue_declare(self.names.dead, durable=True, arguments=bounds)
            await channel.queue_bind(self.names.dead, self.names.direct, routing_key=self.names.dead)
        except ChannelNotFoundEntity as exc:
            log.warning("nothing can be set aside for now", reason=reason(exc))
        else:
            await opened.close()

    async def _consume_replies(self, take: Take) -> None:
        name = self.names.reply_queue
        await self.consuming.queue_declare(name, exclusive=True, auto_delete=True)
        await self.consuming.queue_bind(name, self.names.direct, routing_key=name)
        await self.consuming.basic_consume(name, take, no_ack=True)

    async def _consume_batches(self, take: Take) -> None:
        names, name = self.names, self.names.node_queue
        assert names.node is not None
        bounds: dict[str, Any] = {
            "x-max-length": QUEUE_MESSAGES,
            "x-max-length-bytes": QUEUE_BYTES,
            "x-overflow": "reject-publish",
        }
        await self.consuming.queue_declare(name, exclusive=True, auto_delete=True, arguments=bounds)
        await self.consuming.basic_consume(name, take, no_ack=True)
        await self.consuming.queue_bind(name, names.direct, routing_key=names.node)
        await self.consuming.queue_bind(name, names.fanout)


class _Confirms(OrderedDict[int, "asyncio.Future[Any]"]):
    """Hold the confirms of a channel that are waited for.

    The library breaks the channel when a message comes back in the very turn of the event loop in which its
    sender has given up: here that one is nobody's already.
    """

    def pop(self, tag: int, *default: Any) -> Any:
        found = super().pop(tag, *default)
        if default and isinstance(found, asyncio.Future) and found.cancelled():
            self[tag] = Returning()
            return default[0]
        return found


async def open_channel(
    connection: AbstractConnection, on_lost: Callable[[], None], *, confirms: bool = False
) -> tuple[AbstractChannel, Channel]:
    """Open a channel; the first of the two has to be held, the second is what is worked with."""

    async def on_cancelled(_: object) -> None:
        on_lost()

    opened = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
    opened.close_callbacks.add(lambda *_: on_lost())
    channel = cast("Channel", await opened.get_underlay_channel())
    channel.on_consumer_cancel_callbacks.add(on_cancelled)
    if confirms:
        channel.confirmations = _Confirms()
    return opened, channel


async def _connect(connection: AbstractConnection) -> None:
    """Connect; when cancelled wait a moment for the end of it: a connection just made would be lost, open."""
    connecting = asyncio.ensure_future(connection.connect(timeout=CONNECT_TIMEOUT_S))
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await end([connecting], CLOSE_TIMEOUT_S)
        connecting.add_done_callback(take_failure)
        raise


def transient(**properties: Any) -> spec.Basic.Properties:
    """Return the properties of a message that need not survive the broker."""
    return spec.Basic.Properties(delivery_mode=1, **properties)


def reason(exc: BaseException | None) -> str:
    """Say what went wrong in a line."""
    return str(exc) or type(exc).__name__
