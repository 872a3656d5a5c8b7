"""A gateway with a handler that knows what it gets: `handlers.py dev --port N`."""

import sys

from pydantic import BaseModel, Field

from sanic_ws.app import Gateway, Message
from sanic_ws.settings import read_settings

gateway = Gateway(read_settings("dev", port=int(sys.argv[sys.argv.index("--port") + 1])))


class ChatSend(BaseModel):
    room: str
    text: str = Field(max_length=500)


@gateway.on("chat.send", ChatSend)
async def chat(message: Message[ChatSend]) -> None:
    message.send("chat.sent", {"room": message.data.room, "length": len(message.data.text)})


gateway.run()
