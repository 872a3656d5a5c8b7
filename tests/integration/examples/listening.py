import asyncio
import os

from sanic_ws.client import Event, connect

URL = os.environ.get("URL", "ws://127.0.0.1:8000/ws")


def tell(event: Event) -> None:
    print(event)  # connected, waiting, resumed …


async def main() -> None:
    async with connect(URL, sign="demo", since="", on_event=tell) as client:
        await client.send("hello", {"from": client.conn})
        async for message in client:
            if message.gap:
                print("something is missing: fetch your state anew")
            print(message.type, message.data, flush=True)
            if message.type == "question":
                await message.reply({"answer": 42})


asyncio.run(main())
