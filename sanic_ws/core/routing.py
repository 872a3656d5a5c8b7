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
from sanic_ws.core.flights import (
    Action,
    Flight,
    Forget,
    Gate,
    Lane,
    Limits,
    LookUp,
    Owner,
    Probe,
    UserConnection,
)
from sanic_ws.core.identity import Conn, User
from sanic_ws.core.outcomes import ANSWERED, Answer, Outcome, Route
from sanic_ws.core.push import Item, Push

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sanic_ws.core.batch import Reply
    from sanic_ws.core.hub import Hub

EVERYONE = "*"
_NOT_MINE = bytes([Answer.NOT_MINE])


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
        self._gates: dict[str, Gate] = {}
        self._waiting: set[Gate] = set()
        self._lanes: dict[str, Lane] = {}
        self._flights: dict[int, Flight] = {}
        self._ready: dict[str, Lane] = {}
        self._seek_lane = Lane()
        self._seeks: dict[int, Flight] = {}
        self._actions: list[Action] = []
        self._known_nodes: set[str] | None = None
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
        for target in push.targets:
            if isinstance(target, Conn):
                self._submit_conn(push, target.id, now)
            elif isinstance(target, User):
                self._submit_wild(push, f"@{target.key}", target, now)
            else:
                self._submit_wild(push, EVERYONE, None, now)
        push.settle()

    def take_look_up(self) -> LookUp | None:
        """Return what is to be looked up next, or None. One at a time: the next collects meanwhile."""
        if not self._inbox and not self._relooks:
            return None
        look_up = LookUp([], [], nodes=False, gates=self._relooks, items=self._inbox)
        self._relooks, self._inbox = [], []
        for gate in look_up.gates:
            (look_up.users if gate.target[0] == "@" else look_up.conns).append(gate.target.removeprefix("@"))
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
        with nullcontext() if self._hub is None else self._hub.corked():
            self._looked_up(look_up, owners, users, nodes, now)

    def _looked_up(
        self,
        look_up: LookUp,
        owners: Sequence[Owner | None] | None,
        users: Sequence[list[UserConnection]] | None,
        nodes: Iterable[str] | None,
        now: float,
    ) -> None:
        if nodes is not None:
            self._known_nodes = set(nodes)
        next_owner = iter(owners if owners is not None else [None] * len(look_up.conns)).__next__
        next_user = iter(users if users is not None else [[]] * len(look_up.users)).__next__
        for gate in look_up.gates:
            if gate.target[0] == "@":
                self._resume_user(gate, next_user(), now)
            else:
                self._resume(gate, next_owner(), now)
        for item in look_up.items:
            if item.user is not None:
                self._place_user(item, next_user(), now)
            elif item.target is EVERYONE:
                self._place_everyone(item, complete=nodes is not None, now=now)
            else:
                self._place(item, next_owner(), now)

    def take_actions(self) -> list[Action]:
        """Return what is to be done now."""
        for node, lane in self._ready.items():
            if lane.flight is None and lane.pending:
                self._start_flight(node, lane)
        self._ready.clear()
        if self._seek_lane.pending and len(self._seeks) < self._limits.seeks:
            self._start_seek()
        actions, self._actions = self._actions, []
        return actions

    def expect(self, flight: Flight, nodes: Iterable[str] | None) -> None:
        """Take in which nodes are live, before a fallback is sent; None if the registry is out of reach."""
        flight.expect = None if nodes is None else set(nodes)

    def replied(self, reply: Reply, now: float) -> None:
        """Take in a node's answers. One that is too late, or nobody's, is ignored."""
        flight = self._flights.get(reply.id)
        if flight is not None and flight.node == reply.node and len(reply.answers) == len(flight.items):
            self._land(flight)
            self._take_answers(flight, reply, now)
            return
        seek = self._seeks.get(reply.id)
        if seek is not None and len(reply.answers) == len(seek.items) and reply.node not in seek.answered:
            self._take_seek_answers(seek, reply, now)

    def returned(self, flight: Flight, now: float) -> None:
        """Take in that a batch came back: the node's queue is gone, nothing was sent."""
        if self._flights.get(flight.id) is not flight:
            return
        self._land(flight)
        for item in flight.items:
            if item.settled:
                continue
            if item.gate is None:
                self._give_up(item, Outcome.UNAVAILABLE, now)
            else:
                self._refuse(item, item.gate.owner)
        self._withdraw(flight.node)

    def failed(self, flight: Flight, outcome: Outcome, now: float) -> None:
        """Take in that a batch, or a fallback, could not be handed to the broker."""
        if flight.node is not None:
            if self._flights.get(flight.id) is not flight:
                return
            self._land(flight)
        elif self._seeks.pop(flight.id, None) is None:
            return
        for item in flight.items:
            if not item.settled:
                self._give_up(item, outcome, now)

    def nobody_heard(self, seek: Flight, now: float) -> None:
        """Take in that a fallback came back: no node's queue is there."""
        if seek.expect is None:
            self.failed(seek, Outcome.UNAVAILABLE, now)
        elif self._seeks.get(seek.id) is seek:
            seek.gone |= seek.expect
            self._conclude_seek_if_complete(seek, now)

    def probe_returned(self, probe: Probe, now: float) -> None:
        """Take in that a silent node's queue is gone."""
        if self._seeks.get(probe.flight.id) is probe.flight:
            probe.flight.gone.add(probe.node)
            self._conclude_seek_if_complete(probe.flight, now)

    def expire(self, now: float) -> None:
        """End what is past its deadline, and probe nodes that are silent."""
        for flight in [f for f in self._flights.values() if self._closing or f.deadline <= now]:
            self._expire_flight(flight, now)
        for seek in list(self._seeks.values()):
            self._expire_seek(seek, now)
        for lane in [*self._lanes.values(), self._seek_lane]:
            if self._closing or lane.deadline <= now:
                self._expire_lane(lane, now)
        for gate in list(self._waiting):
            waiting = gate.waiting or ()
            gate.waiting = [i for i in waiting if not self._expire_item(i, Outcome.UNAVAILABLE, now)]
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

    # Submitting

    def _submit_conn(self, push: Push, conn: str, now: float) -> None:
        if conn in push.exclude or (push.seen is not None and _seen(push.seen, conn)):
            return
        gate = self._gates.get(conn)
        if gate is None:
            if self._hub is not None and not self._unresolved:
                outcome = ANSWERED.get(self._answer_here(push, conn))
                if outcome is not None:
                    self._note(push, conn, self._node_id, Route.LOCAL, outcome, now)
                    return
            if self._refuse_overload(push, conn, now):
                return
            self._gates[conn] = gate = Gate(conn)
        elif self._refuse_overload(push, conn, now):
            return
        self._inbox.append(self._open(Item(push, conn, gate)))

    def _submit_wild(self, push: Push, key: str, user: User | None, now: float) -> None:
        if user is None:
            push.count_only()
        if self._refuse_overload(push, None, now):
            return
        self._unresolved += 1
        self._inbox.append(self._open(Item(push, key, None, user)))

    def _refuse_overload(self, push: Push, conn: str | None, now: float) -> bool:
        if self.open_items < self._limits.open_items:
            return False
        self._note(push, conn, None, None, Outcome.OVERLOADED, now)
        return True

    def _open(self, item: Item) -> Item:
        item.push.open += 1
        self.open_items += 1
        if item.gate is not None:
            item.gate.items += 1
        return item

    def _gate(self, target: str) -> Gate:
        gate = self._gates.get(target)
        if gate is None:
            self._gates[target] = gate = Gate(target)
        return gate

    # Placing

    def _place(self, item: Item, owner: Owner | None, now: float) -> None:
        gate = item.gate
        assert gate is not None
        if gate.blocked or gate.waiting or (gate.placed and owner is not None and gate.owner != owner):
            self._wait(item)
        elif self._closing or item.push.deadline <= now:
            self._settle(item, Outcome.UNAVAILABLE, None, now)
        elif owner is None:
            self._seek(item)
        else:
            self._dispatch(item, gate, owner, now)

    def _dispatch(self, item: Item, gate: Gate, owner: Owner, now: float) -> None:
        gate.owner = owner
        gate.placed += 1
        item.placed = True
        item.node = owner.node
        if owner.node != self._node_id:
            self._lane(owner.node).append(item)
            return
        answer = self._answer_here(item.push, item.target)
        outcome = ANSWERED.get(answer)
        if outcome is None:
            self._refuse(item, None if answer is Answer.NOT_YET else owner)
        else:
            self._settle(item, outcome, Route.LOCAL, now)

    def _place_user(self, item: Item, found: list[UserConnection], now: float) -> None:
        user, push = item.user, item.push
        assert user is not None
        kind = user.from_type
        wanted = found if kind is None else [c for c in found if c.from_type == kind]
        gate = self._gates.get(item.target)
        if gate is not None and (gate.blocked or gate.waiting):
            self._attach(item, gate)
            self._wait(item)
        elif not wanted:
            self._attach(item, gate or self._gate(item.target))
            self._seek(item)
        else:
            for conn, owner, _ in wanted:
                if conn not in push.exclude and not (push.seen is not None and _seen(push.seen, conn)):
                    self._place(self._open(Item(push, conn, self._gate(conn), user)), owner, now)
            self._close(item)

    def _attach(self, item: Item, gate: Gate) -> None:
        """Have a user's item keep its place; most never need to, as their connections' gates do."""
        if item.gate is None:
            item.gate = gate
            gate.items += 1

    def _place_everyone(self, item: Item, *, complete: bool, now: float) -> None:
        push = item.push
        if self._known_nodes is None:
            self._give_up(item, Outcome.UNAVAILABLE, now)
            return
        if not complete:
            push.count(Outcome.UNKNOWN, 1)
        for node in self._known_nodes:
            if node == self._node_id and self._hub is not None:
                answers = self._hub.deliver_to_all(push.frame, push.exclude)
                for answer, number in answers.items():
                    push.count(ANSWERED[answer], number)
            else:
                share = Item(push, everyone_target(push.exclude), None)
                share.node = node
                self._open(share)
                self._lane(node).append(share)
        self._close(item)

    def _answer_here(self, push: Push, conn: str) -> Answer:
        assert self._hub is not None
        if push.close_code is None:
            return self._hub.deliver(conn, push.frame)
        return self._hub.close(conn, push.close_code)

    # Lanes

    def _lane(self, node: str) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            self._lanes[node] = lane = Lane()
        if lane.flight is None:
            self._ready[node] = lane
        return lane

    def _start_flight(self, node: str, lane: Lane) -> None:
        items = lane.take(self._limits.batch_items, self._limits.batch_bytes)
        lane.flight = self._new_flight(node, items)
        self._flights[lane.flight.id] = lane.flight

    def _new_flight(self, node: str | None, items: list[Item]) -> Flight:
        deadline = min(item.push.deadline for item in items)
        started = max(item.push.started for item in items)
        flight = Flight(next(self._ids), node, items, deadline, started)
        self._actions.append(flight)
        return flight

    def _land(self, flight: Flight) -> None:
        assert flight.node is not None
        del self._flights[flight.id]
        lane = self._lanes[flight.node]
        lane.flight = None
        if lane.pending:
            self._ready[flight.node] = lane
        else:
            del self._lanes[flight.node]

    def _withdraw(self, node: str | None) -> None:
        """Take back from a lane what must not overtake an item that was refused."""
        lane = self._lanes.get(node) if node is not None else None
        if lane is None:
            return
        keep: list[Item] = []
        for item in lane.pending:
            if item.gate is not None and item.gate.blocked:
                self._refuse(item, item.gate.refused)
            else:
                keep.append(item)
        lane.pending = keep

    def _take_answers(self, flight: Flight, reply: Reply, now: float) -> None:
        refused = False
        for number, (item, code) in enumerate(zip(flight.items, reply.answers, strict=True)):
            if item.settled:
                continue
            if code == Answer.DELIVERED:
                self._settle(item, Outcome.DELIVERED, Route.DIRECT, now)
            elif code == Answer.SEVERAL:
                self._take_share(item, reply.details.get(number, []))
            elif code in ANSWERED:
                self._give_up(item, ANSWERED[Answer(code)], now)
            else:
                refused = True
                self._refuse(item, None if code == Answer.NOT_YET or item.gate is None else item.gate.owner)
        if refused:
            self._withdraw(flight.node)

    def _take_share(self, item: Item, details: Sequence[tuple[int, int]]) -> None:
        for answer, number in details:
            item.push.count(ANSWERED[Answer(answer)], number)
        self._close(item)

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

    def _pass_on(self, gate: Gate) -> None:
        """With nothing of a gate's on its way, look up again for what waits, or else open it."""
        if gate.placed or gate.looking:
            return
        if gate.retry or gate.waiting:
            gate.waiting = [*(gate.retry or ()), *(gate.waiting or ())]
            gate.retry = None
            gate.blocked = gate.looking = True
            self._waiting.add(gate)
            self._relooks.append(gate)
        else:
            gate.blocked = False
            gate.refused = None

    def _resume(self, gate: Gate, owner: Owner | None, now: float) -> None:
        """Send what waits at a gate on its way, in order, to where the registry now says."""
        items = self._reopen(gate)
        nowhere = owner is None or owner == gate.refused
        for item in items:
            if gate.waiting or (gate.blocked and not nowhere):
                self._wait(item)
            elif owner is None or nowhere:
                self._seek(item)
            else:
                self._dispatch(item, gate, owner, now)

    def _resume_user(self, gate: Gate, found: list[UserConnection], now: float) -> None:
        items = self._reopen(gate)
        if found:
            for item in items:
                self._place_user(item, found, now)
        else:
            for item in items:
                self._seek(item)

    def _reopen(self, gate: Gate) -> Sequence[Item]:
        items, gate.waiting = gate.waiting or (), None
        self._waiting.discard(gate)
        gate.looking = gate.blocked = False
        return items

    def _wait(self, item: Item) -> None:
        gate = item.gate
        assert gate is not None
        if gate.waiting is None:
            gate.waiting = []
        gate.waiting.append(item)
        self._waiting.add(gate)
        self._pass_on(gate)

    # The fallback

    def _seek(self, item: Item) -> None:
        gate = item.gate
        assert gate is not None
        gate.blocked = True
        gate.placed += 1
        item.placed = True
        item.node = None
        self._seek_lane.append(item)

    def _start_seek(self) -> None:
        flight = self._new_flight(
            None, self._seek_lane.take(self._limits.batch_items, self._limits.batch_bytes)
        )
        self._seeks[flight.id] = flight

    def _take_seek_answers(self, seek: Flight, reply: Reply, now: float) -> None:
        seek.answered.add(reply.node)
        if reply.answers.count(_NOT_MINE) < len(reply.answers):
            for number, code in enumerate(reply.answers):
                item = seek.items[number]
                if code == Answer.NOT_MINE or item.settled:
                    continue
                item.node = reply.node
                if code == Answer.SEVERAL:
                    for conn, answer in reply.details.get(number, []):
                        self._take_found(item, str(conn), Answer(answer), now)
                elif code == Answer.NOT_YET:
                    seek.not_yet.add(number)
                elif code == Answer.EXPIRED:
                    seek.expired = True
                else:
                    self._settle(item, ANSWERED[Answer(code)], Route.FALLBACK, now)
        self._conclude_seek_if_complete(seek, now)

    def _take_found(self, item: Item, conn: str, answer: Answer, now: float) -> None:
        if item.push.seen is None or not _seen(item.push.seen, conn):
            outcome = ANSWERED.get(answer, Outcome.UNAVAILABLE)
            self._note(item.push, conn, item.node, Route.FALLBACK, outcome, now)

    def _conclude_seek_if_complete(self, seek: Flight, now: float) -> None:
        if all(item.settled for item in seek.items):
            self._seeks.pop(seek.id, None)
        elif seek.expect is not None and seek.expect <= seek.answered | seek.gone:
            del self._seeks[seek.id]
            for number, item in enumerate(seek.items):
                if not item.settled:
                    self._conclude(item, seek, not_yet=number in seek.not_yet, now=now)

    def _conclude(self, item: Item, seek: Flight, *, not_yet: bool, now: float) -> None:
        """Settle an item that no node has, as far as all nodes that could answer say."""
        gate = item.gate
        assert gate is not None
        if not_yet:
            self._refuse(item, None)
        elif seek.expired or (gate.refused is not None and gate.refused.node in seek.gone):
            self._give_up(item, Outcome.UNAVAILABLE, now)
        else:
            if gate.refused is not None:
                item.node = gate.refused.node
                self._actions.append(Forget(item.target, gate.refused, item.user))
            if item.user is None:
                self._settle(item, Outcome.OFFLINE, None, now)
            else:
                self._close(item)

    # Settling

    def _settle(self, item: Item, outcome: Outcome, route: Route | None, now: float) -> None:
        self._note(item.push, item.target, item.node, route, outcome, now)
        self._close(item)

    def _give_up(self, item: Item, outcome: Outcome, now: float) -> None:
        """Settle an item that nobody answered for."""
        sent = outcome is not Outcome.UNAVAILABLE and outcome is not Outcome.OVERLOADED
        route = (Route.FALLBACK if item.node is None else Route.DIRECT) if sent else None
        known = item.gate is not None and item.target[0] != "@"
        self._note(item.push, item.target if known else None, item.node, route, outcome, now)
        self._close(item)

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

    def _close(self, item: Item) -> None:
        """End an item; let what waits at its gate pass."""
        item.settled = True
        self.open_items -= 1
        gate = item.gate
        if item.target[0] == "@" or (gate is None and item.node is None):
            self._unresolved -= 1
        if gate is not None:
            if item.placed:
                gate.placed -= 1
            gate.items -= 1
            if gate.items:
                self._pass_on(gate)
            else:
                self._gates.pop(gate.target, None)
                self._waiting.discard(gate)
        item.push.settle()

    # Time

    def _expire_item(self, item: Item, outcome: Outcome, now: float) -> bool:
        if item.settled or (item.push.deadline > now and not self._closing):
            return item.settled
        self._give_up(item, outcome, now)
        return True

    def _expire_lane(self, lane: Lane, now: float) -> None:
        lane.pending = [i for i in lane.pending if not self._expire_item(i, Outcome.UNAVAILABLE, now)]
        lane.deadline = min((item.push.deadline for item in lane.pending), default=inf)

    def _expire_flight(self, flight: Flight, now: float) -> None:
        for item in flight.items:
            self._expire_item(item, Outcome.UNKNOWN, now)
        left = [item.push.deadline for item in flight.items if not item.settled]
        if left:
            flight.deadline = min(left)
        else:
            self._land(flight)

    def _expire_seek(self, seek: Flight, now: float) -> None:
        if self._closing or seek.deadline <= now:
            for item in seek.items:
                self._expire_item(item, Outcome.UNKNOWN, now)
            left = [item.push.deadline for item in seek.items if not item.settled]
            if not left:
                self._seeks.pop(seek.id, None)
                return
            seek.deadline = min(left)
        if not seek.probed and seek.expect is not None and now - seek.started > self._limits.probe_after_s:
            seek.probed = True
            self._actions.extend(Probe(node, seek) for node in seek.expect - seek.answered)


def _seen(seen: set[str], conn: str) -> bool:
    """Say whether the connection was met before, and remember it."""
    if conn in seen:
        return True
    seen.add(conn)
    return False
