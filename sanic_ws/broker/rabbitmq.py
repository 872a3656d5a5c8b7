"""The broker in RabbitMQ (3.10 or newer); its exchanges and queues are described in `sanic_ws.broker.link`.

*It knows whether it hears.* Every beat it sends itself an empty message through its own queue. If for two
beats nothing at all has come, it is deaf, whatever the connection seems to be, and connects anew.

*Blocked is not lost.* A RabbitMQ that is short of memory or disk reads nothing that is published: what is
to be sent then is refused at once. What is read goes on.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from sanic_ws.broker.back_ends import RabbitBackEnds
from sanic_ws.broker.link import CLOSE_TIMEOUT_S, CONNECT_TIMEOUT_S, GONE, Link, reason, transient
from sanic_ws.broker.names import Names
from sanic_ws.broker.sending import post, publish, read_headers, write_headers
from sanic_ws.errors import BrokerError, BrokerLost, BrokerUnavailable, QueueFull, Unroutable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

    from sanic_ws.broker.port import Headers, OnBatch, OnReply

BEAT_S = 2.0
DEAF_BEATS = 2
ANSWER_TIMEOUT_S = 5.0
REFUSAL_TIMEOUT_S = 1.0
OPEN_ANSWERS = 1000
RECONNECT_JITTER_S = 0.2

log = event_log("sanic_ws.broker")


class RabbitBroker:
    """Carry batches over RabbitMQ.

    Args:
        url: ``amqp://`` or ``amqps://``; several, separated by commas, for a cluster: tried in turn,
            beginning anywhere. For TLS the query may name ``cafile``, ``certfile`` and ``keyfile``.
        prefix: of every exchange and queue.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._urls = [part.strip() for part in url.split(",") if part.strip()]
        self._tries = random.randrange(len(self._urls))  # noqa: S311 - spreads load
        self._prefix = prefix
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._on_reply: OnReply | None = None
        self._on_batch: OnBatch | None = None
        self._node: str | None = None
        self._heard = False
        self._open_answers = 0
        self._closed = False
        self._openings = 0
        self._back_ends = RabbitBackEnds()

    @property
    def back_ends(self) -> RabbitBackEnds:
        """What it carries between nodes and back ends."""
        return self._back_ends

    @property
    def connected(self) -> bool:
        """Whether it can send and hear."""
        return self._link is not None

    @property
    def openings(self) -> int:
        """How many times it has connected."""
        return self._openings

    @property
    def blocked(self) -> bool:
        """Whether RabbitMQ takes nothing at the moment, because it is short of memory or disk."""
        return self._link is not None and self._link.blocked

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

    # Sending

    async def send(self, node: str, body: bytes, ttl_ms: int, headers: Headers | None = None) -> None:
        """Send a batch to a node's queue and wait until the broker has confirmed it."""
        await self._publish("direct", node, body, ttl_ms, headers)

    async def broadcast(self, body: bytes, ttl_ms: int, headers: Headers | None = None) -> None:
        """Send a batch to all nodes."""
        await self._publish("fanout", "", body, ttl_ms, headers)

    async def _publish(
        self, exchange: str, key: str, body: bytes, ttl_ms: int, headers: Headers | None
    ) -> None:
        link = self._link
        if link is None:
            raise BrokerUnavailable("RabbitMQ is not connected")
        ttl_ms = max(1, ttl_ms)
        properties = transient(
            expiration=str(ttl_ms), reply_to=link.names.reply_queue, headers=write_headers(headers)
        )
        try:
            # Past its time nobody waits for the confirm, and it may never come.
            await publish(link, f"{self._prefix}.{exchange}", key, body, properties, ttl_ms / 1000)
        except QueueFull as exc:
            raise await self._refusal(link, key) from exc

    async def _refusal(self, link: Link, node: str) -> BrokerError:
        """Tell a full queue from one whose server has just died: that one may have handed the batch over."""
        if not node:
            return QueueFull("one of all")
        properties = transient(expiration="1000")
        try:
            await publish(link, link.names.direct, node, b"", properties, REFUSAL_TIMEOUT_S)
        except Unroutable:
            return BrokerLost("RabbitMQ: the queue was lost with its server")
        except (BrokerLost, BrokerUnavailable) as exc:
            return BrokerLost(str(exc))
        except QueueFull:
            pass
        return QueueFull(node)

    async def answer(self, address: str, body: bytes) -> None:
        """Send a reply. It is lost silently if nobody waits for it any more, or nothing can be sent."""
        link = self._link
        if link is None or link.blocked or self._open_answers >= OPEN_ANSWERS:
            return
        self._open_answers += 1
        try:
            await post(link, address, body, ANSWER_TIMEOUT_S)
        finally:
            self._open_answers -= 1

    # Hearing

    async def _take_reply(self, message: DeliveredMessage) -> None:
        self._heard = True
        assert self._on_reply is not None
        if message.body and not self._on_reply(message.body):
            await self._set_aside(message.body)

    async def _take_batch(self, message: DeliveredMessage) -> None:
        self._heard = True
        assert self._on_batch is not None
        properties = message.header.properties
        if message.body and not self._on_batch(
            message.body, properties.reply_to or "", read_headers(properties)
        ):
            await self._set_aside(message.body)

    async def _set_aside(self, body: bytes) -> None:
        """Keep what nobody can read for people to look at."""
        if self._link is not None and not self._link.blocked:
            await post(self._link, self._link.names.dead, body, ANSWER_TIMEOUT_S)

    # Leaving

    async def leave(self, last_calls_s: float = 0.0) -> None:
        """Take no more batches; what was in the queue has been handed over when this returns."""
        if self._link is None or self._on_batch is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + last_calls_s):
                await self._link.leave(last_calls_s)
        except GONE as exc:
            log.warning("queue not emptied", reason=reason(exc))

    async def close(self) -> None:
        """Answer the calls under way, in bounded time; close the queues and the connections."""
        await self._back_ends.close()
        keeper, self._keeper = self._keeper, None
        # A library may swallow the cancellation.
        self._closed = True
        self._lost.set()
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper], timeout=2 * CLOSE_TIMEOUT_S + 1)

    # Connecting

    async def _keep(self) -> None:
        """Connect, wait until the connection is lost, and again."""
        try:
            while True:
                await self._connect_until_it_works()
                if self._closed:
                    return
                log.info("RabbitMQ connected")
                await self._watch()
                if self._closed:
                    return
                log.warning("RabbitMQ connection lost")
                await self._disconnect()
                # Not all nodes and publishers at the same moment.
                await asyncio.sleep(random.uniform(0, RECONNECT_JITTER_S))  # noqa: S311 - jitter
        finally:
            await self._disconnect()

    async def _connect_until_it_works(self) -> None:
        retrying = AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=3),
            retry=retry_if_exception_type(GONE),
            before_sleep=lambda state: log.warning(
                "RabbitMQ connect failed", reason=reason(state.outcome.exception() if state.outcome else None)
            ),
        )
        async for attempt in retrying:
            if self._closed:
                return
            with attempt:
                url = self._urls[self._tries % len(self._urls)]
                self._tries += 1
                self._lost.clear()
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    self._link = await self._connect(url)
                self._openings += 1
                self._back_ends.connected(self._link)
                self._up.set()

    async def _connect(self, url: str) -> Link:
        names = Names(self._prefix, self._node)
        names.renew()
        take_batch = None if self._on_batch is None else self._take_batch
        return await Link.connect(url, names, self._take_reply, take_batch, self._lost.set)

    async def _watch(self) -> None:
        """Return when the connection is lost, or nothing has been heard for too long."""
        assert self._link is not None
        missed, was_blocked = 0, False
        while missed < DEAF_BEATS:
            self._heard = False
            if await self._beat(self._link):
                return
            blocked = self._link.blocked
            if blocked is not was_blocked:
                was_blocked = blocked
                if blocked:
                    log.warning("RabbitMQ takes nothing, it is short of memory or disk")
                else:
                    log.warning("RabbitMQ takes messages again")
            missed = 0 if self._heard or blocked else missed + 1
        log.warning("nothing heard of RabbitMQ", beats=missed)

    async def _beat(self, link: Link) -> bool:
        """Send an empty message through the own queue; say whether the connection was lost within a beat."""
        own = link.names.reply_queue if self._on_batch is None else self._node
        assert own is not None
        try:
            async with asyncio.timeout(BEAT_S):
                if not link.blocked:
                    await post(link, own, b"", BEAT_S)
                await self._lost.wait()
        except TimeoutError:
            return False
        return True

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        self._up.clear()
        self._back_ends.disconnected()
        if link is not None:
            await link.close()
