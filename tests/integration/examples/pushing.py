"""A gateway whose handler pushes: `pushing.py dev --port N`."""

import sys

from sanic_ws import Group
from sanic_ws.app import Gateway, Message
from sanic_ws.settings import read_settings

gateway = Gateway(read_settings("dev", port=int(sys.argv[sys.argv.index("--port") + 1])))


@gateway.on("chat.say")
async def say(message: Message) -> None:
    receipt = await gateway.push(Group("chat"), "chat.said", message.data, exclude=[message.conn])
    message.send("chat.heard", {"by": receipt.counts.get("delivered", 0)})


gateway.run()
