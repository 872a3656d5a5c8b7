"""Collect samples, judge them against the targets, print tables and write JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PACKAGES = (
    "sanic-ws",
    "sanic",
    "uvloop",
    "websockets",
    "aio-pika",
    "redis",
    "python-socketio",
    "uvicorn",
    "picows",
)
FIVE_FIGURES = 10_000


@dataclass(frozen=True)
class Measure:
    """What was measured, of whom, and on how many nodes where that varies; `detail` is for the JSON alone."""

    row: int
    what: str
    system: str
    unit: str
    nodes: int | None = None
    detail: bool = False


@dataclass(frozen=True)
class Gap:
    """A measurement that could not be made, and why."""

    row: int
    system: str
    why: str


@dataclass(frozen=True)
class Target:
    """What a row has to reach; `value` is None where a part is missing."""

    row: int
    what: str
    value: float | None
    limit: float
    sense: Literal["≤", "≥"]

    @property
    def verdict(self) -> str:
        """Say `met`, `missed` or `not measured`."""
        if self.value is None:
            return "not measured"
        met = self.value <= self.limit if self.sense == "≤" else self.value >= self.limit
        return "met" if met else "missed"


@dataclass
class Report:
    """Everything that one run found."""

    quick: bool
    samples: dict[Measure, list[float]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def add(self, measure: Measure, *values: float) -> None:
        """Keep samples."""
        self.samples.setdefault(measure, []).extend(values)

    def gap(self, row: int, system: str, why: str) -> None:
        """Note what could not be measured."""
        self.gaps.append(Gap(row, system, why))

    def median(self, row: int, what: str, system: str, nodes: int | None = None) -> float | None:
        """Return a median, or None where it was not measured."""
        for measure, values in self.samples.items():
            if (measure.row, measure.what, measure.system, measure.nodes) == (row, what, system, nodes):
                return median(values)
        return None

    def ratio(self, row: int, what: str, systems: tuple[str, str], nodes: int | None = None) -> float | None:
        """Return the first system's median divided by the second's."""
        one, other = (self.median(row, what, system, nodes) for system in systems)
        return one / other if one is not None and other else None

    def at_most(self, row: int, what: str, value: float | None, limit: float) -> None:
        """Set a target that a value must not exceed."""
        self.targets.append(Target(row, what, value, limit, "≤"))

    def at_least(self, row: int, what: str, value: float | None, limit: float) -> None:
        """Set a target that a value must reach."""
        self.targets.append(Target(row, what, value, limit, "≥"))

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "started": self.started,
            "quick": self.quick,
            "machine": {
                "cpus": os.cpu_count(),
                "kernel": platform.release(),
                "python": platform.python_version(),
            },
            "versions": _versions(),
            "measures": [{**vars(m), **_summary(values)} for m, values in self.samples.items()],
            "gaps": [vars(gap) for gap in self.gaps],
            "targets": [{**vars(target), "verdict": target.verdict} for target in self.targets],
        }

    def write(self, path: Path) -> None:
        """Write the JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")

    def print(self) -> None:
        """Print the tables."""
        console = Console(width=None if os.isatty(1) else 150)
        console.print(self._measures())
        if self.targets:
            console.print(self._targets())
        for gap in self.gaps:
            console.print(f"row {gap.row}, {gap.system}: {gap.why}", markup=False)

    def _measures(self) -> Table:
        table = Table("row", "what", "nodes", "system", title="Measured side by side")
        for heading in ("median", "min to max", "samples"):
            table.add_column(heading, justify="right")
        last: tuple[int, str, int | None] | None = None
        for measure in sorted(
            (m for m in self.samples if not m.detail), key=lambda m: (m.row, m.what, m.nodes or 0)
        ):
            values = self.samples[measure]
            group = (measure.row, measure.what, measure.nodes)
            head = (
                ("", "", "") if group == last else (str(measure.row), measure.what, str(measure.nodes or ""))
            )
            spread = f"{number(min(values))} to {number(max(values))}"
            table.add_row(
                *head, measure.system, f"{number(median(values))} {measure.unit}", spread, str(len(values))
            )
            last = group
        return table

    def _targets(self) -> Table:
        table = Table("row", "to reach", title="Targets")
        for heading in ("measured", "target"):
            table.add_column(heading, justify="right")
        table.add_column("verdict")
        for target in sorted(self.targets, key=lambda target: target.row):
            value = "?" if target.value is None else number(target.value)
            table.add_row(
                str(target.row), target.what, value, f"{target.sense} {target.limit:g}", target.verdict
            )
        return table


def number(value: float) -> str:
    """Format a value with three significant figures, or as a whole number where it is large."""
    if abs(value) >= FIVE_FIGURES:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "min": min(values), "max": max(values), "samples": list(values)}


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
