"""Row 10: Redis' memory for a registered connection, and the look-up among few and among many."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import redis

from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway
from tests.servers import RedisServer

if TYPE_CHECKING:
    from scripts.benchmark.bench import Bench
    from scripts.benchmark.processes import Program

BYTES, LOOK_UP = "Redis' memory for a connection", "look-up of 100 users"
FEW = 1_000
MOST_BYTES, MOST_TIMES = 400, 1.25
FILL_S = 300.0


def row_10(bench: Bench) -> None:
    """Register synthetic connections in a Redis of their own."""
    if why := gateway.missing():
        bench.report.gap(10, gateway.TITLE, why)
        return
    many = bench.pick(50_000, 1_000_000)
    bench.attempt(10, gateway.TITLE, lambda: _measure(bench, many))
    report = bench.report
    times = [report.median(10, f"{LOOK_UP} among {size:,}", gateway.TITLE) for size in (many, FEW)]
    report.at_most(
        10, "bytes for a connection", report.median(10, f"{BYTES}, {many:,}", gateway.TITLE), MOST_BYTES
    )
    ratio = times[0] / times[1] if times[0] and times[1] else None
    report.at_most(10, f"look-up among {many:,}: times among {FEW:,}", ratio, MOST_TIMES)


def _measure(bench: Bench, many: int) -> None:
    bench.say(f"row 10: {many:,} registrations")
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer()) for _ in range(2)]
        small, large = (
            stack.enter_context(bench.program("registrations", server.url, "bench")) for server in servers
        )
        small.call("fill", first=0, count=FEW)
        large.call("fill", first=0, count=FEW)
        empty = _used_memory(servers[1])
        large.call("fill", first=FEW, count=many - FEW, within_s=FILL_S)
        used = _used_memory(servers[1]) - empty
        bench.report.add(Measure(10, f"{BYTES}, {many:,}", gateway.TITLE, "bytes"), used / (many - FEW))
        for _ in range(bench.pick(5, 11)):
            _look_up(bench, small, FEW)
            _look_up(bench, large, many)


def _look_up(bench: Bench, program: Program, among: int) -> None:
    taken = program.call("look_up", among=among, times=200)["ms"]
    bench.report.add(Measure(10, f"{LOOK_UP} among {among:,}", gateway.TITLE, "ms"), taken)


def _used_memory(server: RedisServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("memory")["used_memory"])
