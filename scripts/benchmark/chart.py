"""Draw the cost of a push against the number of nodes, as SVG for light and dark pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 820, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 240, 60, 60
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
LABEL_GAP = 16  # pixels between two labels' baselines
# Middle tones that stand out from white and from near-black alike; the first is the gateway's.
COLOURS = ("#1a9850", "#d7642c", "#8a63d2", "#3b82c4", "#b0852b", "#c2478f")
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a }
  .title { font-size: 16px; font-weight: 600; fill: #24292f }
  .grid { stroke: #8b949e; stroke-opacity: .3 }
  .line { fill: none; stroke-width: 2.2 }
  .first { stroke-width: 4 }
  @media (prefers-color-scheme: dark) { text { fill: #9aa4af } .title { fill: #e6edf3 } }
"""


class Scale:
    """Places node counts and microseconds on logarithmic axes."""

    def __init__(self, nodes: Sequence[int], costs: Sequence[float]) -> None:
        self.nodes = sorted(nodes)
        self.low = math.floor(math.log10(min(costs)))
        self.high = max(math.ceil(math.log10(max(costs))), self.low + 1)

    def x(self, nodes: int) -> float:
        """Return the horizontal place of a number of nodes."""
        first, last = math.log2(self.nodes[0]), math.log2(self.nodes[-1])
        share = (math.log2(nodes) - first) / (last - first) if last > first else 0.5
        return LEFT + share * PLOT_WIDTH

    def y(self, cost: float) -> float:
        """Return the vertical place of a cost."""
        return TOP + PLOT_HEIGHT * (1 - (math.log10(cost) - self.low) / (self.high - self.low))


def draw(title: str, series: Mapping[str, Mapping[int, float]]) -> str:
    """Return the chart; `series` maps a system to µs by number of nodes, the gateway first."""
    scale = Scale(
        sorted({count for points in series.values() for count in points}),
        [cost for points in series.values() for cost in points.values()],
    )
    parts = [*_axes(scale), f'<text class="title" x="{LEFT}" y="30">{escape(title)}</text>']
    for at, points in enumerate(series.values()):
        parts += _line(scale, points, COLOURS[at % len(COLOURS)], first=at == 0)
    parts += _labels(scale, series)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _axes(scale: Scale) -> list[str]:
    parts = []
    for power in range(scale.low, scale.high + 1):
        y = scale.y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:,g} µs</text>')
    base = TOP + PLOT_HEIGHT
    parts += [
        f'<text x="{scale.x(count):.1f}" y="{base + 22}" text-anchor="middle">{count}</text>'
        for count in scale.nodes
    ]
    middle = LEFT + PLOT_WIDTH / 2
    return [*parts, f'<text x="{middle:.1f}" y="{base + 44}" text-anchor="middle">nodes</text>']


def _line(scale: Scale, points: Mapping[int, float], colour: str, *, first: bool) -> list[str]:
    placed = [(scale.x(count), scale.y(cost)) for count, cost in sorted(points.items())]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    line = f'<polyline class="line{" first" if first else ""}" stroke="{colour}" points="{path}"/>'
    return [line, *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in placed)]


def _labels(scale: Scale, series: Mapping[str, Mapping[int, float]]) -> list[str]:
    """Name each line at its right end, pushed apart where two ends are close."""
    ends = []
    for at, (name, points) in enumerate(series.items()):
        last = max(points)
        ends.append(
            (scale.y(points[last]) + 4, f"{name}, {points[last]:,.0f} µs", COLOURS[at % len(COLOURS)])
        )
    parts, lowest = [], 0.0
    for y, text, colour in sorted(ends):
        lowest = max(y, lowest + LABEL_GAP)
        style = f'style="fill: {colour}"'
        parts.append(f'<text x="{LEFT + PLOT_WIDTH + 10}" y="{lowest:.1f}" {style}>{escape(text)}</text>')
    return parts
