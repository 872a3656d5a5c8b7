"""Routing: which node gets which push, in which order, and what the answers mean.

A state machine without I/O. What happens goes in by its methods; what is to be done comes out of
`Router.take_look_up` and `Router.take_actions`, and its caller does it::

    submit → look-up → direct: one lane per owner ─ answered ─────────────────→ receipt
                          │         └─ queue gone, 'not mine' → look-up again ─┐
                          └─ nobody known, registry away → fallback: all nodes ┴→ receipt

Its parts: `gates` keep the order, `lanes` make batches for owners, `fallback` asks all nodes, `members`
knows these, `shares` split what is for many, and `ledger` ends each item, once.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from sanic_ws.core.calls import Calls
from sanic_ws.core.copies import Copies
from sanic_ws.core.fallback import Fallback
from sanic_ws.core.flights import Flight, Limits, LookUp
from sanic_ws.core.gates import Gates
from sanic_ws.core.hub import EVERYONE
from sanic_ws.core.identity import Conn, Group, User
from sanic_ws.core.lanes import Lanes
from sanic_ws.core.ledger import Ledger
from sanic_ws.core.members import Members
from sanic_ws.core.outcomes import ANSWERED, Answer, Cause, Outcome, Route
from sanic_ws.core.push import Item, Push
from sanic_ws.core.seeking import Action, Probe, Seek
from sanic_ws.core.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sanic_ws.core.acks import Acks
    from sanic_ws.core.batch import Reply
    from sanic_ws.core.copies import Copy
    from sanic_ws.core.flights import Found, Gate, Listing, Owner, UserConnection
    from sanic_ws.core.hub import Hub
    from sanic_ws.core.identity import Everyone
    from sanic_ws.core.orders import Order
    from sanic_ws.core.reports import Report

__all__ = ["Action", "Router"]


class Router:
    """Route pushes; see the module's text.

    Args:
        node_id: the node that this router is part of, if any.
        hub: that node's connections; a push to one of them is written at once.
        limits: bounds.
        acks: carries out what is ordered beside of that node.

    Attributes:
        stale_hits: how many items went to a node that did not have their connection, or was gone.
    """

    def __init__(
        self,
        node_id: str | None = None,
        hub: Hub | None = None,
        limits: Limits | None = None,
        acks: Acks | None = None,
    ) -> None:
        self._node_id = node_id
        self._hub = hub
        self._acks = acks
        self._limits = limits or Limits()
        ids = count(1)
        self._inbox: list[Item] = []
        self._actions: list[Action] = []
        self._members = Members()
        self._gates = Gates()
        self._lanes = Lanes(self._limits, ids)
        self._ledger = Ledger(self._gates, self._end_user)
        self._calls = Calls(self._ledger, self._actions.append, node_id, acks)
        self._ledger.watch(self._calls.follow, self._calls.take)
        self.stale_hits = 0
        self._missed = Cause.MISS
        self._copies = Copies(self._ledger, self._actions.append)
        self._fallback = Fallback(self._limits, ids, self._members, self._gates, self._ledger, self._actions)
        self._shares = Shares(node_id, hub, acks, self._members, self._lanes, self._ledger)

    @property
    def open_items(self) -> int:
        """How many deliveries are not settled."""
        return self._ledger.open_items

    @property
    def deliveries(self) -> Mapping[tuple[Route | None, Outcome], int]:
        """How many deliveries took which route, if any, and had which outcome."""
        return self._ledger.deliveries

    @property
    def gave_way(self) -> Mapping[tuple[Route | None, Outcome], int]:
        """How many of them were not seen to be written, as newer ones might have their place."""
        return self._ledger.gave_way

    @property
    def fallbacks(self) -> Mapping[Cause, int]:
        """How many deliveries went the way of the fallback, by cause."""
        return self._fallback.causes

    @property
    def idle(self) -> bool:
        """Whether nothing at all is held."""
        parts = (self._gates, self._lanes, self._fallback, self._calls, self._copies)
        open_items = self._ledger.open_items or self._ledger.wild_items
        return not (open_items or self._inbox or self._actions) and all(part.idle for part in parts)

    # Pushes and look-ups

    def submit_all(self, pushes: Iterable[Push], now: float) -> None:
        """Take pushes in, in this order. Their receipts may be there before this returns."""
        with self._corked():
            for push in pushes:
                self.submit(push, now)

    def submit(self, push: Push, now: float) -> None:
        """Take a push in. Its receipt may be there before this returns."""
        push.open = 1
        if push.order is not None and not self._open(push, push.order):
            return
        for target in push.targets if push.seen is None else _merged(push.targets):
            if isinstance(target, Conn):
                self._submit_conn(push, target.id, now)
            elif isinstance(target, User):
                self._submit_wild(push, f"@{target.key}", target, now)
            else:
                push.count_only()
                name = f"#{target.name}" if isinstance(target, Group) else EVERYONE
                self._submit_wild(push, name, None, now)
        push.settle()

    def take_look_up(self) -> LookUp | None:
        """Return what is to be looked up next, or None. One at a time: the next collects meanwhile."""
        gates = self._gates.take_relooks()
        if not self._inbox and not gates:
            return None
        look_up = LookUp([], [], nodes=False, gates=gates, items=self._inbox)
        self._inbox = []
        look_up.copies = self._copies.take_new()
        for gate in look_up.gates:
            if gate.is_user:
                look_up.users.append(gate.target[1:])
            else:
                look_up.conns.append(gate.target)
        for item in look_up.items:
            if item.user is not None:
                look_up.users.append(item.user.key)
            elif item.gate is None:
                look_up.nodes = True
                if item.is_group:
                    look_up.groups.append(item.target[1:])
            else:
                look_up.conns.append(item.target)
        return look_up

    def looked_up(
        self,
        look_up: LookUp,
        found: Found | None,
        listing: Listing | None,
        now: float,
        groups: Sequence[Collection[str]] = (),
    ) -> None:
        """Take in what the registry says; None where it is out of reach, nothing for groups."""
        if listing is not None:
            self._members.learn(listing, now)
        self._missed = Cause.REGISTRY if found is None else Cause.MISS
        found = found or look_up.nothing()
        known = self._copies.take_found(look_up, found) if look_up.copies else None
        owners, users, whole, _ = found
        if not whole:
            # A list that lacks one of the user's devices would leave it out without a word.
            users = [[]] * len(users)
        next_owner, next_user, nodes_of = iter(owners).__next__, iter(users).__next__, iter(groups)
        with self._corked():
            for gate in look_up.gates:
                if gate.is_user:
                    self._resume_user(gate, next_user(), now)
                else:
                    self._resume(gate, next_owner(), now)
            for item in look_up.items:
                if known and item.push in known and self._copies.covers(item):
                    self._skip(item, next_owner, next_user, nodes_of, now)
                elif item.user is not None:
                    self._place_user(item, next_user(), now)
                elif item.gate is None and item.is_group:
                    self._shares.place_group(item, next(nodes_of, None), listing, now)
                elif item.gate is None:
                    self._shares.place_everyone(item, certain=listing is not None, now=now)
                else:
                    self._place(item, next_owner(), now)

    def remembered(self, copy: Copy, earlier: bytes | None) -> None:
        """Take in that a receipt is kept, or that an earlier one of the same push is."""
        self._copies.remembered(copy, earlier)

    def learn(self, listing: Listing, now: float) -> None:
        """Take in which nodes there are."""
        self._members.learn(listing, now)

    def doubt(self, listing: Listing, now: float) -> set[str]:
        """Take in which nodes there are before a fallback is sent; return those to be probed before.

        One whose queue is missing then and afterwards has got nothing.
        """
        self._members.learn(listing, now)
        return self._members.suspects if listing.whole else set()

    @property
    def known_nodes(self) -> set[str]:
        """The nodes that were listed, or heard, and are not known to have left."""
        return set(self._members.known)

    # Batches

    def take_actions(self) -> list[Action]:
        """Return what is to be done now."""
        self._actions += self._lanes.start()
        self._fallback.start()
        actions = self._actions[:]
        self._actions.clear()
        return actions

    def expect(self, seek: Seek, listing: Listing | None) -> None:
        """Take in the list by which a fallback is sent; None if the registry is out of reach."""
        self._fallback.expect(seek, listing)

    def broadcast(self, seek: Seek, now: float) -> None:
        """Take in that a fallback was sent."""
        self._fallback.broadcast(seek, now)

    def replied(self, reply: Reply, now: float) -> None:
        """Take in a node's answers. One that is too late, or nobody's, is ignored."""
        self._members.heard(reply.node)
        flight = self._lanes.answered(reply)
        if flight is None:
            self._fallback.replied(reply, now)
        else:
            self._lanes.land(flight)
            self._take_answers(flight, reply, now)

    def reported(self, reports: Sequence[Report], now: float) -> None:
        """Take in what clients say of pushes that they were asked about."""
        self._calls.reported(reports, now)

    def returned(self, flight: Flight, now: float) -> None:
        """Take in that a batch came back: the node's queue is gone, nothing was sent."""
        if not self._lanes.has(flight):
            return
        self._members.lost(flight.node, now)
        self._lanes.land(flight)
        for item in flight.items:
            if item.settled:
                continue
            if item.gate is not None:
                self._refuse(item, item.gate.owner)
            elif flight.node in self._members.listed:
                self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
            else:
                self._ledger.close(item, now)
        self._withdraw(flight.node)

    def failed(self, flight: Flight, outcome: Outcome, now: float) -> None:
        """Take in that a batch, or a fallback, could not be handed to the broker."""
        if isinstance(flight, Seek):
            self._fallback.failed(flight, outcome, now)
        elif self._lanes.has(flight):
            self._lanes.land(flight)
            for item in flight.items:
                if not item.settled:
                    self._ledger.give_up(item, outcome, now)

    def nobody_heard(self, seek: Seek, now: float) -> None:
        """Take in that a fallback came back: no node's queue is there, nothing was sent."""
        self._fallback.nobody_heard(seek, now)

    def probe_returned(self, probe: Probe, now: float) -> None:
        """Take in that a node's queue is not there."""
        self._fallback.probe_returned(probe, now)

    def probe_arrived(self, probe: Probe) -> None:
        """Take in that a node's queue is there."""
        self._members.found(probe.node)

    # Time

    def expire(self, now: float) -> None:
        """End what is past its deadline, probe silent nodes, look again for who was not ready."""
        until = inf if self._ledger.closing else now
        self._gates.wake()
        for flight in self._lanes.late(until):
            for item in flight.items:
                self._ledger.expire(item, now, sent=flight.sent)
            if flight.is_over():
                self._lanes.land(flight)
        self._fallback.expire(now)
        self._lanes.expire(lambda item: self._ledger.expire(item, now), until)
        self._gates.expire(lambda item: self._ledger.expire(item, now))
        self._calls.expire(until, now)
        self._copies.expire(now)
        if self._ledger.closing:
            self._copies.close()

    def expire_unsent(self, flight: Flight, now: float) -> None:
        """End what has become too late while its batch was not sent."""
        for item in flight.items:
            self._ledger.expire(item, now)

    def close(self, look_up: LookUp | None, now: float) -> None:
        """End everything: what is with a node as `unknown`, all else as `unavailable`.

        Args:
            look_up: the one under way, if any.
            now: the time.
        """
        self._ledger.closing = True
        while self._ledger.open_items:
            look_up = look_up or self.take_look_up()
            if look_up is not None:
                self.looked_up(look_up, None, None, now)
                look_up = None
            self.expire(now)
        self._gates.clear()
        self._lanes.clear()
        self._actions.clear()

    # Submitting

    def _open(self, push: Push, order: Order) -> bool:
        """Take in what a push asks beside; say `False` if it only waits for another one's receipt."""
        room = self._ledger.open_items < self._limits.open_items
        if order.once and not self._copies.open(push, order, room=room):
            return False
        self._calls.open(push, order)
        return True

    def _submit_conn(self, push: Push, conn: str, now: float) -> None:
        if conn in push.exclude or (push.seen is not None and push.met_before(conn)):
            return
        gate = self._gates.find(conn)
        if gate is None and self._hub is not None and not (self._ledger.wild_items or _is_once(push)):
            answer = self._answer_here(push, conn)
            outcome = ANSWERED.get(answer)
            if outcome is not None:
                self._ledger.note(push, conn, self._node_id, Route.LOCAL, outcome, now)
                return
            if answer is Answer.LEFT_OUT:
                return
        if self._has_room(push, conn, now):
            self._inbox.append(self._ledger.open(Item(push, conn, gate or self._gates.get(conn))))

    def _submit_wild(self, push: Push, target: str, user: User | None, now: float) -> None:
        if self._has_room(push, None, now):
            gate = None if user is None else self._gates.get(target)
            item = self._ledger.open(Item(push, target, gate, user))
            self._ledger.let_wild(item)
            self._inbox.append(item)

    def _has_room(self, push: Push, conn: str | None, now: float) -> bool:
        if self._ledger.open_items < self._limits.open_items:
            return True
        self._ledger.note(push, conn, None, None, Outcome.OVERLOADED, now)
        return False

    # Placing

    def _skip(
        self,
        item: Item,
        next_owner: Callable[[], object],
        next_user: Callable[[], object],
        nodes_of: Iterator[object],
        now: float,
    ) -> None:
        """Pass over an item that another copy of its push has seen to, and what was looked up for it."""
        if item.user is not None:
            next_user()
        elif item.gate is not None:
            next_owner()
        elif item.is_group:
            next(nodes_of, None)
        self._ledger.close(item, now)

    def _place(self, item: Item, owner: Owner | None, now: float) -> None:
        gate = item.gate
        assert gate is not None
        if gate.blocked or gate.waiting or (gate.placed and gate.owner != owner):
            self._gates.wait(item)
        elif self._ledger.is_late(item, now):
            self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
        elif owner is not None:
            self._dispatch(item, owner, now)
        elif not (_is_once(item.push) and self._settle_here(item, now)):
            self._fallback.add(item, self._missed, now)

    def _settle_here(self, item: Item, now: float) -> bool:
        """End an item of which the registry knows nothing, if its connection is here."""
        if self._hub is None or self._ledger.wild_items:
            return False
        item.node = self._node_id
        if self._settle_local(item, self._answer_here(item.push, item.target, item.user), now):
            return True
        item.node = None
        return False

    def _settle_local(self, item: Item, answer: Answer, now: float) -> bool:
        """End an item as this node says; say `False` if its connection is not here, or not yet."""
        outcome = ANSWERED.get(answer)
        if outcome is not None:
            self._ledger.settle(item, outcome, Route.LOCAL, now)
        elif answer is Answer.LEFT_OUT:
            self._ledger.close(item, now)
        else:
            return False
        return True

    def _dispatch(self, item: Item, owner: Owner, now: float) -> None:
        gate = self._gates.put(item)
        gate.owner = owner
        item.node = owner.node
        if owner.node != self._node_id:
            self._lanes.append(owner.node, item)
            return
        answer = self._answer_here(item.push, item.target, item.user)
        if not self._settle_local(item, answer, now):
            self._refuse(item, None if answer is Answer.NOT_YET else owner)

    def _place_user(self, item: Item, found: list[UserConnection], now: float) -> None:
        """Split a user's item up by connection; it ends with the last of them."""
        gate, user, push = item.gate, item.user, item.push
        assert gate is not None
        assert user is not None
        if gate.blocked or gate.waiting or (gate.placed and gate.listed != found):
            self._gates.wait(item)
            return
        kind = user.from_type
        wanted = found if kind is None else [c for c in found if c.from_type == kind]
        if self._ledger.is_late(item, now):
            self._ledger.give_up(item, Outcome.UNAVAILABLE, now)
        elif not wanted:
            self._fallback.add(item, self._missed, now)
        else:
            self._gates.put(item)
            self._ledger.tame(item)
            gate.listed = found
            item.children = 1
            exclude = push.exclude and _left_out(push.exclude, user, found)
            for conn, owner, _ in wanted:
                if conn in exclude or (push.seen is not None and push.met_before(conn)):
                    item.found = True
                else:
                    item.children += 1
                    child = Item(push, conn, self._gates.get(conn), user, item)
                    self._place(self._ledger.open(child), owner, now)
            self._ledger.end_child(item, now)

    def _end_user(self, item: Item, now: float) -> None:
        """End a user's item with the last of its connections; if nothing came of any, ask everybody."""
        if item.gate is None:
            self._shares.end_group(item, now)
        elif item.found:
            self._ledger.close(item, now)
        else:
            self._ledger.let_wild(item)
            self._fallback.add(item, Cause.STALE, now)

    def _resume(self, gate: Gate, owner: Owner | None, now: float) -> None:
        """Send what waits at a gate on its way, in order, to where the registry now says."""
        nowhere = owner is None or owner == gate.refused
        for item in self._gates.reopen(gate):
            if gate.waiting or (gate.blocked and not nowhere):
                self._gates.wait(item)
            elif self._ledger.expire(item, now):
                continue
            elif owner is None or nowhere:
                self._fallback.add(item, self._missed if owner is None else Cause.STALE, now)
            else:
                self._dispatch(item, owner, now)

    def _resume_user(self, gate: Gate, found: list[UserConnection], now: float) -> None:
        for item in self._gates.reopen(gate):
            if not found and not gate.waiting and not self._ledger.expire(item, now):
                self._fallback.add(item, self._missed, now)
            elif not item.settled:
                self._place_user(item, found, now)

    # Answers

    def _take_answers(self, flight: Flight, reply: Reply, now: float) -> None:
        refused, settle = False, self._ledger.settle
        for number, (item, code) in enumerate(zip(flight.items, reply.answers, strict=True)):
            if item.settled:
                continue
            if code == Answer.DELIVERED:
                settle(item, Outcome.DELIVERED, Route.DIRECT, now)
            elif item.gate is None:
                self._shares.take_answer(item, reply.details.get(number), now)
            elif code in ANSWERED:
                self._ledger.give_up(item, ANSWERED[Answer(code)], now)
            elif code == Answer.SEVERAL:
                self._ledger.give_up(item, Outcome.UNKNOWN, now)
            elif code == Answer.LEFT_OUT:
                self._ledger.close(item, now)
            else:
                refused = True
                self._refuse(item, None if code == Answer.NOT_YET else item.gate.owner)
        if refused:
            self._withdraw(flight.node)

    def _refuse(self, item: Item, by: Owner | None) -> None:
        self.stale_hits += by is not None
        self._gates.refuse(item, by)

    def _withdraw(self, node: str) -> None:
        """Take back from a lane what must not overtake an item that was refused."""
        for item in self._lanes.withdraw(node):
            assert item.gate is not None
            self._gates.refuse(item, item.gate.refused)

    def _answer_here(self, push: Push, conn: str, user: User | None = None) -> Answer:
        assert self._hub is not None
        if push.instead is not None:
            # A change of groups is told to the registry before it is answered: not in passing.
            return self._hub.close(conn, push.instead) if isinstance(push.instead, int) else Answer.NOT_YET
        if push.exclude and user is None and self._hub.is_left_out(conn, push.exclude):
            return Answer.LEFT_OUT
        user_key = None if user is None else user.key
        if push.order is not None and self._acks is not None:
            return self._acks.deliver(push.order, conn, push.frame, user_key)
        return self._hub.deliver(conn, push.frame, user_key)

    def _corked(self) -> AbstractContextManager[None]:
        return nullcontext() if self._hub is None else self._hub.corked()


def _is_once(push: Push) -> bool:
    """Say whether a push may be a copy: only the registry knows whether another node had the first one."""
    return push.order is not None and push.order.once


def _merged(targets: Sequence[Conn | User | Group | Everyone]) -> list[Conn | User | Group | Everyone]:
    """Name a user once who is named for all devices and for some kinds of them."""
    everywhere = {t.key for t in targets if isinstance(t, User) and t.from_type is None}
    merged: dict[object, Conn | User | Group | Everyone] = {}
    for target in targets:
        if isinstance(target, User) and target.key in everywhere and target.from_type is not None:
            continue
        merged.setdefault(target, target)
    return list(merged.values())


def _left_out(exclude: Collection[str], user: User, found: Sequence[UserConnection]) -> Collection[str]:
    """Return which connections get nothing; those of a user's that are left out by the user's name, too."""
    users = [User.from_token(name[1:]) for name in exclude if name[0] == "@"]
    kinds = {other.from_type for other in users if other.key == user.key}
    return {*exclude, *(conn for conn, _, kind in found if kinds and (None in kinds or kind in kinds))}
