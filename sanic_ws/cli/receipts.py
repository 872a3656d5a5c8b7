"""A receipt on a terminal."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from sanic_ws.cli.common import out, plain
from sanic_ws.core import json

_GOOD, _BAD = "green", "red"
_STYLES = {"delivered": _GOOD, "acked": _GOOD, "stored": "cyan", "partial": "yellow"}


def show_receipt(receipt: dict[str, Any]) -> None:
    """Print what became of a push in a line, and each of its deliveries where these are several."""
    deliveries = receipt.get("deliveries") or []
    line = _outcome(receipt["outcome"])
    if len(deliveries) == 1:
        _add_delivery(line, deliveries[0])
    elif receipt["counts"]:
        counts = ", ".join(f"{number:,} {outcome}" for outcome, number in receipt["counts"].items())
        line.append(f"  {plain(counts)}")
    line.append(f"  id {plain(receipt['id'])}", style="dim")
    out.print(line)
    if len(deliveries) > 1:
        for delivery in deliveries:
            part = Text("  ").append_text(_outcome(delivery["outcome"]))
            _add_delivery(part, delivery)
            out.print(part)


def _outcome(outcome: str) -> Text:
    return Text().append(plain(outcome), style=f"bold {_STYLES.get(outcome, _BAD)}")


def _add_delivery(line: Text, delivery: dict[str, Any]) -> None:
    """Add who it went to, which way, how long that took, and the answer."""
    if delivery.get("conn"):
        line.append(f"  {plain(delivery['conn'])}")
    for name in ("route", "node"):
        if delivery.get(name):
            line.append(f"  {plain(delivery[name])}", style="cyan" if name == "route" else "")
    if delivery.get("latency_ms") is not None:
        line.append(f"  {delivery['latency_ms']:,.1f} ms", style="magenta")
    if "reply" in delivery:
        line.append(f"  {plain(json.dumps(delivery['reply']).decode())}", style="bold")
