"""Row 9: the nodes' CPU for a push to an id that nobody has, against a direct push."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.bench import servers_missing
from scripts.benchmark.processes import Meter, start_together
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, push

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.benchmark.bench import Bench

ABSENT, DIRECT = "nodes' CPU for a push to nobody", "nodes' CPU for a direct push"
CLIENTS = 400
LARGEST, MOST_TIMES_DIRECT = 8, 3


def row_09(bench: Bench) -> None:
    """Measure both kinds of push in turn on clusters of each size."""
    if why := servers_missing() or gateway.missing():
        bench.report.gap(9, gateway.TITLE, why)
        return
    for size in bench.pick((LARGEST,), (1, 2, 4, LARGEST)):
        bench.attempt(9, gateway.TITLE, partial(_measure, bench, size))
    absent, direct = (bench.report.median(9, what, gateway.TITLE, LARGEST) for what in (ABSENT, DIRECT))
    times = absent / direct if absent and direct else None
    bench.report.at_most(9, f"{LARGEST} nodes: times a direct push", times, MOST_TIMES_DIRECT)


def _measure(bench: Bench, size: int) -> None:
    bench.say(f"row 9: {size} nodes")
    prefix = gateway.new_prefix()
    with ExitStack() as stack:
        nodes = [gateway.Gateway(bench, prefix) for _ in range(size)]
        start_together(nodes, stack)
        stack.enter_context(bench.load_client()).open(gateway.endpoint(nodes), CLIENTS)
        publisher = stack.enter_context(gateway.publisher(bench, prefix, bench.log("publisher")))
        count = bench.pick(5_000, 20_000)
        targets = random.choices(range(1, CLIENTS + 1), k=count)
        absent = partial(publisher.call, "push_absent", count=count, data=push.DATA)
        direct = partial(publisher.call, "push", targets=targets, data=push.DATA)
        keep = partial(_keep, bench, [node.pid for node in nodes], count)
        for _ in range(bench.pick(2, 5)):
            keep(ABSENT, absent)
            keep(DIRECT, direct)


def _keep(bench: Bench, pids: Sequence[int], count: int, what: str, action: Callable[[], object]) -> None:
    meter = Meter(pids)
    action()
    bench.report.add(Measure(9, what, gateway.TITLE, "µs", len(pids)), meter.used_s() / count * 1e6)
