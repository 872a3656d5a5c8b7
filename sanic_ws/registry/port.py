"""What a registry can do.

A publisher needs the `Directory`; a node needs the whole `Registry`. Every call is one round trip for
all that it is given, and raises `RegistryUnavailable` if the registry does not answer in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sanic_ws.core.flights import Found, FoundGroups, Listing, Owner
    from sanic_ws.core.identity import User

BINDING_S = 12 * 3600
"""How long a connection's id stays bound to its user after the socket is gone."""
ENTRY_S = 900
"""How long an entry stays that nobody asserts again; a node asserts its own three times as often."""
GENERATION_EPOCH_S = 1_577_836_800
"""When generation 0 would have been: the beginning of 2020."""
GENERATIONS_PER_S = 100
LATE_S = 0.3
"""A claim is late that long after its session began; clocks are compared better than that."""
LINGER_S = 10
"""How long it is remembered that a connection is gone: a claim of its session may be on its way."""
USER_CONNECTIONS = 100
"""How many connections of one user are kept; the ones not asserted for longest go first."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Say that a connection is here.

    Attributes:
        conn: its id.
        owner: the node and the session.
        generation: what the registry gave when it was first claimed; 0: claim it as the newest.
        user: who it is bound to as far as the node knows; with None a binding that the registry knows
            is kept and told.
        began: with generation 0: when the session did, in this process's monotonic seconds; None: now. A
            claim that comes late is not newer than those of sessions that began after it.
        groups: which ones it has joined; with generation 0 those of the session before it are added.
    """

    conn: str
    owner: Owner
    generation: int = 0
    user: User | None = None
    began: float | None = None
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claimed:
    """Answer a claim.

    Attributes:
        accepted: False if a newer session has the id, which then is `before`, or if the id is `taken`.
        generation: the order of sessions of one id; the registry's clock at the session's
            start, in hundredths of a second since 2020.
        before: who had the id, if somebody else.
        user: who the id is bound to.
        missing: whether the registry had not known the claim, though it was not a new one.
        taken: whether the claim was refused because it was a new session's and the id is bound to another
            identity, which then is `user`. A session that has the id already may bind it to somebody else.
        groups: which ones the connection has joined; none where the claim was refused.
        appeared: whether the id was nowhere before; not so where a session comes back in time, or asserts
            again what an emptied registry does not know.
        first: whether the user had no connection before, with the same exceptions.
    """

    accepted: bool
    generation: int
    before: Owner | None
    user: User | None
    missing: bool
    taken: bool = False
    groups: frozenset[str] = frozenset()
    appeared: bool = False
    first: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Say that a connection is gone; touches nothing that a newer session has claimed.

    Attributes:
        user: who it was bound to.
        conn_too: False leaves the connection and takes it from the user only, as when it is bound to
            somebody else.
        rejoin_s: for how long its groups are kept for a session that comes after it.
        grace_s: for how long it is absent before it is gone, see `Absences`; None: it is gone at once, and
            nobody wants to know.
        presumed: whether it is not its own node that says so; the grace is then the cluster's.
    """

    conn: str
    owner: Owner
    user: User | None
    conn_too: bool = True
    rejoin_s: float = 0.0
    grace_s: float | None = None
    presumed: bool = False

    @property
    def mark(self) -> str:
        """What stands in place of the session while the connection is absent."""
        return f"{self.owner.node}/{self.owner.session}{'?' if self.presumed else ''}"


@dataclass(frozen=True, slots=True)
class Gone:
    """Say who did not come back.

    Attributes:
        conn: the connection's id.
        owner: the node and the session that had it last.
        user: who it was bound to.
        closed: whether the connection is gone, and not only from this user.
        offline: whether the user has no connection any more.
    """

    conn: str
    owner: Owner
    user: User | None
    closed: bool
    offline: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """Say that a node has members of a group, or none any more; expires after `ENTRY_S`.

    Attributes:
        turn: the node's number for it, higher each time: one that comes late changes nothing.
    """

    group: str
    node: str
    turn: int
    here: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """Keep a push's receipt for `COPIES_S`.

    Attributes:
        key: names the push and its target; ASCII letters and digits.
        record: what is kept, as `sanic_ws.core.copies` writes it.
        replaces: whether it stands in place of one that is kept already.
    """

    key: str
    record: bytes
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Info:
    """Say where a connection is, whose, and since when (see `started_s`)."""

    owner: Owner | None
    user: User | None
    generation: int

    @property
    def started_s(self) -> float:
        """When the session started, in seconds since the epoch."""
        return self.generation / GENERATIONS_PER_S + GENERATION_EPOCH_S


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """Say what a node is and holds."""

    id: str
    name: str
    connections: int
    started: str
    state: str
    """``ready``, ``deaf`` (its queue is away) or ``draining``."""
    version: str


class Absences(Protocol):
    """Tell who is gone for good from who comes back within a grace period.

    A connection that is released with a grace is absent: nobody finds it. Claimed in time it was never away;
    otherwise it is `Gone`, which one caller in the cluster is told, once.
    """

    async def watch(self, grace_s: float) -> None:
        """Have connections that others presume gone be absent for that long; repeat it within a minute."""

    async def end(self) -> list[Gone]:
        """End absences that have lasted long enough, a bounded number; return whose."""

    def clear(self, node: str) -> AsyncGenerator[int, None]:
        """Release what nodes hold whose leases ran out and that did not leave, unless another node does that.

        Args:
            node: who does it.

        Yields:
            how many were released, after each bounded step.
        """


class Directory(Protocol):
    """Look up owners; what a publisher needs."""

    async def look_up(self, conns: Sequence[str], users: Sequence[str], copies: Sequence[str] = ()) -> Found:
        """Return each connection's owner, the connections of each user key, and receipts by their keys."""

    async def keep(self, kept: Sequence[Kept]) -> list[bytes | None]:
        """Keep receipts; return for each the one that was kept before it and still is, or None."""

    async def look_up_groups(self, groups: Sequence[str]) -> FoundGroups:
        """Return which nodes have members of each group, and the ids of all nodes."""

    async def listing(self) -> Listing:
        """Return the ids of the nodes."""

    async def release(self, releases: Sequence[Release]) -> None:
        """Forget connections, by compare-and-delete on the session."""

    async def close(self) -> None:
        """Let go of the connections to the registry."""


class Registry(Directory, Protocol):
    """Keep owners; what a node needs."""

    @property
    def absences(self) -> Absences:
        """Who has left and may come back."""

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Register connections or assert them again: the newest session of an id wins."""

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Note which groups have members where."""

    async def heartbeat(self, info: NodeInfo, lease_s: float, *, told: bool = True) -> bool:
        """Renew the node's lease, by the registry's clock; return whether it surely has all it was told.

        False after the first beat, and whenever something that this node told may be gone: the lease is
        not there, had run out (others may have taken its connections), or is not the one of the last beat
        (what came after an older one is lost too); or the registry has been away in between. The node then
        asserts all its connections again.

        A registry that is empty, or in which a node missed its lease, is not `whole` to those who look up.
        It is again when a lease has passed in which nobody missed anything: by then every node has noticed.

        Args:
            info: the node.
            lease_s: for how long.
            told: whether it has told the registry of all its connections; until then that is not whole.
        """

    async def vouch(self) -> None:
        """Make an empty registry whole: there is no node that has been in it before."""

    async def withdraw(self, node: str) -> None:
        """End the node's lease."""

    async def describe(self, conns: Sequence[str]) -> list[Info | None]:
        """Return what is known of connections, owned or only bound."""

    async def nodes(self) -> list[NodeInfo]:
        """Return what the live nodes are and hold."""
