"""Push with the gateway's own `Publisher`: `gateway_publisher REDIS_URL AMQP_URL PREFIX`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import uvloop

from sanic_ws import Conn, Everyone, Publisher, PushRequest, User

from . import control

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_FLIGHT, CALL = 4_000, 250
TICK_S = 0.002
TYPE = "task"


class Commands:
    """The commands that the benchmark gives to this process."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    async def push(self, *, targets: list[int], data: Any) -> dict[str, Any]:
        """Push to each user and check every receipt."""
        return await self._all([User(target) for target in targets], data, "delivered")

    async def push_conns(self, *, targets: list[str], data: Any) -> dict[str, Any]:
        """Push to each connection and check every receipt."""
        return await self._all([Conn(target) for target in targets], data, "delivered")

    async def push_absent(self, *, count: int, data: Any) -> dict[str, Any]:
        """Push to connections that nobody has: each must end as offline."""
        targets = [Conn(f"nobody-{number}") for number in range(count)]
        return await self._all(targets, data, "offline")

    async def broadcast(self, *, data: Any) -> dict[str, Any]:
        """Push once to every connection."""
        receipt = await self.publisher.push(Everyone(), TYPE, data)
        return {"outcome": str(receipt.outcome)}

    async def one_by_one(self, *, targets: list[int], data: Any) -> dict[str, Any]:
        """Return the milliseconds of pushes made one after the other."""
        return {"latencies_ms": [await self._timed(User(target), data) for target in targets]}

    async def paced(self, *, targets: list[int], data: Any, rate: float) -> dict[str, Any]:
        """Return the milliseconds of pushes made at an even rate, whatever their answers take."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        open_pushes: list[asyncio.Task[float]] = []
        while len(open_pushes) < len(targets):
            due = min(len(targets), int((loop.time() - start) * rate))
            open_pushes += [
                loop.create_task(self._timed(User(t), data)) for t in targets[len(open_pushes) : due]
            ]
            await asyncio.sleep(TICK_S)
        return {"latencies_ms": await asyncio.gather(*open_pushes)}

    async def _timed(self, target: User, data: Any) -> float:
        start = time.perf_counter()
        receipt = await self.publisher.push(target, TYPE, data)
        if receipt.outcome != "delivered":
            raise RuntimeError(f"a push ended as {receipt.outcome}")
        return (time.perf_counter() - start) * 1e3

    async def _all(self, targets: Sequence[User | Conn], data: Any, expected: str) -> dict[str, Any]:
        """Keep calls of `CALL` pushes each open until each target's receipt is there."""
        outcomes: Counter[str] = Counter()
        calls = iter([targets[at : at + CALL] for at in range(0, len(targets), CALL)])

        async def worker() -> None:
            for call in calls:
                receipts = await self.publisher.push_many([PushRequest(to, TYPE, data) for to in call])
                outcomes.update(str(receipt.outcome) for receipt in receipts)

        start_ns = time.monotonic_ns()
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT // CALL)))
        end_ns = time.monotonic_ns()
        if outcomes != {expected: len(targets)}:
            raise RuntimeError(f"receipts: {dict(outcomes)}, expected {len(targets)} {expected}")
        return {"start_ns": start_ns, "end_ns": end_ns}


async def main() -> None:
    """Serve the benchmark until it hangs up."""
    redis_url, amqp_url, prefix = sys.argv[1:]
    async with Publisher(redis_url=redis_url, amqp_url=amqp_url, prefix=prefix) as publisher:
        commands = Commands(publisher)
        names = ("push", "push_conns", "push_absent", "broadcast", "one_by_one", "paced")
        await control.serve({name: getattr(commands, name) for name in names})


if __name__ == "__main__":
    uvloop.run(main())
