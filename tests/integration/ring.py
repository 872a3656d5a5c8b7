"""README's example of a call: ring on all of a user's devices until one answers."""

import asyncio

from sanic_ws import Publisher, User


async def main() -> None:
    async with Publisher() as publisher:  # SANIC_WS_REDIS_URL and SANIC_WS_AMQP_URL
        receipt = await publisher.push(
            User(1001), "ring", {"from": "eve"}, wait="reply", wait_for="first", timeout_s=30
        )
        for delivery in receipt.deliveries:
            print(delivery.conn, delivery.outcome, delivery.reply)  # noqa: T201


asyncio.run(main())
