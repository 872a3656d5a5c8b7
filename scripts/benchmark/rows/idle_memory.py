"""Row 4: memory of an idle connection that is bound to a user (PSS of the server's processes)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.accounting import settle
from scripts.benchmark.processes import Meter
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, nchan, single, stock_sanic

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.benchmark.bench import Bench

WARM_UP = 200
TITLES = (gateway.TITLE, stock_sanic.TITLE, nchan.TITLE)
MOST_KB, MOST_OF_NCHAN, MOST_OF_SANIC = 5, 0.4, 0.2


def row_04(bench: Bench) -> None:
    """Open connections on a fresh server each time and see what its memory grew by."""
    sizes = bench.pick((3_000,), (10_000, 18_000))
    rounds = {
        title: partial(_measure, bench, title, make, sizes)
        for title, make in single.makers(bench, 4, *TITLES).items()
    }
    bench.alternate(4, bench.pick(1, 2), rounds)
    report = bench.report
    for size in sizes:
        what = _what(size)
        report.at_most(4, f"{size:,}: KB", report.median(4, what, gateway.TITLE), MOST_KB)
        for peer, most in ((nchan.TITLE, MOST_OF_NCHAN), (stock_sanic.TITLE, MOST_OF_SANIC)):
            report.at_most(4, f"{size:,}: of {peer}", report.ratio(4, what, (gateway.TITLE, peer)), most)


def _what(size: int) -> str:
    return f"memory of an idle connection, {size:,} of them"


def _measure(bench: Bench, title: str, make: Callable[[], single.Single], sizes: tuple[int, ...]) -> None:
    bench.say(f"row 4: {title}")
    with make() as server, bench.load_client() as load:
        load.open(server.endpoint, WARM_UP)
        load.drop()
        meter = Meter([server.pid])
        settle(meter.pids)
        empty = meter.memory()
        opened = 0
        for size in sizes:
            load.open(server.endpoint, size - opened, first=1 + opened)
            opened = size
            settle(meter.pids)
            bench.report.add(Measure(4, _what(size), title, "KB"), (meter.memory() - empty) / size / 1024)
        load.drop()
