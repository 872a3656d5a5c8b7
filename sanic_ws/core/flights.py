"""What the router keeps and hands out: owners, gates, lanes, flights, and what else is to be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sanic_ws.core.batch import bound_target, change_target, close_target, unless_target, user_target
from sanic_ws.core.orders import order_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sanic_ws.core.copies import Copy
    from sanic_ws.core.groups import Change
    from sanic_ws.core.identity import User
    from sanic_ws.core.push import Item


class Owner(NamedTuple):
    """Say which node holds a connection, and in which session."""

    node: str
    session: str


class UserConnection(NamedTuple):
    """Say where one of a user's connections is."""

    conn: str
    owner: Owner
    from_type: str | None


class Found(NamedTuple):
    """Hold what a look-up found.

    Attributes:
        owners: one for each connection, or None.
        users: the connections of each user.
        whole: False while nodes assert anew what the registry has lost: what is missing may exist.
        records: what is kept of pushes that may be copies, or None.
    """

    owners: Sequence[Owner | None]
    users: Sequence[list[UserConnection]]
    whole: bool = True
    records: Sequence[bytes | None] = ()


class Listing(NamedTuple):
    """Hold which nodes the registry knows.

    Attributes:
        live: those whose lease runs.
        lapsed: those whose lease has run out and who have not left; they may be there all the same.
        whole: False while nodes list themselves anew after the list was lost: there may be others.
    """

    live: Collection[str]
    lapsed: Collection[str] = ()
    whole: bool = True


class FoundGroups(NamedTuple):
    """Hold which nodes have members of groups.

    Attributes:
        listing: the nodes that the registry knows.
        nodes: of each group; a node among them that is not listed is not believed.
    """

    listing: Listing
    nodes: Sequence[Collection[str]]


class Gate:
    """Keep the order of pushes to one target.

    Attributes:
        target: a connection's id, or a user's key behind ``@``.
        items: how many items for the target are not settled.
        placed: how many of these are with a node, or about to be.
        owner: where the placed ones are.
        blocked: an earlier item is in trouble; later ones wait.
        waiting: items that wait, in order.
        retry: items that were refused, to go before these.
        listed: of a user's gate: the connections to which the placed ones went.
        refused: who did not have the connection; asked again only if it said 'not yet'.
        looking: whether the target is being looked up again.
    """

    __slots__ = (
        "blocked",
        "items",
        "listed",
        "looking",
        "owner",
        "placed",
        "refused",
        "retry",
        "target",
        "waiting",
    )

    def __init__(self, target: str) -> None:
        self.target = target
        self.items = 0
        self.placed = 0
        self.owner: Owner | None = None
        self.blocked = False
        self.waiting: list[Item] | None = None
        self.retry: list[Item] | None = None
        self.refused: Owner | None = None
        self.looking = False
        self.listed: list[UserConnection] | None = None

    @property
    def is_user(self) -> bool:
        """Whether it is a user's."""
        return self.target[0] == "@"


@dataclass(slots=True)
class LookUp:
    """Ask the registry for owners, users' connections, groups' nodes, and for the live nodes if ``nodes``."""

    conns: list[str]
    users: list[str]
    nodes: bool
    gates: list[Gate]
    items: list[Item]
    groups: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    def nothing(self) -> Found:
        """Return what is found where the registry is out of reach."""
        return Found([None] * len(self.conns), [[]] * len(self.users))


@dataclass(slots=True)
class Flight:
    """Hand a batch to a node.

    Attributes:
        id: of the batch.
        node: who gets it.
        items: what is in it.
        deadline: the first of the items' deadlines.
        sent: whether it may have left.
    """

    id: int
    node: str
    items: list[Item]
    deadline: float
    sent: bool = False

    def is_over(self) -> bool:
        """Say whether nothing is left of it; otherwise wait for the first deadline of what is left."""
        left = [item for item in self.items if not item.settled]
        self.deadline = first_deadline(left)
        return not left

    def trim(self) -> bool:
        """Leave out what is settled already; say `False` if nothing is left. Only before it is sent."""
        self.items = [item for item in self.items if not item.settled]
        return bool(self.items)

    def targets(self, now: float) -> list[str]:
        """Return the items' targets as a batch writes them that is sent now."""
        return [
            wire_target(item)
            if item.push.order is None
            else order_target(item.push.order, wire_target(item), now)
            for item in self.items
        ]


class Forget(NamedTuple):
    """Tell the registry that nobody has this connection any more."""

    conn: str
    owner: Owner
    user: User | None


@dataclass(slots=True)
class Lane:
    """Collect what goes to one node while the last batch for it is unanswered.

    Attributes:
        pending: what is to go next.
        deadline: the first deadline among these, or an earlier one.
        flight: the unanswered batch.
    """

    pending: list[Item] = field(default_factory=list)
    deadline: float = inf
    flight: Flight | None = None

    def append(self, item: Item) -> None:
        """Add an item behind the others."""
        self.pending.append(item)
        self.deadline = min(self.deadline, item.push.expires)

    def take(self, most_items: int, most_bytes: int) -> list[Item]:
        """Take the first items, as many as fit and at least one."""
        items, size = self.pending[:most_items], 0
        for number, item in enumerate(items):
            size += len(item.push.frame)
            if size > most_bytes and number:
                items = items[:number]
                break
        self.pending = self.pending[len(items) :]
        return items

    def expire(self, ended: Callable[[Item], bool]) -> None:
        """Let go of what has ended."""
        self.pending = [item for item in self.pending if not ended(item)]
        self.deadline = min((item.push.expires for item in self.pending), default=inf)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound what the router holds and sends.

    Attributes:
        open_items: items not settled; past it a push is `overloaded` at once.
        batch_items: items in one batch.
        batch_bytes: bytes of frames in one batch; a single item may be larger.
        seeks: fallback batches that may be open at once.
        seek_items: items that may wait for the fallback; past it a push is `overloaded` at once.
        seek_items_per_s: items that go into the fallback: each costs every node of the cluster.
        probe_after_s: when a node's queue is probed that is silent since it was asked.
        strangers_s: how long nodes that are not in the list are waited for, while it is made anew.
        leaving_s: how long a node is waited for whose queue has just gone: it may yet answer.
    """

    open_items: int = 100_000
    batch_items: int = 1024
    batch_bytes: int = 1 << 20
    seeks: int = 8
    seek_items: int = 20_000
    seek_items_per_s: int = 50_000
    probe_after_s: float = 0.1
    strangers_s: float = 0.15
    leaving_s: float = 1.0


def first_deadline(items: Iterable[Item]) -> float:
    """Return the first of the items' deadlines."""
    return min((item.push.deadline for item in items), default=inf)


def wire_target(item: Item) -> str:
    """Return an item's target as a batch writes it, without the order that may stand before it."""
    push, user = item.push, item.user
    if push.instead is not None:
        return _instead_target(item.target, push.instead)
    if user is None:
        return unless_target(item.target, push.exclude) if push.exclude and item.gate else item.target
    if item.is_user:
        return user_target(user, push.exclude if push.seen is None else push.exclude | push.seen)
    return bound_target(item.target, user)


def _instead_target(conn: str, order: int | Change) -> str:
    return close_target(conn, order) if isinstance(order, int) else change_target(order)
