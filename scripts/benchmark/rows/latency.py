"""Row 3: the latency of one push with its receipt, against one Redis GET plus one AMQP request and reply."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from scripts.benchmark.bench import servers_missing
from scripts.benchmark.load import LoadError
from scripts.benchmark.report import Measure, percentile
from scripts.benchmark.systems import gateway, push

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.benchmark.bench import Bench
    from scripts.benchmark.processes import Program

IDLE, LOADED = "median latency, idle", "99th percentile at half load"
FLOOR = "floor: GET + AMQP round trip"
CLIENTS = 400
BODY = "x" * 128
GREATEST_PUSHES = 10_000
MOST_TIMES_FLOOR, MOST_P99_MS = 1.5, 20


def row_03(bench: Bench) -> None:
    """Measure the floor and the gateway in turn, then the gateway at half of its greatest load."""
    if why := servers_missing():
        bench.report.gap(3, "all", why)
        return
    count = bench.pick(200, 1_000)
    with ExitStack() as stack:
        stack.enter_context(bench.program("floor", "--responder", bench.rabbit.url))
        floor = stack.enter_context(bench.program("floor", bench.redis.url, bench.rabbit.url))
        actions = {FLOOR: partial(floor.call, "measure", count=count, body=BODY)}
        publisher = _gateway(bench, stack)
        if publisher is not None:
            actions[gateway.TITLE] = partial(
                publisher.call, "one_by_one", targets=_targets(count), data=push.DATA
            )
        for action in actions.values():
            action()  # warms up
        measures = {title: partial(_keep, bench, title, action) for title, action in actions.items()}
        bench.alternate(3, bench.pick(3, 5), measures)
        if publisher is not None:
            bench.attempt(3, gateway.TITLE, partial(_half_load, bench, publisher))
    report = bench.report
    report.at_most(
        3, "idle: times the floor", report.ratio(3, IDLE, (gateway.TITLE, FLOOR)), MOST_TIMES_FLOOR
    )
    report.at_most(3, "p99 at half load: ms", report.median(3, LOADED, gateway.TITLE), MOST_P99_MS)


def _targets(count: int) -> Sequence[int]:
    return random.choices(range(1, CLIENTS + 1), k=count)


def _keep(bench: Bench, system: str, action: Callable[[], dict[str, Any]]) -> None:
    bench.report.add(Measure(3, IDLE, system, "ms"), median(action()["latencies_ms"]))


def _gateway(bench: Bench, stack: ExitStack) -> Program | None:
    """Start a node with clients and a publisher, or note why not."""
    if why := gateway.missing():
        bench.report.gap(3, gateway.TITLE, why)
        return None
    started: list[Program] = []

    def start() -> None:
        prefix = gateway.new_prefix()
        node = stack.enter_context(gateway.Gateway(bench, prefix))
        stack.enter_context(bench.load_client()).open(node.endpoint, CLIENTS)
        started.append(stack.enter_context(gateway.publisher(bench, prefix, bench.log("publisher"))))

    return started[0] if bench.attempt(3, gateway.TITLE, start) else None


def _half_load(bench: Bench, publisher: Program) -> None:
    rates = []
    for _ in range(3):
        answer = publisher.call("push", targets=_targets(GREATEST_PUSHES), data=push.DATA)
        rates.append(GREATEST_PUSHES / (answer["end_ns"] - answer["start_ns"]) * 1e9)
    half = max(rates) / 2
    for _ in range(bench.pick(2, 5)):
        targets = _targets(int(half * bench.pick(1.0, 3.0)))
        latencies = publisher.call("paced", targets=targets, data=push.DATA, rate=half)["latencies_ms"]
        if not latencies:
            raise LoadError("no push was made at half load")
        bench.report.add(Measure(3, LOADED, gateway.TITLE, "ms"), percentile(latencies, 99))
        bench.report.add(Measure(3, "half load", gateway.TITLE, "/s", detail=True), half)
