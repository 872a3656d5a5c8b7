"""Copies: pushes under an id that their publisher gave are sent once, and copies get the first one's receipt.

The registry keeps receipts for `COPIES_S`, by target and id. A push with an id asks for one in its look-up:
what it says was written is not sent again, wherever the client is by then. What was certainly not sent is not
kept, so that it can be tried again; nor is what is not known: there the owner's own memory decides
(`core.acks`).

A copy that waits for a client asks it once more, if it is still where it got the push. Copies that come while
the first one is under way here wait for its receipt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from sanic_ws.core import json
from sanic_ws.core.identity import Conn, Group, User
from sanic_ws.core.outcomes import Delivery, Outcome, Receipt, Route
from sanic_ws.errors import InvalidJSON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sanic_ws.core.flights import Found, LookUp
    from sanic_ws.core.identity import Everyone
    from sanic_ws.core.ledger import Ledger
    from sanic_ws.core.orders import Order
    from sanic_ws.core.push import Item, Push

MOST_RECORD_BYTES = 64 << 10
"""Of a receipt that is kept; a longer one is kept without the clients' replies, or not at all."""
_SENT = frozenset({Outcome.DELIVERED, Outcome.ACKED})
_OPEN = frozenset({Outcome.UNKNOWN, Outcome.UNAVAILABLE})


@dataclass(slots=True, eq=False)
class Copy:
    """Hold a push that is to be delivered once.

    Attributes:
        push: it.
        order: the push's.
        key: names its target and its id.
        done: is called when its receipt may be given out.
        followers: copies that get its receipt.
        known: whether a receipt was found.
        answered: whether that says all, so that nothing is sent.
    """

    push: Push
    order: Order
    key: str
    done: Callable[[Push], None]
    followers: list[Push] = field(default_factory=list)
    known: bool = False
    answered: bool = False


class Remember(NamedTuple):
    """Have the registry keep a receipt, before it is given out."""

    copy: Copy
    record: bytes


class Record(NamedTuple):
    """Hold what was kept of a receipt: what was sent, and whether that was all."""

    receipt: Receipt
    complete: bool


class Copies:
    """Hold the pushes that are to be delivered once.

    Args:
        ledger: counts those that wait as open.
        remember: is told what is to be kept.
    """

    def __init__(self, ledger: Ledger, remember: Callable[[Remember], None]) -> None:
        self._ledger = ledger
        self._remember = remember
        self._of: dict[Push, Copy] = {}
        self._first: dict[str, Copy] = {}
        self._new: dict[Push, Copy] = {}
        self._followed: set[Copy] = set()
        self._recording: set[Copy] = set()

    @property
    def idle(self) -> bool:
        """Whether nothing is held here."""
        return not (self._of or self._first or self._new or self._followed or self._recording)

    def open(self, push: Push, order: Order, *, room: bool) -> bool:
        """Take a push in; say `False` if it waits for the receipt of another one.

        Args:
            push: it.
            order: the push's.
            room: whether there is room for one more that waits.
        """
        key = copy_key(push.targets, order.push_id)
        first = self._first.get(key)
        if first is not None and room and _asked(first.order) == _asked(order):
            first.followers.append(push)
            self._followed.add(first)
            self._ledger.open_items += 1
            return False
        copy = Copy(push, order, key, push.done)
        push.done = self._end
        self._of[push] = self._new[push] = copy
        self._first.setdefault(key, copy)
        return True

    def take_new(self) -> list[Copy]:
        """Return those whose receipts are to be looked up."""
        new, self._new = list(self._new.values()), {}
        return new

    def take_found(self, look_up: LookUp, found: Found) -> set[Push]:
        """Take in which receipts were found; return the pushes of which something is known."""
        known: set[Push] = set()
        where: dict[str, str] | None = None
        for copy, value in zip(look_up.copies, found.records, strict=False):
            record = _record_of(copy.push, value)
            if record is None or copy.push not in self._of:
                continue
            if where is None:
                where = _nodes(look_up, found)
            self._know(copy, record, where)
            known.add(copy.push)
        return known

    def covers(self, item: Item) -> bool:
        """Say whether an item of a push of which something is known need not be sent."""
        is_conn = item.gate is not None and item.user is None
        return self._of[item.push].answered or (is_conn and item.target in item.push.exclude)

    def remembered(self, copy: Copy, earlier: bytes | None) -> None:
        """Take in that a receipt is kept, or that an earlier one is; None also where nobody knows."""
        if copy not in self._recording:
            return
        self._recording.discard(copy)
        self._ledger.open_items -= 1
        record = _record_of(copy.push, earlier)
        if record is not None and record.complete and not copy.order.asks:
            copy.push.adopt(record.receipt)
        self._finish(copy)

    def expire(self, now: float) -> None:
        """End copies that cannot wait any longer: the first one may have been delivered.

        Those whose first one is only being kept get its receipt as soon as that one does.
        """
        for copy in self._followed - self._recording:
            late = [push for push in copy.followers if push.deadline <= now]
            for push in late:
                copy.followers.remove(push)
                self._ledger.open_items -= 1
                _end_as_unknown(push, self._ledger, now)
            if not copy.followers:
                self._followed.discard(copy)

    def close(self) -> None:
        """Give out what would still have been kept."""
        for copy in list(self._recording):
            self.remembered(copy, None)

    def _know(self, copy: Copy, record: Record, where: Mapping[str, str]) -> None:
        push, sent, complete = copy.push, record.receipt.deliveries, record.complete
        refused = push.receipt().deliveries  # There was no room for these, and they are not asked.
        full = {d.conn for d in refused}
        kept = [d for d in sent if d.conn in full or not _is_asked_again(copy.order, d, where)]
        won = copy.order.first and any(d.outcome is Outcome.ACKED for d in sent)
        copy.known = True
        copy.answered = won or (complete and len(kept) == len(sent))
        known = list(sent if copy.answered else kept)
        if not (copy.answered and complete):
            got = {d.conn for d in known}
            known += [d for d in refused if d.conn not in got]
        push.adopt(Receipt(push.id, known, record.receipt.totals))
        push.exclude |= {d.conn for d in kept if d.conn is not None}

    def _end(self, push: Push) -> None:
        """Take in that all is known of a push: have its receipt kept before it is given out."""
        copy = self._of.pop(push)
        self._new.pop(push, None)
        record = None if copy.answered else write_record(push.receipt())
        if record is None:
            self._finish(copy)
            return
        self._recording.add(copy)
        self._ledger.open_items += 1
        self._remember(Remember(copy, record))

    def _finish(self, copy: Copy) -> None:
        if self._first.get(copy.key) is copy:
            del self._first[copy.key]
        self._followed.discard(copy)
        self._ledger.open_items -= len(copy.followers)
        copy.done(copy.push)
        for follower in copy.followers:
            follower.adopt(copy.push.receipt())
            follower.done(follower)


def copy_key(targets: Sequence[Conn | User | Group | Everyone], push_id: str) -> str:
    """Return a text that names targets and an id: short, without either of them being legible."""
    names = sorted({_name(target) for target in targets})
    text = "\n".join((str(len(names)), *names, push_id))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def write_record(receipt: Receipt) -> bytes | None:
    """Write what is kept of a receipt; None if that is nothing."""
    if receipt.totals is not None:
        is_open = any(receipt.totals.get(outcome) for outcome in _OPEN)
        sent = any(receipt.totals.get(outcome) for outcome in _SENT)
        return None if is_open or not sent else json.dumps([1, dict(receipt.totals), []])
    deliveries = [delivery for delivery in receipt.deliveries if delivery.outcome in _SENT]
    if not deliveries:
        return None
    complete = int(len(deliveries) == len(receipt.deliveries))
    for replies in (True, False):
        record = json.dumps([complete, None, [_write_delivery(each, replies) for each in deliveries]])
        if len(record) <= MOST_RECORD_BYTES:
            return record
    return None


def read_record(value: bytes) -> Record | None:
    """Read what `write_record` wrote; None if it is not that."""
    try:
        complete, totals, deliveries = json.loads(value)
        counts = None if totals is None else {Outcome(name): int(n) for name, n in totals.items()}
        return Record(Receipt("", [_read_delivery(*each) for each in deliveries], counts), bool(complete))
    except (InvalidJSON, ValueError, TypeError, AttributeError):
        return None


def _record_of(push: Push, value: bytes | None) -> Record | None:
    """Read what was found of a push, if it can be that."""
    record = None if value is None else read_record(value)
    if record is None or (record.receipt.totals is None) != (push.counts is None):
        return None
    return record


def _write_delivery(delivery: Delivery, replies: bool) -> list[Any]:
    latency_ms = round(delivery.latency_ms, 3)
    written = [delivery.conn, delivery.node, delivery.route, delivery.outcome, latency_ms]
    return [*written, delivery.reply] if replies and delivery.replied else written


def _read_delivery(
    conn: str, node: str | None, route: str | None, outcome: str, latency_ms: float, *reply: Any
) -> Delivery:
    taken = None if route is None else Route(route)
    delivery = Delivery(str(conn), node, taken, Outcome(outcome), float(latency_ms))
    if reply:
        (delivery.reply,), delivery.replied = reply, True
    return delivery


def _name(target: Conn | User | Group | Everyone) -> str:
    if isinstance(target, Conn):
        return target.id
    if isinstance(target, User):
        return f"@{target.token}"
    return f"#{target.token}" if isinstance(target, Group) else "*"


def _asked(order: Order) -> tuple[str, bool]:
    """Return what clients are asked for, and of how many."""
    return (order.wait, order.first) if order.asks else ("", False)


def _is_asked_again(order: Order, delivery: Delivery, where: Mapping[str, str]) -> bool:
    """Say whether a client has not said all that is asked of it, and is still where it got the push."""
    if not order.asks or (delivery.outcome is Outcome.ACKED and (order.wait == "ack" or delivery.replied)):
        return False
    return delivery.conn is not None and where.get(delivery.conn) == delivery.node


def _nodes(look_up: LookUp, found: Found) -> dict[str, str]:
    """Return where all connections of a look-up are."""
    where = {conn: owner.node for conn, owner in zip(look_up.conns, found.owners, strict=True) if owner}
    return where | {conn: owner.node for conns in found.users for conn, owner, _ in conns}


def _end_as_unknown(push: Push, ledger: Ledger, now: float) -> None:
    if any(not isinstance(target, (Conn, User)) for target in push.targets):
        push.counts = Counter()
    for target in push.targets:
        ledger.note(push, target.id if isinstance(target, Conn) else None, None, None, Outcome.UNKNOWN, now)
    push.done(push)
