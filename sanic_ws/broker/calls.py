"""What calls of back ends need of RabbitMQ: a consumer of their queue, and a way to send the answers.

The queue is consumed on a channel of its own: it lives on one server, which may be away while all else works.

Answers go through the broker's own exchange, as ``reply_to`` names a queue. A node whose user may touch
nothing but ``<prefix>.*`` may not write there; so a back end may also bind a reply queue that has such a
name to ``<prefix>.direct``, by that name.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiormq.exceptions import ChannelAccessRefused

from sanic_ws.broker.link import (
    CLOSE_TIMEOUT_S,
    GONE,
    QUEUE_BYTES,
    QUEUE_MESSAGES,
    open_channel,
    reason,
    transient,
)
from sanic_ws.broker.sending import publish
from sanic_ws.errors import BrokerError, BrokerLost, Unroutable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel

    from sanic_ws.broker.link import Link, Take

PREFETCH = 100
"""Calls that a node has under way; more wait in the queue, for any node."""
CALL_TTL_MS = 60_000
"""How long a call may wait for a node: a push that is older than any time-out is not made."""
REPLY_TIMEOUT_S = 5.0
DEFAULT_EXCHANGE = ""

log = event_log("sanic_ws.broker")


class Consumer:
    """Consume the queue of calls on a channel of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._opened: AbstractChannel | None = None
        self._channel: Channel | None = None
        self._tag = ""
        self.ended = asyncio.Event()

    async def start(self, take: Take) -> None:
        """Declare the queue and begin to consume it.

        Raises:
            AMQPError, OSError: it did not work.
        """
        names = self._link.names
        bounds: dict[str, Any] = {
            "x-queue-type": "classic",
            "x-max-length": QUEUE_MESSAGES,
            "x-max-length-bytes": QUEUE_BYTES,
            "x-message-ttl": CALL_TTL_MS,
            "x-overflow": "reject-publish",
        }
        self._opened, channel = await open_channel(self._link.connections[-1], self.ended.set)
        self._channel = channel
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.queue_declare(names.rpc, durable=True, arguments=bounds)
        await channel.queue_bind(names.rpc, names.direct, routing_key=names.rpc)
        self._tag = (await channel.basic_consume(names.rpc, take)).consumer_tag or ""

    async def acknowledge(self, message: DeliveredMessage) -> None:
        """Let the broker forget a call; one that cannot be acknowledged comes again, as redelivered."""
        assert self._channel is not None
        try:
            await self._channel.basic_ack(message.delivery_tag or 0, wait=False)
        except GONE as exc:
            log.debug("call not acknowledged", reason=reason(exc))

    async def cancel(self) -> None:
        """Get no more calls; those that came before can be acknowledged."""
        if self._channel is None or self.ended.is_set():
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._channel.basic_cancel(self._tag)
        except GONE as exc:
            log.warning("calls of back ends may still come", reason=reason(exc))

    async def close(self) -> None:
        """Close the channel: what was not acknowledged goes to another node."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self._opened is not None:
                    await self._opened.close()
        except GONE as exc:
            log.debug("close failed", reason=reason(exc))


class Replies:
    """Send answers to the queues that calls name.

    Args:
        link: to the broker; another one needs another of these.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._opening = asyncio.Lock()
        self._opened: AbstractChannel | None = None
        self._channel: Channel | None = None
        self._refused = False

    async def send(self, reply_to: str, correlation_id: str | None, body: bytes) -> None:
        """Send an answer and wait for the confirm; it is lost if nobody waits for it any more."""
        names = self._link.names
        named_as_ours = reply_to.startswith(f"{names.prefix}.")
        for exchange in (names.direct, DEFAULT_EXCHANGE) if named_as_ours else (DEFAULT_EXCHANGE,):
            properties = transient(correlation_id=correlation_id, content_type="application/json")
            try:
                channel = await self._default_channel() if exchange == DEFAULT_EXCHANGE else None
                await publish(self._link, exchange, reply_to, body, properties, REPLY_TIMEOUT_S, channel)
            except Unroutable:
                log.debug("no queue for an answer", exchange=exchange)
            except BrokerError as exc:
                self._note(exc)
            else:
                return

    async def _default_channel(self) -> Channel:
        """Return a channel for the broker's own exchange, which closes where that may not be used.

        Raises:
            BrokerLost: there is none.
        """
        if self._refused:
            raise BrokerLost("answers to such queues are refused")
        async with self._opening:
            if self._channel is None:
                try:
                    async with asyncio.timeout(REPLY_TIMEOUT_S):
                        opening = open_channel(self._link.connections[0], self._forget, confirms=True)
                        self._opened, self._channel = await opening
                except GONE as exc:
                    raise BrokerLost(f"RabbitMQ: {reason(exc)}") from exc
            return self._channel

    def _forget(self) -> None:
        self._opened = self._channel = None

    def _note(self, exc: BrokerError) -> None:
        if isinstance(exc.__cause__, ChannelAccessRefused) and not self._refused:
            self._refused = True
            log.warning(
                "calls are answered only in queues with the prefix that are bound to the exchange: "
                "this user may not write to amq.default",
                prefix=f"{self._link.names.prefix}.",
                exchange=self._link.names.direct,
            )
        else:
            log.debug("answer to a call not sent", reason=reason(exc))
