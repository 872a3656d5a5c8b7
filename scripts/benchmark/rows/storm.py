"""Row 11: every client of a server comes back at once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.accounting import family, settle
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, single, stock_sanic
from scripts.benchmark.systems.gateway import Gateway

if TYPE_CHECKING:
    from scripts.benchmark.bench import Bench
    from scripts.benchmark.load import LoadClient

RATE, FAILED = "handshakes a second in a reconnect storm", "failed handshakes"
LEAST_TIMES_SANIC = 1.3
ALL_AT_ONCE = 0


def row_11(bench: Bench) -> None:
    """Cut all connections, then open them all at once."""
    with ExitStack() as stack:
        load = stack.enter_context(bench.load_client())
        servers = bench.start_all(11, stack, single.makers(bench, 11, gateway.TITLE, stock_sanic.TITLE))
        rounds = {title: partial(_measure, bench, load, title, server) for title, server in servers.items()}
        bench.alternate(11, bench.pick(2, 3), rounds)
    report = bench.report
    failed = [
        max(values) for m, values in report.samples.items() if (m.what, m.system) == (FAILED, gateway.TITLE)
    ]
    report.at_most(11, "failed handshakes", max(failed, default=None), 0)
    report.at_least(
        11, "times stock Sanic", report.ratio(11, RATE, (gateway.TITLE, stock_sanic.TITLE)), LEAST_TIMES_SANIC
    )


def _measure(bench: Bench, load: LoadClient, title: str, server: single.Single) -> None:
    count = bench.pick(1_500, 10_000)
    endpoint = server.unbound if isinstance(server, Gateway) else server.endpoint
    bench.say(f"row 11: {title}")
    load.open(endpoint, count)
    load.drop()
    storm = load.open(endpoint, count, concurrency=ALL_AT_ONCE, strict=False)
    bench.report.add(Measure(11, RATE, title, "/s"), storm["opened"] / storm["seconds"])
    bench.report.add(Measure(11, FAILED, title, ""), storm["failed"])
    load.drop()
    settle(family([server.pid]))
