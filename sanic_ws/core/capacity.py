"""How many servers a load needs, from measured constants.

The constants come from `scripts/bench` on one core of the machine that README names; another machine has
others, but their proportions hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf

NODE_CONNECTIONS = 18_000
"""Connections of a process that may open 20,000 files."""
CONNECTION_BYTES = 2_500
"""Of a node's memory, for an idle connection that is bound to a user."""
NODE_BYTES = 70_000_000
"""Of a node's memory without connections."""
PUSH_S = 10e-6
"""Of a node's CPU, to write one push to a socket of its own."""
MISS_S = 1.1e-6
"""Of every node's CPU, for a push that finds nobody."""
BATCH_S = 450e-6
"""Of a node's CPU, to read a batch and answer it, whatever is in it."""
HANDSHAKE_S = 200e-6
"""Of a node's CPU, registration included."""
PUBLISHER_PUSH_S = 25e-6
"""Of a publisher's CPU."""
REDIS_PUSH_S = 0.5e-6
"""Of Redis's CPU, for a look-up in a full round."""
REDIS_BYTES = 400
"""Of Redis's memory, for a connection that is bound to a user."""
REDIS_SHARD_BYTES = 8_000_000_000
"""Of a Redis server's memory, to be filled."""
BROKER_BATCH_S = 350e-6
"""Of RabbitMQ's CPU, for a batch and its answer."""
ROUND_TRIP_S = 0.005
"""Taken for a batch under load, between 1 ms idle and 14 ms at the 99th percentile of half load."""
BROKER_CORES = 4
"""Of a RabbitMQ server."""


@dataclass(frozen=True, slots=True)
class Need:
    """Say how many of something are needed, and what asks for how many."""

    what: str
    number: float
    reasons: dict[str, float] = field(default_factory=dict)


def plan(
    connections: int, pushes: int, misses: float = 0.0, handshakes: int = 0, load: float = 0.5
) -> list[Need]:
    """Return what a load needs.

    Args:
        connections: held at the same time, each bound to a user.
        pushes: a second, each to one connection.
        misses: the share of these that finds nobody and is asked for everywhere.
        handshakes: a second.
        load: how busy a core may be.

    Raises:
        ValueError: no number of nodes is enough: what every node has to do fills them all.
    """
    publishers = max(1, ceil(pushes * PUBLISHER_PUSH_S / load))
    everywhere = pushes * misses * MISS_S
    if everywhere >= load:
        raise ValueError("so many pushes that find nobody fill every node; filter these before they are made")
    nodes, batches = _nodes(connections, pushes, handshakes, load - everywhere, publishers)
    shards = {
        "by memory": connections * REDIS_BYTES / REDIS_SHARD_BYTES,
        "by CPU": pushes * REDIS_PUSH_S / load,
    }
    brokers = batches * BROKER_BATCH_S / load / BROKER_CORES
    return [
        Need("publishers", publishers, {"by CPU": pushes * PUBLISHER_PUSH_S / load}),
        Need("nodes, one core each", _whole(nodes), nodes),
        Need("MB of memory a node", ceil(_node_bytes(connections, _whole(nodes)) / 1e6)),
        Need("Redis shards", _whole(shards), shards),
        Need(f"RabbitMQ nodes, {BROKER_CORES} cores each", max(1, ceil(brokers)), {"by CPU": brokers}),
        Need(
            "broker messages a second",
            ceil(2 * batches),
            {"pushes a batch": pushes / batches if batches else 0},
        ),
    ]


def _nodes(
    connections: int, pushes: int, handshakes: int, room: float, publishers: int
) -> tuple[dict[str, float], float]:
    """Find how many nodes there must be; the more there are, the less there is in a batch for each."""
    by_connections = connections / NODE_CONNECTIONS
    number, reasons, batches = max(1, ceil(by_connections)), {}, 0.0
    for _ in range(1000):
        a_batch = max(1.0, pushes / publishers / number * ROUND_TRIP_S)
        batches = pushes / a_batch
        by_cpu = (pushes * PUSH_S + batches * BATCH_S + handshakes * HANDSHAKE_S) / room
        reasons = {"by connections": by_connections, "by CPU": by_cpu}
        if number >= by_cpu:
            break
        number = ceil(min(by_cpu, number * 2))
    return reasons, batches


def _node_bytes(connections: int, nodes: int) -> float:
    return NODE_BYTES + connections / nodes * CONNECTION_BYTES


def _whole(reasons: dict[str, float]) -> int:
    most = max(reasons.values(), default=0)
    return max(1, ceil(most)) if most < inf else 1
