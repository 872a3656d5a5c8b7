"""``sanic-ws plan``."""

from __future__ import annotations

from dataclasses import asdict
from math import ceil
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sanic_ws.cli.common import out
from sanic_ws.core import json
from sanic_ws.core.capacity import plan as make_plan
from sanic_ws.errors import InvalidField

if TYPE_CHECKING:
    from sanic_ws.core.capacity import Need


def plan(
    connections: Annotated[int, typer.Option(min=1, help="held at the same time")],
    pushes: Annotated[int, typer.Option(min=0, help="a second, each to one connection")],
    misses: Annotated[float, typer.Option(min=0, max=1, help="share of pushes that find nobody")] = 0.0,
    handshakes: Annotated[int, typer.Option(min=0, help="a second")] = 0,
    load: Annotated[float, typer.Option(min=0.05, max=1, help="how busy a core may be")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say how many nodes, Redis and RabbitMQ servers a load needs, and the arithmetic."""
    try:
        needs = make_plan(connections, pushes, misses, handshakes, load)
    except ValueError as exc:
        raise InvalidField("", str(exc)) from None
    if as_json:
        print(json.dumps([asdict(need) for need in needs]).decode())  # noqa: T201
        return
    table = Table("what", "number", "because", box=None, pad_edge=False)
    for need in needs:
        table.add_row(need.what, f"{need.number:,}", _reason(need))
    out.print(table)


def _reason(need: Need) -> str:
    return "; ".join(f"{name} {ceil(value * 100) / 100:,g}" for name, value in need.reasons.items())
