"""An application that knows its clients by a cookie, for the tests: `identified.py serve --port N`."""

import sys
import time
from http.cookies import SimpleCookie

from sanic import Request

from sanic_ws import User
from sanic_ws.app import Gateway, Identity, Message
from sanic_ws.settings import read_settings

port = int(sys.argv[sys.argv.index("--port") + 1])


async def authenticate(request: Request) -> Identity | None:
    cookie = SimpleCookie(request.headers.get("cookie", "")).get("session")
    if cookie is None:
        return None
    user, _, lasts = cookie.value.partition("-")
    return Identity(User(user), time.time() + float(lasts) if lasts else None)


gateway = Gateway(read_settings(sys.argv[1], port=port), authenticate=authenticate)


@gateway.on("who")
def who(message: Message) -> None:
    message.send("who", message.user and message.user.to_json())


if __name__ == "__main__":
    gateway.run()
