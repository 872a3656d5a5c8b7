"""An independent back end: calls over AMQP and what clients send, with nothing of ours."""

import asyncio
import json
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from tests.integration.peers import WAIT_S, unique
from tests.spoken import check_spoken


class BackEnd:
    """A connection to RabbitMQ with a queue for answers, which is bound to nothing unless it is told to.

    What nodes say is checked against their document, unless they are none (`checks`).
    """

    checks = True

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, prefix: str) -> None:
        self.connection = connection
        self.channel = channel
        self.prefix = prefix
        self.reply_to = ""
        self.answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[AbstractIncomingMessage]] = {}

    @classmethod
    async def open(
        cls, url: str, prefix: str, reply_queue: str | None = None, *, bound: bool = False
    ) -> Self:
        """Connect; a reply queue without a name gets one from the broker."""
        connection = await aio_pika.connect(url)
        back_end = cls(connection, await connection.channel(on_return_raises=True), prefix)
        queue = await back_end.channel.declare_queue(reply_queue, exclusive=True)
        if bound:
            await queue.bind(f"{prefix}.direct", queue.name)
        back_end.reply_to = queue.name
        await queue.consume(back_end._take, no_ack=True)
        return back_end

    async def _take(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.pop(message.correlation_id or "", None)
        if waiting is None:
            self.answers.put_nowait(message)
        else:
            waiting.set_result(message)

    async def send(self, body: Any, exchange: str = "", **properties: Any) -> None:
        """Publish a call; a body of bytes goes as it is, any other one as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        found = await self.channel.get_exchange(exchange, ensure=False) if exchange else None
        await (found or self.channel.default_exchange).publish(
            aio_pika.Message(content, **properties), f"{self.prefix}.rpc", timeout=WAIT_S
        )

    async def call(self, body: Any, **properties: Any) -> Any:
        """Publish a call; return its answer."""
        answer = json.loads((await self.call_message(body, **properties)).body)
        if self.checks:
            check_spoken(answer, "answer")
        return answer

    async def call_message(self, body: Any, **properties: Any) -> AbstractIncomingMessage:
        """Publish a call; return the message that answers it."""
        correlation_id = unique("call")
        answer = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        await self.send(body, correlation_id=correlation_id, reply_to=self.reply_to, **properties)
        return await asyncio.wait_for(answer, WAIT_S)

    async def bind(self, *patterns: str, **arguments: Any) -> "Inbox":
        """Consume what clients send, of types that match."""
        queue = await self.channel.declare_queue(exclusive=True, arguments=arguments)
        for pattern in patterns:
            await queue.bind(f"{self.prefix}.inbound", pattern)
        return Inbox(queue, checks=self.checks)

    async def watch(self, *kinds: str) -> "Inbox":
        """Consume events of these kinds."""
        queue = await self.channel.declare_queue(exclusive=True)
        for kind in kinds:
            await queue.bind(f"{self.prefix}.events", kind)
        return Inbox(queue, checks=self.checks)

    async def close(self) -> None:
        """Leave."""
        await self.connection.close()


class Inbox:
    """A queue of what clients send."""

    def __init__(self, queue: aio_pika.abc.AbstractQueue, *, checks: bool = True) -> None:
        self.queue = queue
        self._checks = checks
        self._messages: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._consuming = False

    async def next_message(self) -> AbstractIncomingMessage:
        """Return the next message with its properties."""
        if not self._consuming:
            self._consuming = True
            await self.queue.consume(self._messages.put, no_ack=True)
        return await asyncio.wait_for(self._messages.get(), WAIT_S)

    async def next(self) -> Any:
        """Return the next message."""
        message = json.loads((await self.next_message()).body)
        if self._checks:
            check_spoken(message, f"event.{message['type']}", "inbound")
        return message
