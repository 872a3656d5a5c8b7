"""Time one Redis GET plus one AMQP request and reply: the floor of a push's latency.

`floor REDIS_URL AMQP_URL` measures; `floor --responder AMQP_URL` answers in a process of its own, as a node.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import aio_pika
import redis.asyncio
import uvloop

from . import control

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

REQUESTS = "bench.floor"
KEY = "bench:floor"


async def _channel(amqp_url: str) -> AbstractChannel:
    connection = await aio_pika.connect(amqp_url)
    return await connection.channel(publisher_confirms=False)


async def respond(amqp_url: str) -> None:
    """Answer every request with its own body."""
    channel = await _channel(amqp_url)
    queue = await channel.declare_queue(REQUESTS, exclusive=True)

    async def answer(message: AbstractIncomingMessage) -> None:
        reply = aio_pika.Message(message.body, correlation_id=message.correlation_id)
        assert message.reply_to is not None
        await channel.default_exchange.publish(reply, message.reply_to)

    await queue.consume(answer, no_ack=True)
    await control.serve({})


class Floor:
    """A client that asks Redis, then the responder."""

    def __init__(self, redis_url: str, amqp_url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(redis_url)
        self._amqp_url = amqp_url
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def connect(self) -> None:
        """Open the channel and an exclusive reply queue."""
        await self._redis.set(KEY, "a-node-0001")
        self._channel = await _channel(self._amqp_url)
        queue = await self._channel.declare_queue(exclusive=True)
        self._reply_to = queue.name

        async def take(message: AbstractIncomingMessage) -> None:
            self._replies.put_nowait(message.body)

        await queue.consume(take, no_ack=True)

    async def measure(self, *, count: int, body: str) -> dict[str, Any]:
        """Return the milliseconds of `count` round trips, one after the other."""
        payload = body.encode()
        return {"latencies_ms": [await self._round_trip(payload) for _ in range(count)]}

    async def _round_trip(self, payload: bytes) -> float:
        start = time.perf_counter()
        await self._redis.get(KEY)
        message = aio_pika.Message(payload, reply_to=self._reply_to, correlation_id="1")
        await self._channel.default_exchange.publish(message, REQUESTS)
        await self._replies.get()
        return (time.perf_counter() - start) * 1e3


async def main() -> None:
    """Serve the benchmark until it hangs up."""
    if sys.argv[1] == "--responder":
        await respond(sys.argv[2])
        return
    floor = Floor(sys.argv[1], sys.argv[2])
    await floor.connect()
    await control.serve({"measure": floor.measure})


if __name__ == "__main__":
    uvloop.run(main())
