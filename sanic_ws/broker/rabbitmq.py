"""The broker in RabbitMQ (3.10 or newer).

Objects; all names begin with the prefix, so that a broker's user can be limited to them::

    <prefix>.direct             direct exchange; a node's queue is bound by the node's id, a reply queue by
                                its own name: the registry names nodes, never queues
    <prefix>.fanout             fanout exchange; every node's queue is bound to it
    <prefix>.node.<id>.<new>    a node's queue: exclusive, bounded, refuses when full
    <prefix>.reply.<new>        a sender's replies: exclusive
    <prefix>.dead               what nobody can read: durable, bounded

Exclusive queues die with their connection, so that a batch for a dead node comes back at once
(``mandatory``). They get new names at every connect, so that nothing stale is found in them. Publishing
and consuming have a connection each: RabbitMQ stops reading from one that publishes too much.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import aio_pika
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError, PublishError
from aiormq import spec
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from sanic_ws.errors import BrokerLost, BrokerUnavailable, QueueFull, Unroutable

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel

    from sanic_ws.broker.port import OnBatch, OnReply

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 10
QUEUE_MESSAGES = 10_000
QUEUE_BYTES = 64 << 20
_GONE = (AMQPError, ChannelInvalidStateError, ConnectionError, OSError, RuntimeError, TimeoutError)

log = logging.getLogger("sanic_ws.broker")


@dataclass(slots=True)
class _Link:
    """Hold what one connect has built."""

    connections: list[AbstractConnection]
    channels: list[AbstractChannel]
    """Held because a channel closes when it is collected."""
    publishing: Channel
    answering: Channel
    address: str


class RabbitBroker:
    """Carry batches over RabbitMQ.

    Args:
        url: ``amqp://`` or ``amqps://``; several, separated by commas, for a cluster: tried in turn.
        prefix: of every exchange and queue.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._urls = [part.strip() for part in url.split(",") if part.strip()]
        self._prefix = prefix
        self._link: _Link | None = None
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._on_reply: OnReply | None = None
        self._on_batch: OnBatch | None = None
        self._node: str | None = None

    @property
    def connected(self) -> bool:
        """Whether it can send and hear."""
        return self._link is not None

    async def open(self, on_reply: OnReply, on_batch: OnBatch | None = None, node: str | None = None) -> None:
        """Start to connect. With a node's id its queue is opened as well."""
        self._on_reply, self._on_batch, self._node = on_reply, on_batch, node
        self._keeper = asyncio.create_task(self._keep(), name="sanic_ws.broker")

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait until it is connected; say `False` if that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def send(self, node: str, body: bytes, ttl_ms: int) -> None:
        """Send a batch to a node's queue and wait until the broker has confirmed it."""
        await self._publish("direct", node, body, ttl_ms)

    async def broadcast(self, body: bytes, ttl_ms: int) -> None:
        """Send a batch to all nodes."""
        await self._publish("fanout", "", body, ttl_ms)

    async def _publish(self, exchange: str, key: str, body: bytes, ttl_ms: int) -> None:
        link = self._link
        if link is None:
            raise BrokerUnavailable("RabbitMQ is not connected")
        properties = spec.Basic.Properties(
            delivery_mode=1, expiration=str(max(1, ttl_ms)), reply_to=link.address
        )
        try:
            await link.publishing.basic_publish(
                body,
                exchange=f"{self._prefix}.{exchange}",
                routing_key=key,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        except PublishError as exc:
            raise Unroutable(key) from exc
        except DeliveryError as exc:
            raise QueueFull(key) from exc
        except _GONE as exc:
            raise BrokerLost(f"RabbitMQ: {exc or type(exc).__name__}") from exc

    async def answer(self, address: str, body: bytes) -> None:
        """Send a reply. It is lost silently if nobody waits for it any more."""
        link = self._link
        if link is None:
            return
        try:
            await link.answering.basic_publish(
                body,
                exchange=f"{self._prefix}.direct",
                routing_key=address,
                properties=spec.Basic.Properties(delivery_mode=1),
                wait=False,
            )
        except _GONE:
            log.debug("reply lost with its connection")

    async def close(self) -> None:
        """Close the queues and the connections."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=2 * CLOSE_TIMEOUT_S + 1)
            self._keeper = None

    # Connecting

    async def _keep(self) -> None:
        """Connect, wait until the connection is lost, and again."""
        try:
            while True:
                await self._connect_until_it_works()
                log.info("RabbitMQ connected")
                await self._lost.wait()
                log.warning("RabbitMQ connection lost")
                await self._disconnect()
        finally:
            await self._disconnect()

    async def _connect_until_it_works(self) -> None:
        retrying = AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=3),
            retry=retry_if_exception_type(_GONE),
            before_sleep=lambda state: log.warning(
                "RabbitMQ connect failed: %s", _reason(state.outcome.exception() if state.outcome else None)
            ),
        )
        tries = 0
        async for attempt in retrying:
            with attempt:
                url = self._urls[tries % len(self._urls)]
                tries += 1
                self._lost.clear()
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    self._link = await self._build(url)
                self._up.set()

    async def _build(self, url: str) -> _Link:
        connections: list[AbstractConnection] = []
        channels: list[AbstractChannel] = []
        try:
            for role in ("publish", "consume"):
                connection = await aio_pika.connect(
                    url,
                    timeout=CONNECT_TIMEOUT_S,
                    heartbeat=HEARTBEAT_S,
                    client_properties={
                        "connection_name": f"{self._prefix} {self._node or 'publisher'} {role}"
                    },
                )
                connection.close_callbacks.add(self._on_lost)
                connections.append(connection)
            publish, consume = connections
            channels.append(await publish.channel(publisher_confirms=True, on_return_raises=True))
            channels.append(await publish.channel(publisher_confirms=False))
            channels.append(await consume.channel(publisher_confirms=False))
            publishing, answering, consuming = [await self._watch(channel) for channel in channels]
            await self._declare_exchanges(consuming)
            address = await self._consume_replies(consuming)
            if self._on_batch is not None and self._node is not None:
                await self._consume_batches(consuming, self._node, self._on_batch)
        except BaseException:
            await _close_all(connections)
            raise
        return _Link(connections, channels, publishing, answering, address)

    async def _watch(self, channel: AbstractChannel) -> Channel:
        channel.close_callbacks.add(self._on_lost)
        underlay = cast("Channel", await channel.get_underlay_channel())
        underlay.on_consumer_cancel_callbacks.add(self._on_cancelled)
        return underlay

    async def _declare_exchanges(self, channel: Channel) -> None:
        for kind in ("direct", "fanout"):
            await channel.exchange_declare(f"{self._prefix}.{kind}", exchange_type=kind, durable=True)
        await channel.queue_declare(
            f"{self._prefix}.dead", durable=True, arguments={"x-max-length": 1000, "x-overflow": "drop-head"}
        )

    async def _consume_replies(self, channel: Channel) -> str:
        name = f"{self._prefix}.reply.{secrets.token_hex(8)}"
        await channel.queue_declare(name, exclusive=True, auto_delete=True)
        await channel.queue_bind(name, f"{self._prefix}.direct", routing_key=name)

        async def take(message: DeliveredMessage) -> None:
            assert self._on_reply is not None
            self._on_reply(message.body)

        await channel.basic_consume(name, take, no_ack=True)
        return name

    async def _consume_batches(self, channel: Channel, node: str, on_batch: OnBatch) -> None:
        name = f"{self._prefix}.node.{node}.{secrets.token_hex(4)}"
        await channel.queue_declare(
            name,
            exclusive=True,
            auto_delete=True,
            arguments={
                "x-max-length": QUEUE_MESSAGES,
                "x-max-length-bytes": QUEUE_BYTES,
                "x-overflow": "reject-publish",
            },
        )

        async def take(message: DeliveredMessage) -> None:
            on_batch(message.body, message.header.properties.reply_to or "")

        await channel.basic_consume(name, take, no_ack=True)
        await channel.queue_bind(name, f"{self._prefix}.direct", routing_key=node)
        await channel.queue_bind(name, f"{self._prefix}.fanout")

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        self._up.clear()
        if link is not None:
            await _close_all(link.connections)

    def _on_lost(self, *_: object) -> None:
        self._lost.set()

    async def _on_cancelled(self, _: object) -> None:
        self._lost.set()


async def _close_all(connections: list[AbstractConnection]) -> None:
    for connection in connections:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await connection.close()
        except _GONE as exc:
            log.debug("close failed: %s", _reason(exc))


def _reason(exc: BaseException | None) -> str:
    return str(exc) or type(exc).__name__
