"""``sanic-ws listen``."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated
from urllib.parse import urlencode

import typer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from sanic_ws.core import json
from sanic_ws.core.identity import User
from sanic_ws.errors import InvalidField, SanicWsError


def listen(
    url: Annotated[str, typer.Option(help="a node's address")] = "ws://127.0.0.1:8000/ws",
    sign: Annotated[
        str | None, typer.Option(help="the connection's id; the node makes one if left out")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="SANIC_WS_TOKEN", help="a token for the node")] = None,
    user: Annotated[str | None, typer.Option(help="say who you are, where the node trusts clients")] = None,
    tenant: Annotated[str | None, typer.Option(help="the user's tenant")] = None,
    bank: Annotated[str | None, typer.Option(help="the user's bank")] = None,
    from_type: Annotated[str, typer.Option(help="the kind of device")] = "cli",
    since: Annotated[
        str | None, typer.Option(help="first what was stored after the message with this id; empty: all")
    ] = None,
    count: Annotated[int, typer.Option(help="end after this many messages; 0: never")] = 0,
) -> None:
    """Connect as a client and print what comes, a line each, until Ctrl-C."""
    identity = None if user is None else User(user, tenant, bank, from_type)
    try:
        asyncio.run(_listen(url, {"sign": sign, "since": since}, token, identity, count))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


async def _listen(
    url: str, query: dict[str, str | None], token: str | None, user: User | None, count: int
) -> None:
    address = url.replace("http://", "ws://").replace("https://", "wss://").rstrip("/")
    if not address.endswith("/ws"):
        address += "/ws"
    given = {name: value for name, value in query.items() if value is not None}
    if given:
        address += f"?{urlencode(given)}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with connect(address, additional_headers=headers, max_size=None) as client:
            if user is not None:
                await client.send(json.dumps({"type": "user_info", "data": user.to_json()}).decode())
            received = 0
            async for message in client:
                _print_message(message)
                received += 1
                if received == count:
                    return
    except InvalidURI:
        raise InvalidField("--url", "must begin with ws://, wss://, http:// or https://") from None
    except InvalidHandshake as exc:
        raise SanicWsError(f"{address} refused the connection: {exc}") from None
    except ConnectionClosed as exc:
        raise SanicWsError(f"closed by the node: {exc.rcvd or 'without a closing handshake'}") from None
    except OSError as exc:
        raise SanicWsError(f"{address} does not answer: {exc.strerror or exc}") from None


def _print_message(message: str | bytes) -> None:
    if isinstance(message, bytes):
        print(f"({len(message)} bytes) {message[:64].hex()}", flush=True)  # noqa: T201
    else:
        print(message, flush=True)  # noqa: T201 - exactly as it came, for programs
