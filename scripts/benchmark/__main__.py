"""Run the benchmark: `python -m scripts.benchmark`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import chart
from .bench import Bench
from .report import Report
from .rows import (
    broadcast,
    durable,
    echo,
    fallback,
    handshake,
    http_push,
    idle_memory,
    latency,
    owners,
    push,
    registrations,
    storm,
)
from .systems import gateway
from .systems.push import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROWS: dict[int, Callable[[Bench], None]] = {
    1: push.row_01,
    3: latency.row_03,
    4: idle_memory.row_04,
    5: handshake.row_05,
    6: echo.row_06,
    7: broadcast.row_07,
    8: http_push.row_08,
    9: fallback.row_09,
    10: registrations.row_10,
    11: storm.row_11,
    12: owners.row_12,
    13: durable.row_13,
}
MEASURED_WITH = {2: 1}
CHART_TITLE = "CPU of all nodes for a push, against the number of nodes"


def main() -> None:
    """Measure, print and write."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report(quick=options.quick)
    start = time.monotonic()
    try:
        with Bench(report) as bench:
            for row in options.rows:
                bench.say(f"row {row}")
                ROWS[row](bench)
    except KeyboardInterrupt:
        print("interrupted: what was measured so far follows", file=sys.stderr)
    report.print()
    report.write(options.json)
    print(f"{time.monotonic() - start:.0f} s; JSON: {options.json}")
    _draw(report, options.svg)


def _options() -> argparse.Namespace:
    result = cache_folder() / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the gateway and its peers.")
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller loads and fewer rounds: under 2 minutes")
    add("--rows", type=_rows, default=list(ROWS), metavar="1,4", help="only these rows (1 to 13)")
    add("--json", type=Path, default=result, metavar="FILE", help="where the JSON goes")
    add("--svg", type=Path, metavar="FILE", help="where the chart goes; beside the JSON by default")
    options = parser.parse_args()
    options.svg = options.svg or options.json.with_suffix(".svg")
    return options


def _rows(text: str) -> Sequence[int]:
    asked = {int(part) for part in text.split(",")}
    if unknown := asked - ROWS.keys() - MEASURED_WITH.keys():
        raise argparse.ArgumentTypeError(f"no such row: {sorted(unknown)}")
    return sorted({MEASURED_WITH.get(row, row) for row in asked})


def _draw(report: Report, path: Path) -> None:
    series: dict[str, dict[int, float]] = {}
    for title in (gateway.TITLE, *push.PEERS):
        points = {size: report.median(2, push.COST, title, size) for size in (1, 2, 4, 8)}
        if known := {size: cost for size, cost in points.items() if cost}:
            series[title] = known
    if series:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(chart.draw(CHART_TITLE, series))
        print(f"chart: {path}")


if __name__ == "__main__":
    main()
