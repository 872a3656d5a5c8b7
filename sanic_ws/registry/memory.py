"""The registry in this process's own memory: for one process, with the same rules as the one in Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sanic_ws.core.acks import COPIES_S
from sanic_ws.core.flights import Found, FoundGroups, Listing, Owner, UserConnection
from sanic_ws.core.identity import are_two
from sanic_ws.registry.memory_presence import GONE, MemoryAbsences
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
    mark: str = ""
    """Of an absence, or `GONE`; see `Release.mark`."""
    groups: frozenset[str] = frozenset()
    groups_until: float = 0.0

    def groups_left(self) -> frozenset[str]:
        """Return the groups that are not given up yet."""
        return self.groups if self.groups_until > time.monotonic() else frozenset()


@dataclass(slots=True)
class Store:
    """Hold what all registries of one URL share; it is always whole."""

    conns: dict[str, _Entry] = field(default_factory=dict)
    users: dict[str, dict[str, tuple[Owner, str | None]]] = field(default_factory=dict)
    groups: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    nodes: dict[str, tuple[float, NodeInfo]] = field(default_factory=dict)
    leaving: dict[tuple[str, str, str], float] = field(default_factory=dict)
    grace: tuple[float, float] | None = None
    offline: dict[str, float] = field(default_factory=dict)
    receipts: dict[str, tuple[float, bytes]] = field(default_factory=dict)


MOST_RECEIPTS = 100_000
"""Receipts that are kept; past it the oldest is forgotten before its time."""

_stores: dict[tuple[str, str], Store] = {}


class MemoryRegistry:
    """Keep owners in memory; registries of one URL and prefix share it.

    Args:
        url: ``memory://`` and a name, if several are wanted.
        prefix: keeps several gateways apart.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._store = _stores.setdefault((url, prefix), Store())
        self._beats: dict[str, float] = {}
        self._absences = MemoryAbsences(self._store, self)

    @property
    def absences(self) -> MemoryAbsences:
        """Who has left and may come back."""
        return self._absences

    async def look_up(self, conns: Sequence[str], users: Sequence[str], copies: Sequence[str] = ()) -> Found:
        """Return each connection's owner, the connections of each user key, and receipts by their keys."""
        entries = (self._entry(conn) for conn in conns)
        owners = [None if entry is None else entry.owner for entry in entries]
        found = (self._store.users.get(user, {}) for user in users)
        listed = [
            [UserConnection(conn, owner, kind) for conn, (owner, kind) in conns.items() if owner.node]
            for conns in found
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
        appeared = had.owner is None and (had.mark == GONE or not (had.mark or claim.generation))
        is_new = not claim.generation or appeared or (had.generation > 0 and _key(user) != _key(had.user))
        until = time.monotonic() + ENTRY_S
        self._store.conns[claim.conn] = _Entry(
            claim.owner, generation, user, groups=groups, groups_until=until
        )
        first = user is not None and self._enlist(claim, user, is_new=is_new)
        return Claimed(
            accepted=True,
            generation=generation,
            before=None if same else had.owner,
            user=user,
            missing=not same and claim.generation > 0,
            groups=groups,
            appeared=appeared,
            first=first,
        )

    def _enlist(self, claim: Claim, user: User, *, is_new: bool) -> bool:
        """List a connection with its user; say whether it is known to be the first."""
        conns = self._store.users.setdefault(user.key, {})
        called_offline = self._store.offline.pop(user.key, 0.0) > time.monotonic()
        first = not conns and (is_new or called_offline)
        conns.pop(claim.conn, None)
        while len(conns) >= USER_CONNECTIONS:
            del conns[next(iter(conns))]
        conns[claim.conn] = (claim.owner, user.from_type)
        return first

    async def release(self, releases: Sequence[Release]) -> None:
        """Forget connections, by compare-and-delete on the session."""
        for each in releases:
            release = replace(each, grace_s=self._absences.grace()) if each.presumed else each
            found = release.user is not None and self._delist(release, release.user)
            entry = self._store.conns.get(release.conn)
            if release.conn_too and entry is not None and entry.owner == release.owner:
                self._disown(release, entry)
                found = True
            if found and release.grace_s is not None:
                self._absences.expect(release, release.grace_s)

    def _disown(self, release: Release, entry: _Entry) -> None:
        """Leave the binding, and the groups for a while."""
        rejoin_s = release.rejoin_s if entry.groups else 0.0
        grace_s = release.grace_s
        entry.mark = "" if grace_s is None else release.mark
        if entry.user is None and not rejoin_s and grace_s is None:
            del self._store.conns[release.conn]
            return
        entry.owner = None
        entry.groups_until = time.monotonic() + rejoin_s
        kept_s = rejoin_s if grace_s is None else max(rejoin_s, ENTRY_S + grace_s)
        entry.unbound_at = time.monotonic() + (kept_s if entry.user is None else BINDING_S)

    def _delist(self, release: Release, user: User) -> bool:
        conns = self._store.users.get(user.key, {})
        listed = conns.get(release.conn)
        if listed is None or listed[0] != release.owner:
            return False
        del conns[release.conn]
        if release.grace_s is not None:
            # First: who is absent is the first to go when the list is full.
            absent = {release.conn: (Owner("", release.mark), listed[1])}
            self._store.users[user.key] = absent | conns
        elif not conns:
            del self._store.users[user.key]
        return True

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
            None
            if entry is None or (entry.owner is None and entry.user is None)
            else Info(entry.owner, entry.user, entry.generation)
            for entry in entries
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


def _key(user: User | None) -> str | None:
    return None if user is None else user.key
