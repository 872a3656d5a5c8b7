"""The single-server systems that rows 4 to 8 and 11 compare, by title."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import gateway, nchan
from .gateway import Gateway
from .nchan import Nchan
from .stock_sanic import StockSanic

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.benchmark.bench import Bench

    Single = Gateway | Nchan | StockSanic
    Makers = dict[str, Callable[[], Single]]


def makers(bench: Bench, row: int, *titles: str) -> Makers:
    """Return how to start each of the named systems; what is not installed becomes a gap."""
    known: dict[str, tuple[str | None, Callable[[], Single]]] = {
        gateway.TITLE: (gateway.missing(), lambda: Gateway(bench, gateway.new_prefix())),
        Nchan.title: (nchan.missing(), Nchan),
        StockSanic.title: (None, StockSanic),
    }
    found: Makers = {}
    for title in titles:
        why, make = known[title]
        if why:
            bench.report.gap(row, title, why)
        else:
            found[title] = make
    return found
