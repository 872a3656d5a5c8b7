"""A publisher of its own process that pushes to ids that nobody has: `python -m tests.faults.flood`."""

import asyncio
import json
import os
import sys
from collections import Counter

from sanic_ws import Conn, Publisher, PushRequest

AT_ONCE = 10_000


async def flood(redis_url: str, amqp_url: str, prefix: str, ids: int) -> Counter[str]:
    """Push once to each of so many ids; return how many pushes had which outcome."""
    outcomes: Counter[str] = Counter()
    async with Publisher(redis_url, amqp_url, prefix) as publisher:
        sys.stdin.readline()
        for first in range(0, ids, AT_ONCE):
            requests = [PushRequest(Conn(f"nobody-{first + n}"), "flood", n) for n in range(AT_ONCE)]
            outcomes.update(str(receipt.outcome) for receipt in await publisher.push_many(requests))
    return outcomes


if __name__ == "__main__":
    # What is measured is whether the nodes have time for others, not whether this machine has enough cores.
    os.nice(10)
    *urls, count = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(flood(*urls, int(count)))))
