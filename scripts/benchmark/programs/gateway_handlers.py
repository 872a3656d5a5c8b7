"""Run a gateway that has a handler of its own: `gateway_handlers serve --port N`."""

from __future__ import annotations

import sys
from typing import Any

from sanic_ws.app import Gateway, Message
from sanic_ws.settings import read_settings


def echo(message: Message[Any]) -> None:
    """Send the data back."""
    message.send("echoed", message.data)


def main() -> None:
    """Serve until told to stop."""
    port = int(sys.argv[sys.argv.index("--port") + 1])
    gateway = Gateway(read_settings("serve", port=port))
    gateway.on("echo")(echo)
    gateway.run()


if __name__ == "__main__":
    main()
