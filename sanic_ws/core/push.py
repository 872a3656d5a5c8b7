"""A push on its way: what is to be sent to whom, and what has become of it so far."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sanic_ws.core.outcomes import Delivery, Outcome, Receipt, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.core.flights import Gate
    from sanic_ws.core.groups import Change
    from sanic_ws.core.identity import Conn, Everyone, Group, User
    from sanic_ws.core.orders import Order

NOBODY: frozenset[str] = frozenset()


class Push:
    """Carry one frame to its targets and collect what becomes of it.

    Args:
        push_id: the push's id.
        targets: connections, users, a group, or everyone.
        frame: the WebSocket frame, ready to be written.
        exclude: who gets nothing: connections by their ids, users by `@` and their tokens.
        started: the caller's clock, seconds; an order expires by it.
        deadline: when it ends as `unknown` or `unavailable`, the same clock.
        done: called once, when `receipt` tells all.
        close_code: ask the owner to close the connection with this code instead of writing a frame.
        change: ask the owner to change the connection's groups instead.
        order: what nodes are asked beside writing the frame, if anything.
        trace: what it came in, for whoever traces pushes; None where nobody does.

    Attributes:
        expires: when it is not to be sent any more, the same clock.
        instead: what the owner is asked to do instead of writing a frame: a code to close with, or a change.
    """

    __slots__ = (
        "_deliveries",
        "counts",
        "deadline",
        "done",
        "exclude",
        "expires",
        "frame",
        "id",
        "instead",
        "open",
        "order",
        "seen",
        "started",
        "targets",
        "trace",
    )

    def __init__(
        self,
        push_id: str,
        targets: Sequence[Conn | User | Group | Everyone],
        frame: bytes,
        *,
        exclude: frozenset[str] = NOBODY,
        started: float,
        deadline: float,
        done: Callable[[Push], None],
        close_code: int | None = None,
        change: Change | None = None,
        order: Order | None = None,
        trace: object | None = None,
    ) -> None:
        self.id = push_id
        self.targets = targets
        self.frame = frame
        self.exclude = exclude
        self.started = started
        self.deadline = deadline
        self.expires = deadline if order is None else min(deadline, order.expires)
        self.done = done
        self.instead: int | Change | None = change if close_code is None else close_code
        self.order = order
        self.trace = trace
        self.open = 0
        self.counts: Counter[Outcome] | None = None
        self.seen: set[str] | None = set() if len(targets) > 1 else None
        self._deliveries: list[Delivery] = []

    def add(
        self, conn: str | None, node: str | None, route: Route | None, outcome: Outcome, now: float
    ) -> None:
        """Note what became of the push at one connection, or at some that are not known."""
        if self.counts is not None:
            self.counts[outcome] += 1
        else:
            self._deliveries.append(Delivery(conn, node, route, outcome, (now - self.started) * 1000))

    def append(self, delivery: Delivery) -> None:
        """Note what became of the push at a connection whose client was waited for."""
        self._deliveries.append(delivery)

    def met_before(self, conn: str) -> bool:
        """Say whether another of its targets was this connection too, and remember this one."""
        if self.seen is None:
            return False
        if conn in self.seen:
            return True
        self.seen.add(conn)
        return False

    def count_only(self) -> None:
        """Keep counts in place of deliveries: the push is for everyone, or for a group."""
        self.counts = Counter()

    def count(self, outcome: Outcome, number: int) -> None:
        """Add to the counts of a push to everyone or to a group."""
        assert self.counts is not None
        self.counts[outcome] += number

    def adopt(self, receipt: Receipt) -> None:
        """Take over what a receipt says, in place of what is known."""
        self._deliveries = list(receipt.deliveries)
        self.counts = None if receipt.totals is None else Counter(receipt.totals)

    def settle(self) -> None:
        """Close one of its open items; with the last one it is done."""
        self.open -= 1
        if self.open == 0:
            self.done(self)

    def receipt(self) -> Receipt:
        """Return what became of it so far."""
        return Receipt(self.id, self._deliveries, None if self.counts is None else +self.counts)


class Item:
    """One thing to be found out about a push: a connection to be reached, a user, a group, or a node's share.

    Attributes:
        target: the connection's id, a user's key behind ``@``, a group's name behind ``#``, or of a share
            what `everyone_target` or `group_target` writes.
        gate: keeps the order for its target.
        user: the user whose connections are to be found, or through whom this connection was.
        parent: the user's item that this connection's comes from, or the group's of a share.
        node: the node that it is with, or was last.
        placed: whether it is with a node, or about to be.
        settled: whether its outcome is known.
        wild: whether it may yet turn out to be for any connection.
        children: of a user's item, or a group's: how many of its connections, or shares, are not settled.
        found: of a user's item: whether anything is known of one of its connections; of a group's: whether
            it went to all nodes that have members.
    """

    __slots__ = (
        "children",
        "found",
        "gate",
        "node",
        "parent",
        "placed",
        "push",
        "settled",
        "target",
        "user",
        "wild",
    )

    def __init__(
        self,
        push: Push,
        target: str,
        gate: Gate | None,
        user: User | None = None,
        parent: Item | None = None,
    ) -> None:
        self.push = push
        self.target = target
        self.gate = gate
        self.user = user
        self.parent = parent
        self.node: str | None = None
        self.placed = False
        self.settled = False
        self.wild = False
        self.children = 0
        self.found = False

    @property
    def is_user(self) -> bool:
        """Whether it is for a user, of whose connections none is known."""
        return self.target[0] == "@"

    @property
    def is_group(self) -> bool:
        """Whether it is for a group, or for a share of one."""
        return self.target[0] == "#"
