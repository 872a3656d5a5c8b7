"""Lanes: what goes to one node collects while its last batch is unanswered, then goes as one message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.flights import Flight, Lane, first_deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sanic_ws.core.batch import Reply
    from sanic_ws.core.flights import Limits
    from sanic_ws.core.push import Item


class Lanes:
    """Hold the lanes of all nodes that something goes to, and their batches under way.

    Args:
        limits: bounds.
        ids: where batches get their numbers.
    """

    def __init__(self, limits: Limits, ids: Iterator[int]) -> None:
        self._limits = limits
        self._ids = ids
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, Lane] = {}
        self._flights: dict[int, Flight] = {}

    def append(self, node: str, item: Item) -> None:
        """Have an item go to a node, behind the others."""
        lane = self._lanes.get(node)
        if lane is None:
            self._lanes[node] = lane = Lane()
        if lane.flight is None:
            self._ready[node] = lane
        lane.append(item)

    def start(self) -> list[Flight]:
        """Return the batches that are to be sent now."""
        started = []
        for node, lane in self._ready.items():
            if lane.flight is not None:
                continue
            if lane.pending:
                items = lane.take(self._limits.batch_items, self._limits.batch_bytes)
                lane.flight = Flight(next(self._ids), node, items, first_deadline(items))
                self._flights[lane.flight.id] = lane.flight
                started.append(lane.flight)
            else:
                self._lanes.pop(node, None)
        self._ready.clear()
        return started

    def answered(self, reply: Reply) -> Flight | None:
        """Return the batch under way that a reply is for."""
        flight = self._flights.get(reply.id)
        if flight is None or flight.node != reply.node or len(reply.answers) != len(flight.items):
            return None
        return flight

    def has(self, flight: Flight) -> bool:
        """Say whether a batch is under way."""
        return self._flights.get(flight.id) is flight

    def land(self, flight: Flight) -> None:
        """End a batch; the next one may start."""
        del self._flights[flight.id]
        lane = self._lanes[flight.node]
        lane.flight = None
        self._ready[flight.node] = lane

    def withdraw(self, node: str) -> list[Item]:
        """Take back from a lane what must not overtake an item that was refused."""
        lane = self._lanes.get(node)
        if lane is None:
            return []
        blocked = [item for item in lane.pending if item.gate is not None and item.gate.blocked]
        if blocked:
            lane.pending = [item for item in lane.pending if item.gate is None or not item.gate.blocked]
        return blocked

    def expire(self, ended: Callable[[Item], bool], now: float) -> None:
        """Let go of what has not been sent and has ended."""
        for lane in self._lanes.values():
            if lane.deadline <= now:
                lane.expire(ended)

    def late(self, now: float) -> list[Flight]:
        """Return the batches that hold something past its deadline."""
        return [flight for flight in self._flights.values() if flight.deadline <= now]

    def clear(self) -> None:
        """Forget the lanes."""
        self._lanes.clear()
        self._ready.clear()

    @property
    def idle(self) -> bool:
        """Whether nothing is held here."""
        return not (self._lanes or self._ready or self._flights)
