"""Routing: which node gets which push, in which order, and what the answers mean.

A state machine without I/O. What happens goes in by its methods; what is to be done comes out of
`Router.take_look_up` and `Router.take_actions`, and its caller does it:

    submit → look-up → direct: one lane per owner ─ answered ─────────────────→ receipt
                          │         └─ queue gone, 'not mine' → look-up again ─┐
                          └─ nobody known, registry away → fallback: all nodes ┴→ receipt

*Lane.* While a lane's batch is unanswered its items collect, then go as one message.

*Gate.* Pushes to one target pass in the order in which they came: while an earlier one is in trouble the
later ones wait at its gate, and no other target waits.

*Truth.* A node that the registry lists but that cannot be reached may still hold the connection that it
is listed for: that is `unavailable`, not `offline`. A silent node makes `unknown`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from sanic_ws.core.batch import everyone_target
from sanic_ws.core.flights import Flight, Forget, Gate, Lane, Limits, LookUp, Owner, UserConnection
from sanic_ws.core.identity import Conn, User
from sanic_ws.core.outcomes import ANSWERED, Answer, Outcome, Route
from sanic_ws.core.push import Item, Push
from sanic_ws.core.seeking import Probe, Seek

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sanic_ws.core.batch import Reply
    from sanic_ws.core.hub import Hub
    from sanic_ws.core.identity import Everyone

EVERYONE = "*"
Action = Flight | Probe | Forget


class Router:
    """Route pushes; see the module's text.

    Args:
        node_id: the node that this router is part of, if any.
        hub: that node's connections; a push to one of them is written at once.
        limits: bounds.
    """

    def __init__(
        self, node_id: str | None = None, hub: Hub | None = None, limits: Limits | None = None
    ) -> None:
        self._node_id = node_id
        self._hub = hub
        self._limits = limits or Limits()
        self._ids = count(1)
        self._inbox: list[Item] = []
        self._relooks: list[Gate] = []
        self._resting: list[Gate] = []
        self._gates: dict[str, Gate] = {}
        self._waiting: set[Gate] = set()
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, Lane] = {}
        self._flights: dict[int, Flight] = {}
        self._seek_lane = Lane()
        self._seeks: dict[int, Seek] = {}
        self._seek_budget: float = self._limits.seek_items_per_s
        self._budget_at = -inf
        self._actions: list[Action] = []
        self._listed_nodes: set[str] = set()
        self._members: set[str] = set()
        self._gone_nodes: set[str] = set()
        self._unresolved = 0
        self._closing = False
        self.open_items = 0
        self.routes: Counter[Route] = Counter()
        self.outcomes: Counter[Outcome] = Counter()

    # What goes in and out

    def submit_all(self, pushes: Iterable[Push], now: float) -> None:
        """Take pushes in, in this order. Their receipts may be there before this returns."""
        with nullcontext() if self._hub is None else self._hub.corked():
            for push in pushes:
                self.submit(push, now)

    def submit(self, push: Push, now: float) -> None:
        """Take a push in. Its receipt may be there before this returns."""
        push.open = 1
        for target in push.targets if push.seen is None else _merged(push.targets):
            if isinstance(target, Conn):
                self._submit_conn(push, target.id, now)
            elif isinstance(target, User):
                self._submit_wild(push, f"@{target.key}", target, now)
            else:
                push.count_only()
                self._submit_wild(push, EVERYONE, None, now)
        push.settle()

    def take_look_up(self) -> LookUp | None:
        """Return what is to be looked up next, or None. One at a time: the next collects meanwhile."""
        if not self._inbox and not self._relooks:
            return None
        look_up = LookUp([], [], nodes=False, gates=self._relooks, items=self._inbox)
        self._relooks, self._inbox = [], []
        for gate in look_up.gates:
            if gate.is_user:
                look_up.users.append(gate.target[1:])
            else:
                look_up.conns.append(gate.target)
        for item in look_up.items:
            if item.user is not None:
                look_up.users.append(item.user.key)
            elif item.target is EVERYONE:
                look_up.nodes = True
            else:
                look_up.conns.append(item.target)
        return look_up

    def looked_up(
        self,
        look_up: LookUp,
        owners: Sequence[Owner | None] | None,
        users: Sequence[list[UserConnection]] | None,
        nodes: Iterable[str] | None,
        now: float,
    ) -> None:
        """Take in what the registry says; all `None` if it is out of reach."""
        if nodes is not None:
            self._learn(nodes)
        blind = owners is None or users is None
        next_owner = iter([None] * len(look_up.conns) if owners is None else owners).__next__
        next_user = iter([[]] * len(look_up.users) if users is None else users).__next__
        with nullcontext() if self._hub is None else self._hub.corked():
            for gate in look_up.gates:
                if gate.is_user:
                    self._resume_user(gate, next_user(), now)
                else:
                    self._resume(gate, next_owner(), now)
            for item in look_up.items:
                item.blind = blind
                if item.user is not None:
                    self._place_user(item, next_user(), now)
                elif item.target is EVERYONE:
                    self._place_everyone(item, complete=nodes is not None, now=now)
                else:
                    self._place(item, next_owner(), now)

    def take_actions(self) -> list[Action]:
        """Return what is to be done now."""
        for node, lane in self._ready.items():
            if lane.flight is not None:
                continue
            if lane.pending:
                self._start_flight(node, lane)
            else:
                self._lanes.pop(node, None)
        self._ready.clear()
        if self._seek_lane.pending and len(self._seeks) < self._limits.seeks and self._seek_budget >= 1:
            self._start_seek(self._take_from(self._seek_lane, int(self._seek_budget)))
        actions, self._actions = self._actions, []
        return actions

    def expect(self, seek: Seek, nodes: Iterable[str] | None) -> None:
        """Take in which nodes are live, before a fallback is sent; None if the registry is out of reach."""
        if nodes is not None:
            self._learn(nodes)
            seek.expect = set(self._members) or None
            seek.listed = self._listed_nodes
            seek.suspects = self._gone_nodes | (self._members - self._listed_nodes)

    def _learn(self, nodes: Iterable[str]) -> None:
        """Take in the list of live nodes. One that is not in it any more has left, or the list was lost."""
        self._listed_nodes = set(nodes)
        self._members = (self._members | self._listed_nodes) - (self._gone_nodes - self._listed_nodes)
        self._gone_nodes &= self._members

    def broadcast(self, seek: Seek) -> None:
        """Take in that a fallback was sent: see whether the queues that were missing still are."""
        self._actions.extend(Probe(node, seek) for node in seek.suspects)

    def replied(self, reply: Reply, now: float) -> None:
        """Take in a node's answers. One that is too late, or nobody's, is ignored."""
        self._gone_nodes.discard(reply.node)
        self._members.add(reply.node)
        flight = self._flights.get(reply.id)
        if flight is not None and flight.node == reply.node and len(reply.answers) == len(flight.items):
            self._land(flight)
            self._take_answers(flight, reply, now)
            return
        seek = self._seeks.get(reply.id)
        if seek is not None and len(reply.answers) == len(seek.items) and reply.node not in seek.answered:
            seek.take(reply)
            self._settle_delivered(seek, now)
            self._conclude_if_complete(seek, now)

    def returned(self, flight: Flight, now: float) -> None:
        """Take in that a batch came back: the node's queue is gone, nothing was sent."""
        if self._flights.get(flight.id) is not flight:
            return
        self._gone_nodes.add(flight.node)
        self._land(flight)
        for item in flight.items:
            if item.settled:
                continue
            if item.gate is not None:
                self._refuse(item, item.gate.owner)
            elif flight.node in self._listed_nodes:
                self._give_up(item, Outcome.UNAVAILABLE, now)
            else:
                self._close(item, now)
        self._withdraw(flight.node)

    def failed(self, flight: Flight, outcome: Outcome, now: float) -> None:
        """Take in that a batch, or a fallback, could not be handed to the broker."""
        if isinstance(flight, Seek):
            if self._seeks.pop(flight.id, None) is None:
                return
        elif self._flights.get(flight.id) is flight:
            self._land(flight)
        else:
            return
        for item in flight.items:
            if not item.settled:
                self._give_up(item, outcome, now)

    def nobody_heard(self, seek: Seek, now: float) -> None:
        """Take in that a fallback came back: no node's queue is there, nothing was sent."""
        if seek.expect is None:
            self.failed(seek, Outcome.UNAVAILABLE, now)
        elif seek.id in self._seeks:
            seek.gone |= seek.expect
            self._conclude_if_complete(seek, now)

    def probe_returned(self, probe: Probe, now: float) -> None:
        """Take in that a silent node's queue is gone."""
        node, seek = probe
        self._gone_nodes.add(node)
        if seek.id in self._seeks:
            (seek.gone if node in seek.suspects else seek.vanished).add(node)
            self._conclude_if_complete(seek, now)

    def expire(self, now: float) -> None:
        """End what is past its deadline, probe silent nodes, look again for who was not ready."""
        rate = self._limits.seek_items_per_s
        self._seek_budget = min(rate, self._seek_budget + rate * (now - self._budget_at))
        self._budget_at = now
        self._relooks += self._resting
        self._resting.clear()
        for flight in [f for f in self._flights.values() if self._closing or f.deadline <= now]:
            if self._expire_flight(flight, now):
                self._land(flight)
        for seek in list(self._seeks.values()):
            if (self._closing or seek.deadline <= now) and self._expire_flight(seek, now):
                del self._seeks[seek.id]
            elif not seek.probed and seek.sent and now - seek.started > self._limits.probe_after_s:
                seek.probed = True
                self._actions.extend(Probe(node, seek) for node in seek.silent - seek.suspects)
        for lane in [*self._lanes.values(), self._seek_lane]:
            if self._closing or lane.deadline <= now:
                lane.pending = [i for i in lane.pending if not self._expire_item(i, sent=False, now=now)]
                lane.deadline = min((item.push.deadline for item in lane.pending), default=inf)
        for gate in list(self._waiting):
            waiting = gate.waiting or ()
            gate.waiting = [item for item in waiting if not self._expire_item(item, sent=False, now=now)]
            if not gate.waiting:
                self._waiting.discard(gate)

    def close(self, look_up: LookUp | None, now: float) -> None:
        """End everything: what is with a node as `unknown`, all else as `unavailable`.

        Args:
            look_up: the one under way, if any.
            now: the time.
        """
        self._closing = True
        while self.open_items:
            look_up = look_up or self.take_look_up()
            if look_up is not None:
                self.looked_up(look_up, None, None, None, now)
                look_up = None
            self.expire(now)
        self._relooks.clear()
        self._resting.clear()
        self._lanes.clear()
        self._ready.clear()
        self._actions.clear()

    # Submitting

    def _submit_conn(self, push: Push, conn: str, now: float) -> None:
        if conn in push.exclude or (push.seen is not None and _seen(push.seen, conn)):
            return
        gate = self._gates.get(conn)
        if gate is None and self._hub is not None and not self._unresolved:
            outcome = ANSWERED.get(self._answer_here(push, conn))
            if outcome is not None:
                self._note(push, conn, self._node_id, Route.LOCAL, outcome, now)
                return
        if self._has_room(push, conn, now):
            self._inbox.append(self._open(Item(push, conn, gate or self._gate(conn))))

    def _submit_wild(self, push: Push, target: str, user: User | None, now: float) -> None:
        if self._has_room(push, None, now):
            item = self._open(Item(push, target, None if user is None else self._gate(target), user))
            self._let_wild(item)
            self._inbox.append(item)

    def _has_room(self, push: Push, conn: str | None, now: float) -> bool:
        if self.open_items < self._limits.open_items:
            return True
        self._note(push, conn, None, None, Outcome.OVERLOADED, now)
        return False

    def _open(self, item: Item) -> Item:
        item.push.open += 1
        self.open_items += 1
        if item.gate is not None:
            item.gate.items += 1
        return item

    def _let_wild(self, item: Item) -> None:
        """While an item may be for any connection nothing may overtake it on this very node."""
        item.wild = True
        self._unresolved += 1

    def _tame(self, item: Item) -> None:
        if item.wild:
            item.wild = False
            self._unresolved -= 1

    def _gate(self, target: str) -> Gate:
        gate = self._gates.get(target)
        if gate is None:
            self._gates[target] = gate = Gate(target)
        return gate

    # Placing

    def _place(self, item: Item, owner: Owner | None, now: float) -> None:
        gate = item.gate
        assert gate is not None
        if gate.blocked or gate.waiting or (gate.placed and gate.owner != owner):
            self._wait(item)
        elif self._closing or item.push.deadline <= now:
            self._give_up(item, Outcome.UNAVAILABLE, now)
        elif owner is None:
            self._seek(item, now)
        else:
            self._dispatch(item, owner, now)

    def _dispatch(self, item: Item, owner: Owner, now: float) -> None:
        gate = self._put(item)
        gate.owner = owner
        item.node = owner.node
        if owner.node != self._node_id:
            self._lane(owner.node).append(item)
            return
        answer = self._answer_here(item.push, item.target, item.user)
        outcome = ANSWERED.get(answer)
        if outcome is None:
            self._refuse(item, None if answer is Answer.NOT_YET else owner)
        else:
            self._settle(item, outcome, Route.LOCAL, now)

    def _put(self, item: Item) -> Gate:
        gate = item.gate
        assert gate is not None
        gate.placed += 1
        item.placed = True
        return gate

    def _place_user(self, item: Item, found: list[UserConnection], now: float) -> None:
        """Split a user's item up by connection; it ends with the last of them."""
        gate, user, push = item.gate, item.user, item.push
        assert gate is not None
        assert user is not None
        if gate.blocked or gate.waiting or (gate.placed and gate.listed != found):
            self._wait(item)
            return
        kind = user.from_type
        wanted = found if kind is None else [c for c in found if c.from_type == kind]
        if self._closing or push.deadline <= now:
            self._give_up(item, Outcome.UNAVAILABLE, now)
        elif not wanted:
            self._seek(item, now)
        else:
            self._put(item)
            self._tame(item)
            gate.listed = found
            item.children = 1
            for conn, owner, _ in wanted:
                if conn in push.exclude or (push.seen is not None and _seen(push.seen, conn)):
                    item.found = True
                else:
                    item.children += 1
                    self._place(self._open(Item(push, conn, self._gate(conn), user, item)), owner, now)
            self._end_child(item, now)

    def _end_child(self, parent: Item, now: float) -> None:
        """Count a connection that is settled; if nothing came of any, ask everybody for the user."""
        parent.children -= 1
        if parent.children:
            return
        if parent.found:
            self._close(parent, now)
        else:
            self._let_wild(parent)
            self._seek(parent, now)

    def _place_everyone(self, item: Item, *, complete: bool, now: float) -> None:
        push = item.push
        here = set() if self._hub is None or self._node_id is None else {self._node_id}
        nodes = self._members | here
        if not nodes or self._closing or push.deadline <= now:
            self._give_up(item, Outcome.UNAVAILABLE, now)
            return
        if not complete:
            push.count(Outcome.UNKNOWN, 1)
        for node in nodes:
            if node == self._node_id and self._hub is not None:
                answers = self._hub.deliver_to_all(push.frame, push.exclude)
                for answer, number in answers.items():
                    push.count(ANSWERED[answer], number)
            else:
                share = self._open(Item(push, everyone_target(push.exclude), None))
                share.node = node
                self._lane(node).append(share)
        self._close(item, now)

    def _answer_here(self, push: Push, conn: str, user: User | None = None) -> Answer:
        assert self._hub is not None
        if push.close_code is None:
            return self._hub.deliver(conn, push.frame, None if user is None else user.key)
        return self._hub.close(conn, push.close_code)

    # Lanes

    def _lane(self, node: str) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            self._lanes[node] = lane = Lane()
        if lane.flight is None:
            self._ready[node] = lane
        return lane

    def _take_from(self, lane: Lane, most: int | None = None) -> list[Item]:
        items = self._limits.batch_items
        return lane.take(items if most is None else min(items, most), self._limits.batch_bytes)

    def _start_flight(self, node: str, lane: Lane) -> None:
        items = self._take_from(lane)
        lane.flight = Flight(next(self._ids), node, items, _first_deadline(items))
        self._flights[lane.flight.id] = lane.flight
        self._actions.append(lane.flight)

    def _land(self, flight: Flight) -> None:
        del self._flights[flight.id]
        lane = self._lanes[flight.node]
        lane.flight = None
        self._ready[flight.node] = lane

    def _take_answers(self, flight: Flight, reply: Reply, now: float) -> None:
        refused = False
        for number, (item, code) in enumerate(zip(flight.items, reply.answers, strict=True)):
            if item.settled:
                continue
            if code == Answer.DELIVERED:
                self._settle(item, Outcome.DELIVERED, Route.DIRECT, now)
            elif item.gate is None:
                self._take_share(item, reply.details.get(number), now)
            elif code in ANSWERED:
                self._give_up(item, ANSWERED[Answer(code)], now)
            elif code == Answer.SEVERAL:
                self._give_up(item, Outcome.UNKNOWN, now)
            else:
                refused = True
                self._refuse(item, None if code == Answer.NOT_YET else item.gate.owner)
        if refused:
            self._withdraw(flight.node)

    def _take_share(self, item: Item, details: Sequence[tuple[int, int]] | None, now: float) -> None:
        """Add up what a node says of a push to everyone; without details it was not carried out."""
        if details is None:
            self._give_up(item, Outcome.UNAVAILABLE, now)
            return
        for answer, number in details:
            outcome = ANSWERED.get(answer)  # type: ignore[call-overload] # any number may come
            if outcome is not None and isinstance(number, int) and number > 0:
                item.push.count(outcome, number)
        self._close(item, now)

    def _withdraw(self, node: str) -> None:
        """Take back from a lane what must not overtake an item that was refused."""
        lane = self._lanes.get(node)
        if lane is None:
            return
        pending, lane.pending = lane.pending, []
        for item in pending:
            if item.gate is not None and item.gate.blocked:
                self._refuse(item, item.gate.refused)
            else:
                lane.pending.append(item)

    # Gates

    def _refuse(self, item: Item, by: Owner | None) -> None:
        """Take an item back that was certainly not sent, to look its target up again.

        Args:
            item: it.
            by: who does not have the connection; None if it is worth asking again.
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

    def _wait(self, item: Item) -> None:
        gate = item.gate
        assert gate is not None
        if gate.waiting is None:
            gate.waiting = []
        gate.waiting.append(item)
        self._waiting.add(gate)
        self._pass_on(gate)

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

    def _resume(self, gate: Gate, owner: Owner | None, now: float) -> None:
        """Send what waits at a gate on its way, in order, to where the registry now says."""
        nowhere = owner is None or owner == gate.refused
        for item in self._reopen(gate):
            if gate.waiting or (gate.blocked and not nowhere):
                self._wait(item)
            elif self._expire_item(item, sent=False, now=now):
                continue
            elif owner is None or nowhere:
                self._seek(item, now)
            else:
                self._dispatch(item, owner, now)

    def _resume_user(self, gate: Gate, found: list[UserConnection], now: float) -> None:
        for item in self._reopen(gate):
            if not found and not gate.waiting and not self._expire_item(item, sent=False, now=now):
                self._seek(item, now)
            elif not item.settled:
                self._place_user(item, found, now)

    def _reopen(self, gate: Gate) -> Sequence[Item]:
        items, gate.waiting = gate.waiting or (), None
        self._waiting.discard(gate)
        gate.looking = gate.blocked = False
        return items

    # The fallback

    def _seek(self, item: Item, now: float) -> None:
        gate = item.gate if item.placed else self._put(item)
        assert gate is not None
        gate.blocked = True
        item.node = None
        if len(self._seek_lane.pending) < self._limits.seek_items:
            self._seek_lane.append(item)
        else:
            self._give_up(item, Outcome.OVERLOADED, now)

    def _start_seek(self, items: list[Item]) -> None:
        self._seek_budget -= len(items)
        started = max(item.push.started for item in items)
        seek = Seek(next(self._ids), "", items, _first_deadline(items), started=started)
        self._seeks[seek.id] = seek
        self._actions.append(seek)

    def _settle_delivered(self, seek: Seek, now: float) -> None:
        """Settle the connections that have the frame, without waiting for who else says what."""
        for number, (answer, node) in seek.said.items():
            item = seek.items[number]
            if answer is Answer.DELIVERED and not item.settled and not item.is_user:
                item.node = node
                self._settle(item, Outcome.DELIVERED, Route.FALLBACK, now)

    def _conclude_if_complete(self, seek: Seek, now: float) -> None:
        if all(item.settled for item in seek.items):
            self._seeks.pop(seek.id, None)
        elif seek.complete:
            del self._seeks[seek.id]
            for number, item in enumerate(seek.items):
                if item.settled:
                    continue
                if item.is_user:
                    self._conclude_user(item, seek, number, now)
                else:
                    self._conclude(item, seek, number, now)

    def _conclude(self, item: Item, seek: Seek, number: int, now: float) -> None:
        """Settle a connection's item as what all nodes together say of it."""
        gate = item.gate
        assert gate is not None
        said = seek.said.get(number)
        missing = self._missing(item, seek)
        if missing is not None:
            self._give_up(item, missing, now)
        elif said is not None and said.answer is Answer.NOT_YET:
            self._refuse(item, None)
        elif said is not None:
            item.node = said.node
            self._settle(item, ANSWERED[said.answer], Route.FALLBACK, now)
        else:
            if gate.refused is not None:
                item.node = gate.refused.node
                self._actions.append(Forget(item.target, gate.refused, item.user))
            if item.parent is None:
                self._settle(item, Outcome.OFFLINE, None, now)
            else:
                self._close(item, now)

    def _conclude_user(self, item: Item, seek: Seek, number: int, now: float) -> None:
        self._note_found(item, seek, number, now)
        said = seek.said.get(number)
        missing = self._missing(item, seek)
        if missing is not None:
            self._give_up(item, missing, now)
        elif said is not None and said.answer is Answer.EXPIRED:
            self._give_up(item, Outcome.UNAVAILABLE, now)
        else:
            self._close(item, now)

    def _note_found(self, item: Item, seek: Seek, number: int, now: float) -> None:
        for conn, (answer, node) in seek.found.get(number, {}).items():
            if item.push.seen is None or not _seen(item.push.seen, conn):
                outcome = ANSWERED.get(answer, Outcome.UNAVAILABLE)
                self._note(item.push, conn, node, Route.FALLBACK, outcome, now)

    def _missing(self, item: Item, seek: Seek) -> Outcome | None:
        """Return what keeps a fallback from telling all, if a node that matters did not answer."""
        if seek.vanished:
            return Outcome.UNKNOWN
        refused = None if item.gate is None else item.gate.refused
        unreachable = seek.gone & seek.listed
        if unreachable and (item.blind or (refused is not None and refused.node in unreachable)):
            return Outcome.UNAVAILABLE
        return None

    # Settling

    def _settle(self, item: Item, outcome: Outcome, route: Route | None, now: float) -> None:
        self._note(item.push, item.target, item.node, route, outcome, now)
        if item.parent is not None:
            item.parent.found = True
        self._close(item, now)

    def _give_up(self, item: Item, outcome: Outcome, now: float) -> None:
        """Settle an item that nobody answered for."""
        sent = outcome is not Outcome.UNAVAILABLE and outcome is not Outcome.OVERLOADED
        route = (Route.FALLBACK if item.node is None else Route.DIRECT) if sent else None
        if item.gate is None or item.is_user:
            self._note(item.push, None, item.node, route, outcome, now)
            self._close(item, now)
        else:
            self._settle(item, outcome, route, now)

    def _note(
        self,
        push: Push,
        conn: str | None,
        node: str | None,
        route: Route | None,
        outcome: Outcome,
        now: float,
    ) -> None:
        push.add(conn, node, route, outcome, now)
        self.outcomes[outcome] += 1
        if route is not None:
            self.routes[route] += 1

    def _close(self, item: Item, now: float) -> None:
        """End an item; let what waits at its gate pass."""
        item.settled = True
        self.open_items -= 1
        if item.wild:
            self._tame(item)
        gate = item.gate
        if gate is not None:
            if item.placed:
                gate.placed -= 1
            gate.items -= 1
            if gate.items:
                self._pass_on(gate)
            else:
                self._gates.pop(gate.target, None)
                self._waiting.discard(gate)
        if item.parent is not None:
            self._end_child(item.parent, now)
        item.push.settle()

    # Time

    def _expire_item(self, item: Item, *, sent: bool, now: float) -> bool:
        if item.settled or (item.push.deadline > now and not self._closing):
            return item.settled
        self._give_up(item, Outcome.UNKNOWN if sent else Outcome.UNAVAILABLE, now)
        return True

    def _expire_flight(self, flight: Flight, now: float) -> bool:
        """End what is late in a batch; say whether nothing is left of it."""
        for number, item in enumerate(flight.items):
            late = not item.settled and (self._closing or item.push.deadline <= now)
            if late and isinstance(flight, Seek) and item.is_user:
                self._note_found(item, flight, number, now)
            self._expire_item(item, sent=flight.sent, now=now)
        left = [item for item in flight.items if not item.settled]
        flight.deadline = _first_deadline(left)
        return not left


def _first_deadline(items: Iterable[Item]) -> float:
    return min((item.push.deadline for item in items), default=inf)


def _merged(targets: Sequence[Conn | User | Everyone]) -> list[Conn | User | Everyone]:
    """Name a user once who is named for all devices and for some kinds of them."""
    everywhere = {t.key for t in targets if isinstance(t, User) and t.from_type is None}
    merged: dict[object, Conn | User | Everyone] = {}
    for target in targets:
        if isinstance(target, User) and target.key in everywhere and target.from_type is not None:
            continue
        merged.setdefault(target, target)
    return list(merged.values())


def _seen(seen: set[str], conn: str) -> bool:
    """Say whether the connection was met before, and remember it."""
    if conn in seen:
        return True
    seen.add(conn)
    return False
