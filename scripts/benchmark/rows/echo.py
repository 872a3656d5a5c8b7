"""Row 6: the server's CPU for a client's message that is echoed through a handler."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.processes import Meter
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, single, stock_sanic
from scripts.benchmark.systems.nchan import Nchan

if TYPE_CHECKING:
    from scripts.benchmark.bench import Bench
    from scripts.benchmark.load import LoadClient

COST = "CPU for an echoed message"
IN_FLIGHT = 1_000  # enough to keep either server busy: an idle one also pays for waking up
MESSAGE = '{"type":"echo","data":{"text":"' + "x" * 94 + '"}}'  # 128 bytes
MOST_OF_SANIC = 0.15


def row_06(bench: Bench) -> None:
    """Let many connections send in turn, as clients do: seldom each, often together."""
    connections = bench.pick(2_000, 10_000)
    with ExitStack() as stack:
        makers = single.makers(bench, 6, gateway.TITLE, stock_sanic.TITLE)
        if gateway.TITLE in makers:
            makers[gateway.TITLE] = lambda: gateway.HandlerGateway(bench, gateway.new_prefix())
        servers = bench.start_all(6, stack, makers)
        loads = {}
        for title, server in servers.items():
            loads[title] = stack.enter_context(bench.load_client())
            assert not isinstance(server, Nchan)
            loads[title].open(server.echo, connections)
        rounds = {
            title: partial(_measure, bench, loads[title], title, server) for title, server in servers.items()
        }
        bench.alternate(6, bench.pick(3, 7), rounds)
    ratio = bench.report.ratio(6, COST, (gateway.TITLE, stock_sanic.TITLE))
    bench.report.at_most(6, "of stock Sanic", ratio, MOST_OF_SANIC)


def _measure(bench: Bench, load: LoadClient, title: str, server: single.Single) -> None:
    count = bench.pick(6_000, 20_000)
    meter = Meter([server.pid])
    load.echo(MESSAGE, count=count, in_flight=IN_FLIGHT)
    bench.report.add(Measure(6, COST, title, "µs"), meter.used_s() / count * 1e6)
