"""Row 7: the server's CPU for each delivery of a push to all of its connections."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.processes import Meter
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, nchan, push, single
from scripts.benchmark.systems.gateway import Gateway
from scripts.benchmark.systems.http import post
from scripts.benchmark.systems.nchan import Nchan

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.benchmark.bench import Bench
    from scripts.benchmark.load import LoadClient

COST = "CPU for a delivery of a push to all"
MOST_OF_NCHAN = 1.0
BODY = "x" * 128


@dataclass(frozen=True)
class Everyone:
    """A server's connections, and how to publish to all of them."""

    server: single.Single
    load: LoadClient
    publish: Callable[[], object]
    connections: int


def row_07(bench: Bench) -> None:
    """Publish to all connections, one push after the other."""
    connections = bench.pick(4_000, 8_000)
    with ExitStack() as stack:
        servers = bench.start_all(7, stack, single.makers(bench, 7, gateway.TITLE, nchan.TITLE))
        rounds = {}
        for title, server in servers.items():
            load = stack.enter_context(bench.load_client())
            load.open(server.shared if isinstance(server, Nchan) else server.endpoint, connections)
            everyone = Everyone(server, load, _publisher(bench, stack, server), connections)
            rounds[title] = partial(_measure, bench, title, everyone)
        bench.alternate(7, bench.pick(3, 7), rounds)
    bench.report.at_most(
        7, "of Nchan", bench.report.ratio(7, COST, (gateway.TITLE, nchan.TITLE)), MOST_OF_NCHAN
    )


def _publisher(bench: Bench, stack: ExitStack, server: single.Single) -> Callable[[], object]:
    if isinstance(server, Gateway):
        program = stack.enter_context(gateway.publisher(bench, server.prefix, bench.log("publisher")))
        return lambda: program.call("broadcast", data=push.DATA)
    sender = stack.enter_context(bench.program("http_publisher"))
    return lambda: post(sender, server.port, [("/publish/everyone", BODY)], connections=1)


def _measure(bench: Bench, title: str, everyone: Everyone) -> None:
    times = bench.pick(3, 10)
    meter = Meter([everyone.server.pid])
    for _ in range(times):
        everyone.load.mark(everyone.connections)
        everyone.publish()
        everyone.load.wait(everyone.connections)
    cost = meter.used_s() / (times * everyone.connections)
    bench.report.add(Measure(7, COST, title, "µs"), cost * 1e6)
