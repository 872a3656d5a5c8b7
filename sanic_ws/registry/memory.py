"""The registry in this process's own memory: for one process, with the same rules as the one in Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sanic_ws.core.acks import COPIES_S
from sanic_ws.core.flights import Found, FoundGroups, Listing, Owner, UserConnection
from sanic_ws.core.identity import are_two
from sanic_ws.registry.port import (
    BINDING_S,
    ENTRY_S,
    GENERATION_EPOCH_S,
    GENERATIONS_PER_S,
    LATE_S,
    USER_CONNECTIONS,
    Claim,
    Claimed,
    Info,
    Kept,
    Mark,
    NodeInfo,
    Release,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.core.identity import User


@dataclass(slots=True)
class _Entry:
    owner: Owner | None
    generation: int
    user: User | None
    unbound_at: float = 0.0
    groups: frozenset[str] = frozenset()
    groups_until: float = 0.0

    def groups_left(self) -> frozenset[str]:
        """Return the groups that are not given up yet."""
        return self.groups if self.groups_until > time.monotonic() else frozenset()


@dataclass(slots=True)
class _Store:
    """Hold what all registries of one URL share; it is always whole."""

    conns: dict[str, _Entry] = field(default_factory=dict)
    users: dict[str, dict[str, tuple[Owner, str | None]]] = field(default_factory=dict)
    groups: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    nodes: dict[str, tuple[float, NodeInfo]] = field(default_factory=dict)
    receipts: dict[str, tuple[float, bytes]] = field(default_factory=dict)


MOST_RECEIPTS = 100_000
"""Receipts that are kept; past it the oldest is forgotten before its time."""

_stores: dict[tuple[str, str], _Store] = {}


class MemoryRegistry:
    """Keep owners in memory; registries of one URL and prefix share it.

    Args:
        url: ``memory://`` and a name, if several are wanted.
        prefix: keeps several gateways apart.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._store = _stores.setdefault((url, prefix), _Store())
        self._beats: dict[str, float] = {}

    async def look_up(self, conns: Sequence[str], users: Sequence[str], copies: Sequence[str] = ()) -> Found:
        """Return each connection's owner, the connections of each user key, and receipts by their keys."""
        entries = (self._entry(conn) for conn in conns)
        owners = [None if entry is None else entry.owner for entry in entries]
        found = (self._store.users.get(user, {}) for user in users)
        listed = [
            [UserConnection(conn, owner, kind) for conn, (owner, kind) in conns.items()] for conns in found
        ]
        return Found(owners, listed, records=[self._receipt(key) for key in copies])

    async def keep(self, kept: Sequence[Kept]) -> list[bytes | None]:
        """Keep receipts; return for each the one that was kept before it and still is, or None."""
        return [self._keep(each) for each in kept]

    def _keep(self, kept: Kept) -> bytes | None:
        now, receipts = time.monotonic(), self._store.receipts
        while receipts:
            oldest = next(iter(receipts))
            if receipts[oldest][0] > now and len(receipts) < MOST_RECEIPTS:
                break
            del receipts[oldest]
        before = None if kept.replaces else self._receipt(kept.key)
        if before is None:
            receipts.pop(kept.key, None)
            receipts[kept.key] = (now + COPIES_S, kept.record)
        return before

    def _receipt(self, key: str) -> bytes | None:
        until, record = self._store.receipts.get(key, (0.0, None))
        return record if until > time.monotonic() else None

    async def look_up_groups(self, groups: Sequence[str]) -> FoundGroups:
        """Return which nodes have members of each group, and the ids of all nodes."""
        return FoundGroups(await self.listing(), [list(self._store.groups.get(g, ())) for g in groups])

    async def listing(self) -> Listing:
        """Return the ids of the nodes."""
        live = [info.id for info in await self.nodes()]
        return Listing(live, [node for node in self._store.nodes if node not in live])

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Register connections or assert them again: the newest session of an id wins."""
        return [self._claim(claim) for claim in claims]

    def _claim(self, claim: Claim) -> Claimed:
        had = self._entry(claim.conn) or _Entry(None, 0, None)
        same = had.owner == claim.owner
        if claim.generation == 0 and not same and are_two(claim.user, had.user):
            return Claimed(
                accepted=False,
                generation=had.generation,
                before=had.owner,
                user=had.user,
                missing=False,
                taken=True,
            )
        user = claim.user or had.user
        if not same and 0 < claim.generation < had.generation and had.owner is not None:
            return Claimed(
                accepted=False, generation=had.generation, before=had.owner, user=user, missing=False
            )
        generation = claim.generation
        if generation == 0:
            age_s = 0.0 if claim.began is None else time.monotonic() - claim.began
            began = int((time.time() - GENERATION_EPOCH_S - age_s) * GENERATIONS_PER_S)
            if not same and age_s > LATE_S and had.generation > began and had.owner is not None:
                return Claimed(
                    accepted=False, generation=had.generation, before=had.owner, user=user, missing=False
                )
            generation = had.generation if same else max(had.generation + 1, began)
        groups = claim.groups if claim.generation else claim.groups | had.groups_left()
        until = time.monotonic() + ENTRY_S
        self._store.conns[claim.conn] = _Entry(
            claim.owner, generation, user, groups=groups, groups_until=until
        )
        if user is not None:
            self._enlist(claim, user)
        return Claimed(
            accepted=True,
            generation=generation,
            before=None if same else had.owner,
            user=user,
            missing=not same and claim.generation > 0,
            groups=groups,
        )

    def _enlist(self, claim: Claim, user: User) -> None:
        conns = self._store.users.setdefault(user.key, {})
        conns.pop(claim.conn, None)
        while len(conns) >= USER_CONNECTIONS:
            del conns[next(iter(conns))]
        conns[claim.conn] = (claim.owner, user.from_type)

    async def release(self, releases: Sequence[Release]) -> None:
        """Forget connections, by compare-and-delete on the session."""
        for release in releases:
            if release.user is not None:
                self._delist(release, release.user)
            entry = self._store.conns.get(release.conn)
            if release.conn_too and entry is not None and entry.owner == release.owner:
                self._disown(release, entry)

    def _disown(self, release: Release, entry: _Entry) -> None:
        """Leave the binding, and the groups for a while."""
        rejoin_s = release.rejoin_s if entry.groups else 0.0
        if entry.user is None and not rejoin_s:
            del self._store.conns[release.conn]
            return
        entry.owner = None
        entry.groups_until = time.monotonic() + rejoin_s
        entry.unbound_at = time.monotonic() + (rejoin_s if entry.user is None else BINDING_S)

    def _delist(self, release: Release, user: User) -> None:
        conns = self._store.users.get(user.key, {})
        listed = conns.get(release.conn)
        if listed is not None and listed[0] == release.owner:
            del conns[release.conn]
            if not conns:
                del self._store.users[user.key]

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Note which groups have members where."""
        for mark in marks:
            self._mark(mark)

    def _mark(self, mark: Mark) -> None:
        now = time.monotonic()
        nodes = self._store.groups.get(mark.group, {})
        if nodes.get(mark.node, (0, 0.0))[0] > mark.turn:
            return
        nodes = {n: entry for n, entry in nodes.items() if n != mark.node and entry[1] > now}
        if mark.here:
            nodes[mark.node] = (mark.turn, now + ENTRY_S)
        self._store.groups[mark.group] = nodes
        if not nodes:
            del self._store.groups[mark.group]

    async def heartbeat(self, info: NodeInfo, lease_s: float, *, told: bool = True) -> bool:  # noqa: ARG002
        """Renew the node's lease; return whether all that this node told is surely there still."""
        now = time.monotonic()
        expiry, _ = self._store.nodes.get(info.id, (None, None))
        last = self._beats.get(info.id)
        whole = expiry is not None and now <= expiry == last
        self._beats[info.id] = now + lease_s
        self._store.nodes[info.id] = (now + lease_s, info)
        return whole

    async def vouch(self) -> None:
        """Make an empty registry whole: there is no node that has been in it before."""

    async def withdraw(self, node: str) -> None:
        """End the node's lease."""
        self._beats.pop(node, None)
        self._store.nodes.pop(node, None)

    async def describe(self, conns: Sequence[str]) -> list[Info | None]:
        """Return what is known of connections, owned or only bound."""
        entries = (self._entry(conn) for conn in conns)
        return [
            None if entry is None else Info(entry.owner, entry.user, entry.generation) for entry in entries
        ]

    async def nodes(self) -> list[NodeInfo]:
        """Return what the live nodes are and hold."""
        now = time.monotonic()
        return [info for expiry, info in self._store.nodes.values() if expiry > now]

    async def close(self) -> None:
        """Let go of nothing: the memory stays for others of the same URL."""

    def _entry(self, conn: str) -> _Entry | None:
        entry = self._store.conns.get(conn)
        if entry is not None and entry.owner is None and entry.unbound_at <= time.monotonic():
            del self._store.conns[conn]
            return None
        return entry
