"""Calls: pushes of which more is told later, from when they are written until that or the deadline.

Those whose clients are to answer, and those that may wait for slow clients. What is written, or waits,
holds nothing back: its item is settled, the gate and the lane are free, and only the receipt waits. What is
promised at the deadline is what is known then: `delivered`; `acked` where a reply was wanted and the client
has only confirmed; `unknown` where it may wait for the client yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from sanic_ws.core import json
from sanic_ws.core.messages import message_frame
from sanic_ws.core.orders import Order, order_target
from sanic_ws.core.outcomes import Delivery, Outcome, Route
from sanic_ws.core.reports import Said
from sanic_ws.errors import InvalidJSON

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.core.acks import Acks
    from sanic_ws.core.ledger import Ledger
    from sanic_ws.core.push import Item, Push
    from sanic_ws.core.reports import Report

GRACE_S = 0.5
"""How long a push whose first device has answered waits for what nodes say of the others."""
_LAST = (Said.DROPPED, Said.GONE)
MOST_EARLY = 1000
"""Answers of one push's clients that may be here before it is known that it was written."""


class Cancel(NamedTuple):
    """Tell clients of a node that another one was quicker."""

    node: str
    targets: list[str]
    frame: bytes


@dataclass(slots=True)
class Waiting:
    """Hold a connection of which more may be told.

    Attributes:
        node: where it is.
        route: the way that the push took.
        known: what is known so far.
    """

    node: str | None
    route: Route | None
    known: Outcome


@dataclass(slots=True)
class Call:
    """Hold a push of which more is told later.

    Attributes:
        push: it.
        order: the push's.
        done: is called with the receipt.
        items: all that was ever opened of it.
        waiting: of whom more may be told, by connection.
        early: what clients have said of whom it is not known yet that they got it.
        until: when it ends with what is known.
        won: whether one device was first; what is still on its way is told so when it arrives.
        ended: whether there is a receipt.
    """

    push: Push
    order: Order
    done: Callable[[Push], None]
    until: float
    items: list[Item] = field(default_factory=list)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    early: dict[str, Report] = field(default_factory=dict)
    won: bool = False
    ended: bool = False


class Calls:
    """Hold the calls that are open.

    Args:
        ledger: counts them as open.
        cancel: is told who has to be told that another device was quicker.
        node_id: the node that they are made from, if any.
        acks: that node's.
    """

    def __init__(
        self,
        ledger: Ledger,
        cancel: Callable[[Cancel], None],
        node_id: str | None = None,
        acks: Acks | None = None,
    ) -> None:
        self._ledger = ledger
        self._cancel = cancel
        self._node_id = node_id
        self._acks = acks
        self._calls: dict[int, Call] = {}
        self._tickets = count(1)
        self._first_end = inf

    @property
    def idle(self) -> bool:
        """Whether nothing is held here."""
        return not self._calls

    def open(self, push: Push, order: Order) -> None:
        """Open a call, before anything of the push is."""
        if order.asks or order.may_wait:
            order.ticket = next(self._tickets)
            self._calls[order.ticket] = Call(push, order, push.done, push.deadline)
            push.done = self._end

    def follow(self, item: Item, order: Order) -> None:
        """Note an item of a call."""
        call = self._calls.get(order.ticket)
        if call is not None:
            call.items.append(item)

    def take(
        self,
        push: Push,
        order: Order,
        conn: str | None,
        node: str | None,
        route: Route | None,
        outcome: Outcome,
        now: float,
    ) -> bool:
        """Take in what became of a push at a connection; say `False` if nothing more may be told of it."""
        call = self._calls.get(order.ticket)
        if call is None:
            return False
        if call.won:
            if conn is not None and (outcome is Outcome.DELIVERED or _may_wait(order, outcome)):
                self._tell_cancelled(call, {conn: node})
            return call.ended
        early = call.early.pop(conn, None) if conn is not None else None
        written = (outcome is Outcome.DELIVERED and order.asks) or _may_wait(order, outcome)
        if early is not None and outcome is Outcome.UNKNOWN:
            written = True
        if conn is None or not written:
            return False
        if conn not in call.waiting:
            call.waiting[conn] = Waiting(node, route, outcome)
            self._ledger.hold(push)
            self._first_end = min(self._first_end, call.until)
            if early is not None:
                self._hear(call, early, now)
        return True

    def reported(self, reports: Sequence[Report], now: float) -> None:
        """Take in what clients have said. What is too late, or nobody's, is ignored."""
        for report in reports:
            call = self._calls.get(report.ticket)
            if call is None or call.won:
                continue
            if report.conn in call.waiting:
                self._hear(call, report, now)
            elif len(call.early) < MOST_EARLY:
                before = call.early.get(report.conn)
                if before is None or before.said < report.said:
                    call.early[report.conn] = report

    def expire(self, until: float, now: float) -> None:
        """End those with deadlines up to some time, now or infinite, with what is known."""
        if until < self._first_end:
            return
        for call in list(self._calls.values()):
            if call.until <= until:
                for conn in list(call.waiting):
                    self._end_without(call, conn, now)
                if call.won and not call.ended:
                    self._end_early(call, now)
        left = (call.until for call in self._calls.values() if call.waiting or call.won)
        self._first_end = min(left, default=inf)

    # One client

    def _hear(self, call: Call, report: Report, now: float) -> None:
        wants_reply = call.order.wait == "reply"
        waiting = call.waiting[report.conn]
        if report.said is Said.DROPPED:
            waiting.known = Outcome.OVERLOADED
        elif waiting.known is Outcome.UNKNOWN:
            waiting.known = Outcome.DELIVERED
        if report.said in _LAST or (report.said is Said.WRITTEN and not call.order.asks):
            self._end_without(call, report.conn, now)
        elif report.said is Said.WRITTEN:
            pass
        elif report.said is Said.ACK and wants_reply:
            waiting.known = Outcome.ACKED
        elif call.order.first:
            self._win(call, report, now)
        else:
            self._record(call, report.conn, Outcome.ACKED, now, report.reply if wants_reply else "")
            self._ledger.release(call.push)

    def _end_without(self, call: Call, conn: str, now: float) -> None:
        self._record(call, conn, call.waiting[conn].known, now)
        self._ledger.release(call.push)

    def _record(self, call: Call, conn: str, outcome: Outcome, now: float, reply: str = "") -> None:
        waiting = call.waiting.pop(conn)
        self._write(call, conn, waiting.node, waiting.route, outcome, now, reply)

    def _write(
        self,
        call: Call,
        conn: str | None,
        node: str | None,
        route: Route | None,
        outcome: Outcome,
        now: float,
        reply: str = "",
    ) -> None:
        delivery = Delivery(conn, node, route, outcome, (now - call.push.started) * 1000)
        if reply:
            delivery.reply, delivery.replied = _read(reply), True
        self._ledger.record(call.push, delivery)

    # The first of several

    def _win(self, call: Call, winner: Report, now: float) -> None:
        """Take in the first answer: wait for no other client, and tell them all."""
        others = {conn: waiting.node for conn, waiting in call.waiting.items() if conn != winner.conn}
        call.won = True
        call.until = min(call.until, now + GRACE_S)
        self._first_end = min(self._first_end, call.until)
        # What has not been sent need not be.
        call.push.deadline = min(call.push.deadline, now)
        call.push.expires = min(call.push.expires, now)
        self._tell_cancelled(call, others)
        self._record(call, winner.conn, Outcome.ACKED, now, winner.reply)
        self._ledger.release(call.push)
        for conn in others:
            self._end_without(call, conn, now)

    def _end_early(self, call: Call, now: float) -> None:
        """End a push of which something is still on its way."""
        for item in call.items:
            if not (item.settled or (item.is_user and item.children)):
                conn = None if item.is_user else item.target
                route = Route.FALLBACK if item.node is None else Route.DIRECT
                self._write(call, conn, item.node, route, Outcome.UNKNOWN, now)
        call.ended = True
        call.items.clear()
        call.done(call.push)

    def _tell_cancelled(self, call: Call, conns: dict[str, str | None]) -> None:
        frame = message_frame("cancelled", {"id": call.push.id})
        order = Order(call.push.id, cancels=True)
        by_node: dict[str, list[str]] = {}
        for conn, node in conns.items():
            if self._acks is not None and node == self._node_id:
                self._acks.deliver(order, conn, frame)
            elif node is not None:
                by_node.setdefault(node, []).append(order_target(order, conn))
        for node, targets in by_node.items():
            self._cancel(Cancel(node, targets, frame))

    def _end(self, push: Push) -> None:
        """Take in that nothing of a push is open any more."""
        assert push.order is not None
        call = self._calls.pop(push.order.ticket)
        if not call.ended:
            call.done(push)


def _may_wait(order: Order, outcome: Outcome) -> bool:
    """Say whether a push of which nothing is known may wait for a slow client; its node tells later."""
    return order.may_wait and outcome is Outcome.UNKNOWN


def _read(reply: str) -> Any:
    try:
        return json.loads(reply)
    except InvalidJSON:
        return None
