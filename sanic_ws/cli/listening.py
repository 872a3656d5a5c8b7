"""``sanic-ws listen``."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sanic_ws.cli.common import AsJson, err, is_for_people, out, plain
from sanic_ws.client import State, StateChanged, connect
from sanic_ws.core import json
from sanic_ws.core.identity import User
from sanic_ws.core.messages import RESERVED_TYPES
from sanic_ws.errors import ClientClosed, InvalidField, SanicWsError

if TYPE_CHECKING:
    from sanic_ws.client import Client, Event, Message

_MAX_HEX_BYTES = 64


def listen(
    url: Annotated[str, typer.Option(help="a node's address")] = "ws://127.0.0.1:8000/ws",
    sign: Annotated[str | None, typer.Option(help="the connection's id; one is made if left out")] = None,
    token: Annotated[str | None, typer.Option(envvar="SANIC_WS_TOKEN", help="a token for the node")] = None,
    user: Annotated[str | None, typer.Option(help="say who you are, where the node trusts clients")] = None,
    tenant: Annotated[str | None, typer.Option(help="the user's tenant")] = None,
    bank: Annotated[str | None, typer.Option(help="the user's bank")] = None,
    from_type: Annotated[str, typer.Option(help="the kind of device")] = "cli",
    group: Annotated[list[str] | None, typer.Option(help="join a group; may be repeated")] = None,
    since: Annotated[
        str | None, typer.Option(help="first what was stored after the message with this id; empty: all")
    ] = None,
    ack: Annotated[bool, typer.Option("--ack", help="confirm every push that has an id")] = False,
    reconnect: Annotated[
        bool, typer.Option(help="come back when the connection has ended; standard error tells of it")
    ] = True,
    as_json: AsJson = False,
    count: Annotated[int, typer.Option(help="end after this many messages; 0: never")] = 0,
) -> None:
    """Connect as a client and print what comes, a line each, until Ctrl-C.

    On a terminal: time, type and data. Otherwise, or with --json: every message exactly as it came.
    Exit code 0: --count messages came; 2: wrong arguments; 3: nobody answers, or the node has closed the
    connection for good; 130: Ctrl-C.
    """
    identity = None if user is None else User(user, tenant, bank, from_type)
    try:
        client = connect(
            url,
            token=token,
            sign=sign,
            since=since,
            user=identity,
            groups=group or (),
            reconnect=reconnect,
            everything=True,
            on_event=_Teller().tell,
            open_timeout_s=0,
            max_message_bytes=sys.maxsize,
        )
    except InvalidField as exc:
        raise InvalidField(f"--{exc.field}", exc.reason) from None
    try:
        asyncio.run(_listen(client, count, pretty=is_for_people(as_json), ack=ack))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


async def _listen(client: Client, count: int, *, pretty: bool, ack: bool) -> None:
    show = _show if pretty else _print_as_it_came
    received = 0
    try:
        async with client:
            async for message in client:
                show(message)
                if ack and message.id is not None and message.type not in RESERVED_TYPES:
                    await message.ack()
                received += 1
                if received == count:
                    return
    except ClientClosed as exc:
        raise SanicWsError(f"closed by the node: {exc}" if exc.code >= _CLOSE_CODES else str(exc)) from None


_CLOSE_CODES = 1000


class _Teller:
    """Tell on standard error when the connection was lost, and when it is back."""

    def __init__(self) -> None:
        self._lost = False

    def tell(self, event: Event) -> None:
        if not isinstance(event, StateChanged):
            return
        if event.state is State.WAITING:
            self._lost = True
            line = f"sanic-ws: {plain(event.reason)}; trying again in {event.wait_s:.1f} s"
            err.print(line, style="yellow", markup=False)
        elif event.state is State.OPEN and self._lost:
            self._lost = False
            err.print("sanic-ws: connected again", style="green", markup=False)


def _print_as_it_came(message: Message) -> None:
    if message.binary:
        print(_hex(message), flush=True)  # noqa: T201
    else:
        print(message.text, flush=True)  # noqa: T201 - exactly as it came, for programs


def _show(message: Message) -> None:
    """Print a message for people: its time, type and data."""
    is_own = message.type in RESERVED_TYPES
    line = Text().append(_time(message), style="dim")
    if message.gap:
        line.append(" (some are missing)", style="red")
    if message.type:
        style = _STYLES.get(message.type, "dim") if is_own else "bold cyan"
        line.append(f" {plain(message.type)}", style=style)
        line.append(f" {plain(json.dumps(message.data).decode())}", style="dim" if is_own else "")
    else:
        line.append(f" {_hex(message) if message.binary else plain(message.text)}")
    out.print(line)


_STYLES = {"error": "red", "reconnect": "yellow"}


def _time(message: Message) -> str:
    """Return when a message was made, or has come if it does not say so, in the terminal's own time zone."""
    try:
        time = datetime.fromisoformat(message.time or "").astimezone()
    except ValueError:
        time = datetime.now().astimezone()
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"


def _hex(message: Message) -> str:
    return f"({len(message.content)} bytes) {message.content[:_MAX_HEX_BYTES].hex()}"
