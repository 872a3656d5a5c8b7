import asyncio
import json
import os

import aio_pika

URL = os.environ.get("SANIC_WS_AMQP_URL", "amqp://127.0.0.1/")
PREFIX = os.environ.get("SANIC_WS_PREFIX", "sanic_ws")


async def main() -> None:
    connection = await aio_pika.connect(URL)
    channel = await connection.channel()
    events = await channel.declare_queue("presence", durable=True)
    for kind in ("user_online", "user_offline"):  # "#" for all
        await events.bind(f"{PREFIX}.events", kind)
    async for message in events:
        event = json.loads(message.body)
        print(event["type"], event["user"]["userId"], event["time"], flush=True)
        await message.ack()


asyncio.run(main())
