"""Row 12: the publisher's CPU for a push as the owners become many."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.bench import servers_missing
from scripts.benchmark.processes import Meter
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, push

if TYPE_CHECKING:
    from scripts.benchmark.bench import Bench
    from scripts.benchmark.processes import Program

COST, RATE = "publisher's CPU for a push", "pushes a second"
CONNECTIONS = 4_000
ANSWERING = 2  # processes that answer for all nodes
MOST_TIMES = {64: 3, 200: 6}
LEAST_RATE = 20_000
OPEN_S = 120.0


def row_12(bench: Bench) -> None:
    """Push to random connections of 1 to 200 owners, 4,000 in flight."""
    if why := servers_missing() or gateway.missing():
        bench.report.gap(12, gateway.TITLE, why)
        return
    for owners in bench.pick((1, 64, 200), (1, 8, 64, 200)):
        bench.attempt(12, gateway.TITLE, partial(_measure, bench, owners))
    report = bench.report
    one = report.median(12, COST, gateway.TITLE, 1)
    for owners, most in MOST_TIMES.items():
        cost = report.median(12, COST, gateway.TITLE, owners)
        report.at_most(12, f"{owners} owners: times one owner", cost / one if cost and one else None, most)
    report.at_least(
        12, "200 owners: pushes a second", report.median(12, RATE, gateway.TITLE, 200), LEAST_RATE
    )


def _measure(bench: Bench, owners: int) -> None:
    bench.say(f"row 12: {owners} owners")
    prefix = gateway.new_prefix()
    with ExitStack() as stack:
        _open_queues(bench, stack, prefix, owners)
        publisher = stack.enter_context(gateway.publisher(bench, prefix, bench.log("publisher")))
        _sample(bench, publisher, owners, bench.pick(8_000, 20_000), keep=False)
        for _ in range(bench.pick(2, 4)):
            _sample(bench, publisher, owners, bench.pick(20_000, 60_000), keep=True)


def _open_queues(bench: Bench, stack: ExitStack, prefix: str, owners: int) -> None:
    nodes = [f"node-{number:08x}" for number in range(owners)]
    held = [[f"c{conn}" for conn in range(number, CONNECTIONS, owners)] for number in range(owners)]
    for at in range(min(ANSWERING, owners)):
        program = stack.enter_context(bench.program("node_queues", bench.redis.url, bench.rabbit.url, prefix))
        program.call("open", nodes=nodes[at::ANSWERING], connections=held[at::ANSWERING], within_s=OPEN_S)


def _sample(bench: Bench, publisher: Program, owners: int, count: int, *, keep: bool) -> None:
    targets = [f"c{random.randrange(CONNECTIONS)}" for _ in range(count)]
    meter = Meter([publisher.pid])
    answer = publisher.call("push_conns", targets=targets, data=push.DATA)
    if keep:
        rate = count / (answer["end_ns"] - answer["start_ns"]) * 1e9
        bench.report.add(Measure(12, COST, gateway.TITLE, "µs", owners), meter.used_s() / count * 1e6)
        bench.report.add(Measure(12, RATE, gateway.TITLE, "/s", owners), rate)
