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

    from sanic_ws.core.requests import Offline

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

    async def push_stored(self, *, targets: list[int], data: Any) -> dict[str, Any]:
        """Push to each user, have each push stored before, and check every receipt."""
        return await self._all([User(target) for target in targets], data, "delivered", offline="store")

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
        """Return the milliseconds of pushes made at an even rate, each from the moment that it was due."""
        loop = asyncio.get_running_loop()
        calls: list[asyncio.Task[list[float]]] = []
        start, made = loop.time(), 0
        while made < len(targets):
            await asyncio.sleep(TICK_S)
            due = min(len(targets), int((loop.time() - start) * rate))
            late_s = [loop.time() - start - number / rate for number in range(made, due)]
            calls.append(loop.create_task(self._call(targets[made:due], data, late_s)))
            made = due
        return {"latencies_ms": [taken for call in calls for taken in await call]}

    async def _call(self, targets: Sequence[int], data: Any, late_s: Sequence[float]) -> list[float]:
        receipts = await self.publisher.push_many([PushRequest(User(to), TYPE, data) for to in targets])
        if any(receipt.outcome != "delivered" for receipt in receipts):
            raise RuntimeError("a push was not delivered")
        return [
            receipt.deliveries[0].latency_ms + late * 1e3
            for receipt, late in zip(receipts, late_s, strict=True)
        ]

    async def _timed(self, target: User, data: Any) -> float:
        start = time.perf_counter()
        receipt = await self.publisher.push(target, TYPE, data)
        if receipt.outcome != "delivered":
            raise RuntimeError(f"a push ended as {receipt.outcome}")
        return (time.perf_counter() - start) * 1e3

    async def _all(
        self, targets: Sequence[User | Conn], data: Any, expected: str, *, offline: Offline = "fail"
    ) -> dict[str, Any]:
        """Keep calls of `CALL` pushes each open until each target's receipt is there."""
        outcomes: Counter[str] = Counter()
        calls = iter([targets[at : at + CALL] for at in range(0, len(targets), CALL)])

        async def worker() -> None:
            for call in calls:
                requests = [PushRequest(to, TYPE, data, offline=offline) for to in call]
                receipts = await self.publisher.push_many(requests)
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
        names = ("push", "push_stored", "push_conns", "push_absent", "broadcast", "one_by_one", "paced")
        await control.serve({name: getattr(commands, name) for name in names})


if __name__ == "__main__":
    uvloop.run(main())
