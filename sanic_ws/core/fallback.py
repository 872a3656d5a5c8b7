"""The fallback: ask all nodes about targets that nobody is known to have, and conclude.

It has a budget, as each item costs every node of the cluster.

*Truth.* `offline` is what every node says that the registry lists, and only while that list is whole. A node
that it lists but that cannot be reached may hold the connection: that is `unavailable`. A silent node, or
one that may be there and is not in the list, makes `unknown`.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from sanic_ws.core.flights import Forget, Lane, first_deadline
from sanic_ws.core.outcomes import ANSWERED, Answer, Outcome, Route
from sanic_ws.core.seeking import Probe, Seek

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sanic_ws.core.batch import Reply
    from sanic_ws.core.flights import Limits, Listing
    from sanic_ws.core.gates import Gates
    from sanic_ws.core.ledger import Ledger
    from sanic_ws.core.members import Members
    from sanic_ws.core.outcomes import Cause
    from sanic_ws.core.push import Item
    from sanic_ws.core.seeking import Action


class Fallback:
    """Hold what is to be asked of all nodes, and what has been asked.

    Args:
        limits: bounds.
        ids: where batches get their numbers.
        members: the cluster's nodes.
        gates: of all targets.
        ledger: where items end.
        actions: where what is to be done is put.

    Attributes:
        causes: how many items came for which cause.
    """

    def __init__(
        self,
        limits: Limits,
        ids: Iterator[int],
        members: Members,
        gates: Gates,
        ledger: Ledger,
        actions: list[Action],
    ) -> None:
        self._limits = limits
        self._ids = ids
        self._members = members
        self._gates = gates
        self._ledger = ledger
        self._actions = actions
        self.causes: Counter[Cause] = Counter()
        self._lane = Lane()
        self._seeks: dict[int, Seek] = {}
        self._budget: float = limits.seek_items_per_s
        self._budget_at = -inf

    # What goes out

    def add(self, item: Item, cause: Cause, now: float) -> None:
        """Have an item asked for, or end it as `overloaded` where too many wait already."""
        self.causes[cause] += 1
        gate = item.gate if item.placed else self._gates.put(item)
        assert gate is not None
        gate.blocked = True
        item.node = None
        if len(self._lane.pending) < self._limits.seek_items:
            self._lane.append(item)
        else:
            self._ledger.give_up(item, Outcome.OVERLOADED, now)

    def start(self) -> None:
        """Start the next batch, if there is one and the budget allows it."""
        if not self._lane.pending or len(self._seeks) >= self._limits.seeks or self._budget < 1:
            return
        items = self._lane.take(min(self._limits.batch_items, int(self._budget)), self._limits.batch_bytes)
        self._budget -= len(items)
        seek = Seek(next(self._ids), "", items, first_deadline(items))
        self._seeks[seek.id] = seek
        self._actions.append(seek)

    def expect(self, seek: Seek, listing: Listing | None) -> None:
        """Take in which nodes there are, before a batch is sent; None if the registry is out of reach."""
        members = self._members
        seek.certain = listing is not None
        seek.whole = listing is not None and listing.whole
        seek.listed = members.listed
        seek.suspects |= members.known & members.gone.keys()
        if members.complete or not seek.whole:
            seek.expect = set(members.known)

    def broadcast(self, seek: Seek, now: float) -> None:
        """Take in that a batch was sent: see whether the queues that were missing still are."""
        seek.broadcast_at = now
        self._actions.extend(Probe(node, seek) for node in seek.suspects)

    # What comes in

    def replied(self, reply: Reply, now: float) -> None:
        """Take in a node's answers. One that is too late, or nobody's, is ignored."""
        seek = self._seeks.get(reply.id)
        if seek is not None and len(reply.answers) == len(seek.items) and reply.node not in seek.answered:
            seek.take(reply)
            self._settle_delivered(seek, now)
            self._conclude_if_complete(seek, now)

    def nobody_heard(self, seek: Seek, now: float) -> None:
        """Take in that a batch came back: no node's queue is there, nothing was sent."""
        if seek.expect is None or not (seek.certain and seek.whole):
            self.failed(seek, Outcome.UNAVAILABLE, now)
        elif seek.id in self._seeks:
            seek.gone |= seek.expect
            self._conclude_if_complete(seek, now)

    def probe_returned(self, probe: Probe, now: float) -> None:
        """Take in that a node's queue is not there."""
        node, seek = probe
        self._members.lost(node, now)
        if seek.id in self._seeks:
            if not seek.sent:
                seek.suspects.add(node)
            elif node in seek.suspects:
                seek.gone.add(node)
            elif node not in seek.answered:
                seek.vanished.add(node)
                seek.vanished_at = now
            self._conclude_if_complete(seek, now)

    def failed(self, seek: Seek, outcome: Outcome, now: float) -> None:
        """Take in that a batch could not be handed to the broker."""
        if self._seeks.pop(seek.id, None) is not None:
            for item in seek.items:
                if not item.settled:
                    self._ledger.give_up(item, outcome, now)

    # Time

    def expire(self, now: float) -> None:
        """End what is past its deadline, and probe nodes that are silent."""
        rate = self._limits.seek_items_per_s
        self._budget = min(rate, self._budget + rate * (now - self._budget_at))
        self._budget_at = now
        for seek in list(self._seeks.values()):
            if (self._ledger.closing or seek.deadline <= now) and self._expire_seek(seek, now):
                del self._seeks[seek.id]
                continue
            if not seek.probed and now - seek.broadcast_at > self._limits.probe_after_s:
                seek.probed = True
                self._actions.extend(Probe(node, seek) for node in seek.silent - seek.suspects)
            if seek.vanished or not seek.whole:
                self._conclude_if_complete(seek, now)
        if self._ledger.closing or self._lane.deadline <= now:
            self._lane.expire(lambda item: self._ledger.expire(item, now))

    def _expire_seek(self, seek: Seek, now: float) -> bool:
        """End what is late in a batch; say whether nothing is left of it."""
        for number, item in enumerate(seek.items):
            if not item.settled and item.is_user and self._ledger.is_late(item, now, sent=seek.sent):
                self._note_found(item, seek, number, now, all_said=False)
            self._ledger.expire(item, now, sent=seek.sent)
        return seek.is_over()

    @property
    def idle(self) -> bool:
        """Whether nothing is held here."""
        return not (self._seeks or self._lane.pending)

    # What the answers mean

    def _settle_delivered(self, seek: Seek, now: float) -> None:
        """Settle the connections that have the frame, or for which it waits, whatever else is said."""
        for number, (answer, node) in seek.said.items():
            item = seek.items[number]
            if item.settled or item.is_user:
                continue
            if answer is Answer.DELIVERED or answer is Answer.WAITING:
                item.node = node
                self._ledger.settle(item, ANSWERED[answer], Route.FALLBACK, now)
            elif answer is Answer.LEFT_OUT:
                self._ledger.close(item, now)

    def _conclude_if_complete(self, seek: Seek, now: float) -> None:
        if all(item.settled for item in seek.items):
            self._seeks.pop(seek.id, None)
        elif seek.complete and not self._is_waited_for(seek, now):
            del self._seeks[seek.id]
            for number, item in enumerate(seek.items):
                if item.settled:
                    continue
                if item.is_user:
                    self._conclude_user(item, seek, number, now)
                else:
                    self._conclude(item, seek, number, now)

    def _is_waited_for(self, seek: Seek, now: float) -> bool:
        """Say whether nodes that need not be there may yet answer."""
        if seek.vanished and now - seek.vanished_at < self._limits.leaving_s:
            return True
        return not seek.whole and now - seek.broadcast_at <= self._limits.strangers_s

    def _conclude(self, item: Item, seek: Seek, number: int, now: float) -> None:
        """Settle a connection's item as what all nodes together say of it."""
        said = seek.said.get(number)
        missing = _missing(seek)
        not_yet = said is not None and said.answer is Answer.NOT_YET
        if not_yet and (missing is None or not (seek.certain or seek.vanished)):
            self._gates.refuse(item, None)
        elif missing is not None:
            self._ledger.give_up(item, missing, now)
        elif said is None:
            self._conclude_nowhere(item, now)
        else:
            item.node = said.node
            self._ledger.settle(item, ANSWERED[said.answer], Route.FALLBACK, now)

    def _conclude_nowhere(self, item: Item, now: float) -> None:
        gate = item.gate
        assert gate is not None
        if gate.refused is not None:
            item.node = gate.refused.node
            self._actions.append(Forget(item.target, gate.refused, item.user))
        if item.parent is None:
            self._ledger.settle(item, Outcome.OFFLINE, None, now)
        else:
            self._ledger.close(item, now)

    def _conclude_user(self, item: Item, seek: Seek, number: int, now: float) -> None:
        self._note_found(item, seek, number, now)
        said = seek.said.get(number)
        missing = _missing(seek, strangers=number not in seek.found)
        if missing is not None:
            self._ledger.give_up(item, missing, now)
        elif said is not None and said.answer is Answer.EXPIRED:
            self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
        else:
            self._ledger.close(item, now)

    def _note_found(self, item: Item, seek: Seek, number: int, now: float, *, all_said: bool = True) -> None:
        """Write down what nodes said of a user's connections; others may have written what these refused."""
        for conn, (answer, node) in seek.found.get(number, {}).items():
            if not item.push.met_before(conn):
                outcome = ANSWERED.get(answer, Outcome.UNAVAILABLE)
                if outcome is not Outcome.DELIVERED and not all_said:
                    outcome = Outcome.UNKNOWN
                self._ledger.note(item.push, conn, node, Route.FALLBACK, outcome, now)


def _missing(seek: Seek, *, strangers: bool = True) -> Outcome | None:
    """Return what keeps a fallback from telling all, if a node that matters did not answer.

    With `strangers`, those matter that may be there and are not in the list.
    """
    if seek.vanished or not seek.certain or (strangers and not seek.whole):
        return Outcome.UNKNOWN
    if seek.gone & seek.listed:
        return Outcome.UNAVAILABLE
    return None
