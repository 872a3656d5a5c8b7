"""README's example of a ticker: a client that reads slowly gets the newest price, not all of the old ones."""

import asyncio

from sanic_ws import Conn, Publisher, PushRequest


async def main() -> None:
    async with Publisher() as publisher:  # SANIC_WS_REDIS_URL and SANIC_WS_AMQP_URL
        receipts = await publisher.push_many(
            [
                PushRequest(Conn("demo"), "price", price, overflow="coalesce", coalesce_key="ACME", ttl_s=5)
                for price in (101.5, 101.7, 101.6)
            ]
        )
        print([str(receipt.outcome) for receipt in receipts])  # noqa: T201


asyncio.run(main())
