"""Back ends in any language, over RabbitMQ: their calls, and what clients send to them.

A call is acknowledged when its answer has been confirmed, or when it was set aside.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from aiormq import spec

from sanic_ws.broker.calls import REPLY_TIMEOUT_S, Consumer, Replies
from sanic_ws.broker.link import CLOSE_TIMEOUT_S, GONE, reason, transient
from sanic_ws.broker.port import Call
from sanic_ws.broker.sending import publish, read_headers, write_headers
from sanic_ws.errors import BrokerError, BrokerLost, BrokerUnavailable
from sanic_ws.logs import event_log
from sanic_ws.tasks import end, start

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

    from sanic_ws.broker.link import Link
    from sanic_ws.broker.port import Headers, OnCall

INBOUND_TIMEOUT_S = 2.0
RETRY_S = 1.0

log = event_log("sanic_ws.broker")


class RabbitBackEnds:
    """Take calls and hand out clients' messages over a broker's link, which comes and goes."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._on_call: OnCall | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._consumer: Consumer | None = None
        self._replies: Replies | None = None
        self._calls: set[asyncio.Task[None]] = set()

    def connected(self, link: Link) -> None:
        """Go on over a new link."""
        self._link = link
        self._replies = Replies(link)
        self._begin()

    def disconnected(self) -> None:
        """Wait for another link."""
        self._link = self._consumer = self._replies = None
        self._stop()

    def serve(self, on_call: OnCall) -> None:
        """Begin to take calls, now or as soon as the broker is connected."""
        self._on_call = on_call
        self._begin()

    async def publish_inbound(self, kind: str, body: bytes, headers: Headers | None = None) -> None:
        """Hand a client's message to the back ends that are bound to its type; wait for the confirm."""
        link = self._link
        if link is None:
            raise BrokerUnavailable("RabbitMQ is not connected")
        # Whether it outlives the broker is for the back end's queue to say.
        lasting = spec.Basic.Properties(
            delivery_mode=2, content_type="application/json", headers=write_headers(headers)
        )
        await publish(link, link.names.inbound, kind, body, lasting, INBOUND_TIMEOUT_S)

    async def publish_event(self, kind: str, body: bytes) -> None:
        """Tell the back ends that are bound to a kind of event, if there are any; wait for no confirm."""
        link = self._link
        if link is None or link.blocked:
            raise BrokerUnavailable("RabbitMQ is not connected, or takes nothing")
        lasting = spec.Basic.Properties(delivery_mode=2, content_type="application/json")
        try:
            async with asyncio.timeout(INBOUND_TIMEOUT_S):
                await link.answering.basic_publish(
                    body, exchange=link.names.events, routing_key=kind, properties=lasting, wait=False
                )
        except GONE as exc:
            raise BrokerLost(f"RabbitMQ: {reason(exc)}") from exc

    async def leave(self) -> None:
        """Take no more calls; those under way go on."""
        self._on_call = None
        self._stop()
        if self._consumer is not None:
            await self._consumer.cancel()

    async def close(self) -> None:
        """Take no more calls, and answer those under way, in bounded time."""
        await self.leave()
        await end(self._calls, CLOSE_TIMEOUT_S)

    def _begin(self) -> None:
        if self._link is not None and self._on_call is not None and self._keeper is None:
            keeping = self._keep(self._link, self._on_call)
            self._keeper = asyncio.create_task(keeping, name="sanic_ws.calls")

    def _stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()

    async def _keep(self, link: Link, on_call: OnCall) -> None:
        """Consume calls, and again when the queue or its server is back."""
        told = False
        while self._link is link:
            consumer = Consumer(link)
            try:
                await consumer.start(partial(self._take, consumer, on_call))
                self._consumer, told = consumer, False
                await consumer.ended.wait()
            except GONE as exc:
                if not told:
                    log.warning("calls of back ends are not taken for now", reason=reason(exc))
                told = True
            await consumer.close()
            await asyncio.sleep(random.uniform(0.1, 1) * RETRY_S)  # noqa: S311 - jitter

    async def _take(self, consumer: Consumer, on_call: OnCall, message: DeliveredMessage) -> None:
        # Not in the library's own task, which ends with the channel.
        start(self._carry_out(consumer, on_call, message), self._calls)

    async def _carry_out(self, consumer: Consumer, on_call: OnCall, message: DeliveredMessage) -> None:
        properties = message.header.properties
        reply_to = properties.reply_to or ""
        call = Call(
            message.body,
            bool(reply_to),
            bool(message.redelivered),
            _read_expiration(properties.expiration),
            read_headers(properties),
        )
        answer = await on_call(call)
        if answer is None:
            await self._set_aside(message.body)
        elif reply_to and self._replies is not None:
            await self._replies.send(reply_to, properties.correlation_id, answer)
        await consumer.acknowledge(message)

    async def _set_aside(self, body: bytes) -> None:
        """Keep what nobody can read for people to look at."""
        if self._link is None:
            return
        names = self._link.names
        try:
            await publish(self._link, names.direct, names.dead, body, transient(), REPLY_TIMEOUT_S)
        except BrokerError as exc:
            log.warning("call not set aside", reason=reason(exc))


def _read_expiration(text: str | None) -> float | None:
    """Return how long a message was good for, in seconds; 0 only says that it must not wait for a node."""
    return int(text) / 1000 if text and text.isascii() and text.isdigit() and int(text) else None
