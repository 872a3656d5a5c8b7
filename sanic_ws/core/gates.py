"""Gates: pushes to one target pass in the order in which they came.

While an earlier one is in trouble the later ones wait at its gate, and no other target waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.flights import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.core.flights import Owner
    from sanic_ws.core.push import Item


class Gates:
    """Hold the gates of all targets that have something open."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        self._waiting: set[Gate] = set()
        self._relooks: list[Gate] = []
        self._resting: list[Gate] = []

    def find(self, target: str) -> Gate | None:
        """Return a target's gate, if it has one."""
        return self._gates.get(target)

    def get(self, target: str) -> Gate:
        """Return a target's gate."""
        gate = self._gates.get(target)
        if gate is None:
            self._gates[target] = gate = Gate(target)
        return gate

    def put(self, item: Item) -> Gate:
        """Note that an item is on its way."""
        gate = item.gate
        assert gate is not None
        gate.placed += 1
        item.placed = True
        return gate

    def wait(self, item: Item) -> None:
        """Have an item wait behind those that are on their way."""
        gate = item.gate
        assert gate is not None
        if gate.waiting is None:
            gate.waiting = []
        gate.waiting.append(item)
        self._waiting.add(gate)
        self._pass_on(gate)

    def refuse(self, item: Item, by: Owner | None) -> None:
        """Take an item back that was certainly not sent, to look its target up again.

        Args:
            item: it.
            by: who does not have the connection; None if it is worth asking again, after a rest.
        """
        gate = item.gate
        assert gate is not None
        item.placed = False
        gate.placed -= 1
        gate.blocked = True
        gate.refused = by
        if gate.retry is None:
            gate.retry = []
        gate.retry.append(item)
        self._pass_on(gate)

    def leave(self, item: Item) -> None:
        """Let what waits behind an item that has ended pass."""
        gate = item.gate
        assert gate is not None
        if item.placed:
            gate.placed -= 1
        gate.items -= 1
        if gate.items:
            self._pass_on(gate)
        else:
            self._gates.pop(gate.target, None)
            self._waiting.discard(gate)

    def take_relooks(self) -> list[Gate]:
        """Return the gates whose targets are to be looked up again."""
        relooks, self._relooks = self._relooks, []
        return relooks

    def reopen(self, gate: Gate) -> Sequence[Item]:
        """Open a gate whose target has been looked up again; return what waited, in order."""
        items, gate.waiting = gate.waiting or (), None
        self._waiting.discard(gate)
        gate.looking = gate.blocked = False
        return items

    def wake(self) -> None:
        """Have those looked up again that were not ready a while ago."""
        self._relooks += self._resting
        self._resting.clear()

    def expire(self, ended: Callable[[Item], bool]) -> None:
        """Let go of waiting items that have ended."""
        for gate in list(self._waiting):
            gate.waiting = [item for item in gate.waiting or () if not ended(item)]
            if not gate.waiting:
                self._waiting.discard(gate)

    def clear(self) -> None:
        """Forget what was to be looked up again."""
        self._relooks.clear()
        self._resting.clear()

    @property
    def idle(self) -> bool:
        """Whether nothing is held here."""
        return not (self._gates or self._waiting or self._relooks or self._resting)

    def _pass_on(self, gate: Gate) -> None:
        """With nothing of a gate's on its way, look up again for what waits, or else open it."""
        if gate.placed or gate.looking:
            return
        if gate.retry or gate.waiting:
            not_yet = bool(gate.retry) and gate.refused is None
            gate.waiting = [*(gate.retry or ()), *(gate.waiting or ())]
            gate.retry = None
            gate.blocked = gate.looking = True
            self._waiting.add(gate)
            (self._resting if not_yet else self._relooks).append(gate)
        else:
            gate.blocked = False
            gate.refused = None
