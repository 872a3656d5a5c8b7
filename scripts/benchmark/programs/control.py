"""Serve commands, one JSON object a line, on standard input and output."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Command = Callable[..., Awaitable[dict[str, Any]]]

LINE_LIMIT = 64 * 1024 * 1024


def reply(message: Mapping[str, Any]) -> None:
    """Write one reply and flush it."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def serve(commands: Mapping[str, Command]) -> None:
    """Answer each command in turn until standard input ends; the controller's death ends it too."""
    lines = asyncio.StreamReader(limit=LINE_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    waiting: asyncio.Queue[bytes] = asyncio.Queue()
    answering = loop.create_task(_answer_all(commands, waiting))
    reply({"ok": True})
    while line := await lines.readline():
        waiting.put_nowait(line)
    answering.cancel()


async def _answer_all(commands: Mapping[str, Command], waiting: asyncio.Queue[bytes]) -> None:
    while True:
        message = json.loads(await waiting.get())
        try:
            result = await commands[message.pop("op")](**message)
        except Exception as error:  # noqa: BLE001 - the controller reports it
            reply({"ok": False, "error": f"{type(error).__name__}: {error}"})
        else:
            reply({"ok": True, **result})
