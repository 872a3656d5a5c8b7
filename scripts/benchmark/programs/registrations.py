"""Fill a registry with synthetic connections and time its look-up: `registrations REDIS_URL PREFIX`."""

from __future__ import annotations

import random
import sys
import time
from statistics import median
from typing import Any

import uvloop

from sanic_ws.backends import make_registry
from sanic_ws.core.flights import Owner
from sanic_ws.core.identity import User, base36
from sanic_ws.registry import Claim

from . import control

ROUND = 1_000
NODES = 50
LOOK_UP = 100  # users in one look-up


def _claim(number: int) -> Claim:
    """Make a connection with an id of 22 characters, as a node issues them, bound to a user."""
    owner = Owner(f"gateway-{number % NODES:08x}", base36(number // NODES))
    return Claim(f"{number:022x}", owner, user=User(1_000_000 + number, from_type="web"))


class Commands:
    """The commands that the benchmark gives to this process."""

    def __init__(self, url: str, prefix: str) -> None:
        self._registry = make_registry(url, prefix)

    async def fill(self, *, first: int, count: int) -> dict[str, Any]:
        """Register connections."""
        for start in range(first, first + count, ROUND):
            numbers = range(start, min(start + ROUND, first + count))
            await self._registry.claim([_claim(number) for number in numbers])
        return {}

    async def look_up(self, *, among: int, times: int) -> dict[str, Any]:
        """Return the median milliseconds of a look-up of 100 users out of `among`."""
        taken = []
        for _ in range(times):
            users = [User(1_000_000 + number).key for number in random.choices(range(among), k=LOOK_UP)]
            start = time.perf_counter()
            _, found, *_ = await self._registry.look_up([], users)
            taken.append((time.perf_counter() - start) * 1e3)
            if not all(found):
                raise RuntimeError("a registered user was not found")
        return {"ms": median(taken)}


async def main() -> None:
    """Serve the benchmark until it hangs up."""
    commands = Commands(*sys.argv[1:])
    await control.serve({"fill": commands.fill, "look_up": commands.look_up})


if __name__ == "__main__":
    uvloop.run(main())
