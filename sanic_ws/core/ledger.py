"""The ledger: what is open, and what became of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sanic_ws.core.outcomes import Outcome, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.core.gates import Gates
    from sanic_ws.core.orders import Order
    from sanic_ws.core.outcomes import Delivery
    from sanic_ws.core.push import Item, Push

_NOT_SENT = frozenset({Outcome.UNAVAILABLE, Outcome.OVERLOADED})
_NOT_SEEN = frozenset({Outcome.UNKNOWN, Outcome.OVERLOADED})


class Ledger:
    """Open items, settle them, and count.

    Args:
        gates: where those wait that come behind an item.
        on_last_child: called with a user's item when nothing of it is open any more but itself.

    Attributes:
        open_items: how many are not settled.
        wild_items: how many of these may turn out to be for any connection.
        closing: whether everything ends now, whatever its deadline.
        deliveries: how many took which route, if any, and had which outcome; those of pushes to many too.
        gave_way: those of them that were not seen to be written, as newer ones might have their place.
    """

    def __init__(self, gates: Gates, on_last_child: Callable[[Item, float], None]) -> None:
        self._gates = gates
        self._on_last_child = on_last_child
        self.open_items = 0
        self.wild_items = 0
        self.closing = False
        self.deliveries: Counter[tuple[Route | None, Outcome]] = Counter()
        self.gave_way: Counter[tuple[Route | None, Outcome]] = Counter()
        self._follow: Callable[..., None] = _nothing
        self._take: Callable[..., bool | None] = _nothing

    def watch(self, follow: Callable[..., None], take: Callable[..., bool]) -> None:
        """Have calls follow what becomes of pushes with an order; see `Calls.follow` and `Calls.take`."""
        self._follow, self._take = follow, take

    def open(self, item: Item) -> Item:
        """Open an item."""
        item.push.open += 1
        self.open_items += 1
        if item.gate is not None:
            item.gate.items += 1
        if item.push.order is not None:
            self._follow(item, item.push.order)
        return item

    def let_wild(self, item: Item) -> None:
        """While an item may be for any connection nothing may overtake it on this very node."""
        item.wild = True
        self.wild_items += 1

    def tame(self, item: Item) -> None:
        """It is known now for which connections an item is."""
        if item.wild:
            item.wild = False
            self.wild_items -= 1

    def note(
        self,
        push: Push,
        conn: str | None,
        node: str | None,
        route: Route | None,
        outcome: Outcome,
        now: float,
    ) -> None:
        """Write down what became of a push at one connection, or at some that are not known."""
        order = push.order
        if order is not None and self._take(push, order, conn, node, route, outcome, now):
            return
        push.add(conn, node, route, outcome, now)
        self.deliveries[route, outcome] += 1
        if order is not None:
            self._note_way(order, route, outcome, 1)

    def count(self, push: Push, route: Route | None, outcome: Outcome, number: int) -> None:
        """Write down what became of a push to everyone, or to a group, at some of its connections."""
        push.count(outcome, number)
        self.deliveries[route, outcome] += number
        if push.order is not None:
            self._note_way(push.order, route, outcome, number)

    def hold(self, push: Push) -> None:
        """Keep a push open for a client that may answer."""
        push.open += 1
        self.open_items += 1

    def record(self, push: Push, delivery: Delivery) -> None:
        """Write down what became of a push at a connection whose client was waited for."""
        push.append(delivery)
        self.deliveries[delivery.route, delivery.outcome] += 1
        assert push.order is not None
        self._note_way(push.order, delivery.route, delivery.outcome, 1)

    def _note_way(self, order: Order, route: Route | None, outcome: Outcome, number: int) -> None:
        if order.may_wait and outcome in _NOT_SEEN:
            self.gave_way[route, outcome] += number

    def release(self, push: Push) -> None:
        """Wait for one client less."""
        self.open_items -= 1
        push.settle()

    def settle(self, item: Item, outcome: Outcome, route: Route | None, now: float) -> None:
        """End a connection's item as what a node has said."""
        self.note(item.push, item.target, item.node, route, outcome, now)
        if item.parent is not None:
            item.parent.found = True
        self.close(item, now)

    def give_up(self, item: Item, outcome: Outcome, now: float) -> None:
        """End an item that nobody answered for."""
        route = None
        if outcome not in _NOT_SENT:
            route = Route.FALLBACK if item.node is None else Route.DIRECT
        if item.gate is None or item.is_user:
            self.note(item.push, None, item.node, route, outcome, now)
            self.close(item, now)
        else:
            self.settle(item, outcome, route, now)

    def close(self, item: Item, now: float) -> None:
        """End an item; let what waits behind it pass."""
        item.settled = True
        self.open_items -= 1
        if item.wild:
            self.tame(item)
        if item.gate is not None:
            self._gates.leave(item)
        if item.parent is not None:
            self.end_child(item.parent, now)
        item.push.settle()

    def end_child(self, parent: Item, now: float) -> None:
        """Count a connection of a user's item that is settled."""
        parent.children -= 1
        if not parent.children:
            self._on_last_child(parent, now)

    def is_late(self, item: Item, now: float, *, sent: bool = False) -> bool:
        """Say whether an item has to end now; one that was sent, because nobody waits for it any more."""
        return self.closing or (item.push.deadline if sent else item.push.expires) <= now

    def expire(self, item: Item, now: float, *, sent: bool = False) -> bool:
        """End an item that is late; say whether it has ended."""
        if not item.settled and self.is_late(item, now, sent=sent):
            self.give_up(item, Outcome.UNKNOWN if sent else Outcome.UNAVAILABLE, now)
        return item.settled


def _nothing(*_: object) -> None:
    """Follow nothing."""
