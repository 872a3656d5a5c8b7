"""Row 5: the server's CPU for a handshake; the gateway's includes the registration and Redis' own work."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.accounting import cpu_s, family, settle
from scripts.benchmark.processes import Meter
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, single, stock_sanic
from scripts.benchmark.systems.gateway import Gateway

if TYPE_CHECKING:
    from scripts.benchmark.bench import Bench
    from scripts.benchmark.load import LoadClient

COST, NODE_COST = "CPU for a handshake", "the node's part of it"
MOST_OF_SANIC = 0.7


def row_05(bench: Bench) -> None:
    """Open connections on each server in turn."""
    with ExitStack() as stack:
        load = stack.enter_context(bench.load_client())
        servers = bench.start_all(5, stack, single.makers(bench, 5, gateway.TITLE, stock_sanic.TITLE))
        rounds = {title: partial(_measure, bench, load, title, server) for title, server in servers.items()}
        bench.alternate(5, bench.pick(3, 6), rounds)
    ratio = bench.report.ratio(5, COST, (gateway.TITLE, stock_sanic.TITLE))
    bench.report.at_most(5, "of stock Sanic", ratio, MOST_OF_SANIC)


def _measure(bench: Bench, load: LoadClient, title: str, server: single.Single) -> None:
    count = bench.pick(1_000, 4_000)
    ours = isinstance(server, Gateway)
    meter = Meter([server.pid])
    registry = family([bench.redis.pid]) if ours else []
    registry_s = cpu_s(registry)
    load.open(server.unbound if isinstance(server, Gateway) else server.endpoint, count)
    node_s = meter.used_s()
    bench.report.add(Measure(5, COST, title, "µs"), (node_s + cpu_s(registry) - registry_s) / count * 1e6)
    if ours:
        bench.report.add(Measure(5, NODE_COST, title, "µs"), node_s / count * 1e6)
    load.drop()
    settle(meter.pids)
