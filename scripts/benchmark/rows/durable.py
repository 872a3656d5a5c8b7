"""Row 13: durable pushes, each stored before it is delivered, against pushes that are not stored."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.accounting import cpu_s, family
from scripts.benchmark.bench import servers_missing
from scripts.benchmark.processes import Meter, start_together
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, push

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scripts.benchmark.bench import Bench
    from scripts.benchmark.processes import Program

RATE, COST = "a second", "nodes' CPU for a push"
PUBLISHER_COST, REDIS_COST = "publisher's CPU for a push", "Redis' CPU for a push"
KINDS = {"push": "not stored", "push_stored": "stored"}
CLIENTS, NODES = 400, 2


def row_13(bench: Bench) -> None:
    """Measure both kinds of push in turn."""
    if why := servers_missing() or gateway.missing():
        bench.report.gap(13, gateway.TITLE, why)
        return
    bench.attempt(13, gateway.TITLE, partial(_measure, bench))


def _measure(bench: Bench) -> None:
    prefix = gateway.new_prefix()
    with ExitStack() as stack:
        nodes = [gateway.Gateway(bench, prefix) for _ in range(NODES)]
        start_together(nodes, stack)
        stack.enter_context(bench.load_client()).open(gateway.endpoint(nodes), CLIENTS)
        publisher = stack.enter_context(gateway.publisher(bench, prefix, bench.log("publisher")))
        targets = random.choices(range(1, CLIENTS + 1), k=bench.pick(5_000, 20_000))
        for _ in range(bench.pick(2, 5)):
            for command, kind in KINDS.items():
                action = partial(publisher.call, command, targets=targets, data=push.DATA)
                _keep(bench, [node.pid for node in nodes], publisher, kind, len(targets), action)


def _keep(
    bench: Bench,
    pids: Sequence[int],
    publisher: Program,
    kind: str,
    count: int,
    action: Callable[[], dict[str, Any]],
) -> None:
    nodes, pushing, redis = Meter(pids), Meter([publisher.pid]), family([bench.redis.pid])
    redis_s = cpu_s(redis)
    answer = action()
    redis_s = cpu_s(redis) - redis_s
    seconds = (answer["end_ns"] - answer["start_ns"]) / 1e9
    add = bench.report.add
    add(Measure(13, f"pushes {RATE}, {kind}", gateway.TITLE, "/s", len(pids)), count / seconds)
    for what, used_s in (
        (COST, nodes.used_s()),
        (PUBLISHER_COST, pushing.used_s()),
        (REDIS_COST, redis_s),
    ):
        add(Measure(13, f"{what}, {kind}", gateway.TITLE, "µs", len(pids)), used_s / count * 1e6)
