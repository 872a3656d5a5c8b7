"""What a node and the cluster look like at a moment, as those see it who watch the console."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from sanic_ws.core.groups import WATCHERS
from sanic_ws.core.outcomes import Route
from sanic_ws.node.process import memory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sanic_ws.core.histograms import Histogram
    from sanic_ws.node.node import Node
    from sanic_ws.registry import NodeInfo

_NO_ROUTES = dict.fromkeys(map(str, Route), 0)


def describe_nodes(infos: Iterable[NodeInfo], here: str) -> list[dict[str, Any]]:
    """Write what the registry says of nodes, by id.

    Args:
        infos: it.
        here: the id of the node that tells it.
    """
    nodes = [
        {
            "node": info.id,
            "name": info.name,
            "connections": info.connections,
            "started": info.started,
            "state": info.state,
            "version": info.version,
            "self": info.id == here,
        }
        for info in infos
    ]
    return sorted(nodes, key=lambda entry: str(entry["node"]))


def describe_node(node: Node, number: int, lag_s: float) -> dict[str, Any]:
    """Write what a node is, holds and has done since its start.

    Args:
        node: it.
        number: higher with each snapshot.
        lag_s: how late its event loop is, seconds.
    """
    info, counts = node.info, node.dispatcher.counts
    return {
        "node": info.id,
        "name": info.name,
        "version": info.version,
        "started": info.started,
        "state": info.state,
        "ready": node.ready,
        "registered": node.registered,
        "broker": {"connected": node.broker.connected, "blocked": node.broker.blocked},
        "seq": number,
        "connections": info.connections,
        "users": node.hub.users,
        "groups": len(node.hub.groups) - (WATCHERS in node.hub.groups),
        "pushes": {"by_route": _NO_ROUTES | counts["routes"], "by_outcome": counts["outcomes"]},
        "open_deliveries": node.dispatcher.open_items,
        "fallbacks": sum(node.dispatcher.router.fallbacks.values()),
        "batches": node.batches,
        "latency": _latency(node.dispatcher.receipt_s),
        "handshakes": node.handshakes,
        "closes": _by_text(node.closes),
        "stored": node.dispatcher.stored,
        "replayed": node.mail.replay.replayed,
        "process": {
            "memory_bytes": memory_bytes(),
            "cpu_s": round(time.process_time(), 3),
            "lag_ms": round(lag_s * 1000, 1),
        },
    }


def _latency(histogram: Histogram) -> dict[str, list[Any]]:
    """Write a histogram: of each bound how many were not above it, and at last how many there were."""
    bounds = [round(bound * 1000, 3) for bound, _ in histogram.buckets if bound != inf]
    return {"bounds_ms": bounds, "counts": [number for _, number in histogram.buckets]}


def _by_text(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(int(code)): number for code, number in counts.items()}
