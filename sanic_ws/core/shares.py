"""Shares: pushes to everyone and to groups, split up by node.

Each node says what became of its share at how many of its connections: such a push has counts, no deliveries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.batch import everyone_target, group_target
from sanic_ws.core.hub import EVERYONE
from sanic_ws.core.outcomes import ANSWERED, Outcome, Route
from sanic_ws.core.push import Item

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sanic_ws.core.acks import Acks
    from sanic_ws.core.flights import Listing
    from sanic_ws.core.hub import Hub
    from sanic_ws.core.lanes import Lanes
    from sanic_ws.core.ledger import Ledger
    from sanic_ws.core.members import Members
    from sanic_ws.core.outcomes import Answer
    from sanic_ws.core.push import Push


class Shares:
    """Place pushes to many, and end them.

    Args:
        node_id: the node that the router is part of, if any.
        hub: that node's connections.
        acks: carries out what is ordered beside of that node.
        members: which nodes there are.
        lanes: take what goes to other nodes.
        ledger: where items end.
    """

    def __init__(
        self,
        node_id: str | None,
        hub: Hub | None,
        acks: Acks | None,
        members: Members,
        lanes: Lanes,
        ledger: Ledger,
    ) -> None:
        self._node_id = node_id
        self._hub = hub
        self._acks = acks
        self._members = members
        self._lanes = lanes
        self._ledger = ledger

    def place_everyone(self, item: Item, *, certain: bool, now: float) -> None:
        """Split a push to everyone up by node; unless that is certain there may be others."""
        push = item.push
        here = set() if self._hub is None or self._node_id is None else {self._node_id}
        nodes = self._members.known | here
        if not nodes or self._ledger.is_late(item, now):
            self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
            return
        if not certain or not self._members.complete:
            self._ledger.count(push, None, Outcome.UNKNOWN, 1)
        for node in nodes:
            if node == self._node_id and self._hub is not None:
                answers = self._answer_here(push, EVERYONE)
                for answer, number in answers.items():
                    self._ledger.count(push, Route.LOCAL, ANSWERED[answer], number)
            else:
                share = self._ledger.open(Item(push, everyone_target(push.exclude), None))
                share.node = node
                self._lanes.append(node, share)
        self._ledger.close(item, now)

    def place_group(
        self, item: Item, found: Collection[str] | None, listing: Listing | None, now: float
    ) -> None:
        """Split a group's item up by node: those that have members, or all where that is not known."""
        push, group = item.push, item.target[1:]
        here = set() if self._hub is None or self._node_id is None else {self._node_id}
        nodes = self._members.known | here
        item.found = listing is not None and listing.whole and self._members.complete
        if self._ledger.is_late(item, now) or not (nodes or item.found):
            self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
            return
        if found is not None and item.found:
            nodes &= here.union(found)
        if listing is None or not self._members.complete:
            self._ledger.note(push, None, None, None, Outcome.UNKNOWN, now)
        self._ledger.tame(item)
        item.children = 1
        for node in nodes:
            if node == self._node_id and self._hub is not None:
                for answer, number in self._answer_here(push, item.target).items():
                    self._ledger.count(push, Route.LOCAL, ANSWERED[answer], number)
            else:
                share = Item(push, group_target(group, push.exclude), None, parent=item)
                share.node = node
                self._lanes.append(node, self._ledger.open(share))
                item.children += 1
        self._ledger.end_child(item, now)

    def end_group(self, item: Item, now: float) -> None:
        """End a group's item with the last of its shares; nobody is `offline` while there may be others."""
        if not item.found and not item.push.counts:
            self._ledger.note(item.push, None, None, None, Outcome.UNKNOWN, now)
        self._ledger.close(item, now)

    def take_answer(self, item: Item, details: Sequence[tuple[int, int]] | None, now: float) -> None:
        """Add up what a node says of its share; without details it was not carried out."""
        if details is None:
            self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
            return
        for answer, number in details:
            outcome = ANSWERED.get(answer)  # type: ignore[call-overload] # any number may come
            if outcome is not None and isinstance(number, int) and number > 0:
                self._ledger.count(item.push, Route.DIRECT, outcome, number)
        self._ledger.close(item, now)

    def _answer_here(self, push: Push, target: str) -> Mapping[Answer, int]:
        """Write a push's frame to everyone here, or to a group behind ``#``."""
        hub = self._hub
        assert hub is not None
        if push.order is not None and self._acks is not None:
            return self._acks.deliver_to_many(
                push.order, target, lambda late: hub.deliver_to_many(target, push.frame, push.exclude, late)
            )
        return hub.deliver_to_many(target, push.frame, push.exclude)
