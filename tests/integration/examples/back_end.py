"""A back end in Python, with nothing but aio-pika."""

import asyncio
import json
import os
import uuid

import aio_pika

URL = os.environ.get("SANIC_WS_AMQP_URL", "amqp://127.0.0.1/")
PREFIX = os.environ.get("SANIC_WS_PREFIX", "sanic_ws")


async def main() -> None:
    connection = await aio_pika.connect(URL)
    channel = await connection.channel()
    waiting: dict[str, asyncio.Future] = {}

    async def take_answer(message) -> None:
        waiting.pop(message.correlation_id).set_result(json.loads(message.body))

    answers = await channel.declare_queue(exclusive=True)
    await answers.consume(take_answer, no_ack=True)

    async def push(request: dict) -> dict:
        number = uuid.uuid4().hex
        waiting[number] = asyncio.get_running_loop().create_future()
        call = aio_pika.Message(
            json.dumps(request).encode(), reply_to=answers.name, correlation_id=number, expiration=5
        )
        await channel.default_exchange.publish(call, f"{PREFIX}.rpc")
        return await waiting[number]

    messages = await channel.declare_queue("chat", durable=True)
    await messages.bind(f"{PREFIX}.inbound", "chat.*")
    async for message in messages:
        said = json.loads(message.body)
        told = {"user": said["user"], "type": said["type"], "data": said["data"]}
        receipt = await push({"to": {"conn": said["conn"]}, "type": "chat.sent", "data": told})
        print(json.dumps(receipt), flush=True)  # {"id": "…", "outcome": "delivered", …} or {"error": {…}}
        await message.ack()


asyncio.run(main())
