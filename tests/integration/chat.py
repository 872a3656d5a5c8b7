"""An application with a gateway and handlers, for the tests: `chat.py dev --port N [attached]`."""

import asyncio
import sys

from sanic import Sanic, text

from sanic_ws import Everyone
from sanic_ws.app import Gateway, Message
from sanic_ws.core.requests import read_push_request
from sanic_ws.settings import read_settings

port = int(sys.argv[sys.argv.index("--port") + 1])
gateway = Gateway(read_settings("dev", port=port))


@gateway.on("length")
def length(message: Message) -> None:
    message.send("length", {"length": len(message.data)}, message.id)


@gateway.on("slowly")
async def slowly(message: Message) -> None:
    await asyncio.sleep(0)
    message.send("slowly", {"from": message.conn, "user": message.user and message.user.to_json()})


@gateway.on("faulty")
async def faulty(message: Message) -> None:
    raise RuntimeError(f"a fault of the application: {message.data}")


@gateway.on("infinite")
async def infinite(message: Message) -> None:
    message.send("infinite", message.data)


@gateway.on("push")
async def push(message: Message) -> None:
    receipt = await gateway.push_many([read_push_request(message.data)])
    message.send("pushed", receipt[0].to_json(), message.id)


@gateway.on("say")
async def say(message: Message) -> None:
    receipt = await gateway.push(Everyone(), "said", message.data, exclude=[message.conn])
    message.send("heard", receipt.counts, message.id)


if __name__ == "__main__":
    if "attached" in sys.argv:
        app = Sanic("chat")
        gateway.attach(app)
        app.add_route(lambda _: text("the application's own"), "/own")
        app.run("127.0.0.1", port, single_process=True, motd=False)
    else:
        gateway.run()
