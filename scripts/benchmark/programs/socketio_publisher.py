"""Publish with python-socketio's write-only manager: `socketio_publisher amqp|redis URL`."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import uvloop

from . import control
from .socketio_node import MANAGERS


class Publisher:
    """The commands that the benchmark gives to this process."""

    def __init__(self, kind: str, url: str) -> None:
        self.manager = MANAGERS[kind](url, write_only=True)

    async def push(self, *, targets: list[int], data: Any, in_flight: int = 16) -> dict[str, Any]:
        """Emit to each target's room, `in_flight` at a time."""
        rooms = iter([f"u{target}" for target in targets])

        async def worker() -> None:
            for room in rooms:
                await self.manager.emit("task", data, room=room)

        start_ns = time.monotonic_ns()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return {"start_ns": start_ns, "end_ns": time.monotonic_ns()}


async def main() -> None:
    """Serve the benchmark until it hangs up."""
    publisher = Publisher(sys.argv[1], sys.argv[2])
    await control.serve({"push": publisher.push})


if __name__ == "__main__":
    uvloop.run(main())
