"""Who has left and may come back, in Redis; what it holds is described in `presence_scripts`."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from sanic_ws.core.flights import Owner
from sanic_ws.core.identity import User
from sanic_ws.logs import event_log
from sanic_ws.registry.mending import WHOLE
from sanic_ws.registry.port import ENTRY_S, LINGER_S, Gone, Release
from sanic_ws.registry.presence_scripts import DUE, END_CONN, END_USER, LEAVING
from sanic_ws.registry.redis_link import COMMAND_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from sanic_ws.registry.redis_clients import Servers
    from sanic_ws.registry.redis_cluster import Call

TIMEOUT_S = 1.0
GRACE_KNOWN_S = 60
"""How long it is believed that somebody wants to know who is gone."""
AT_ONCE = 500
"""Absences ended together, and keys looked at in one step."""
PUT_OFF_S = 5.0
"""How long one node may take to end absences before another one does."""
LAPSED_S = 3.0
"""How long a lease must be over: after a Redis that was away all nodes are late together."""
CLEAR_LOCK_S, CLEARED_S = 30, 3700
"""How long a node that clears is believed to do so; longer than a lapsed node stays listed."""
REJOIN_S = 15.0
"""How long groups are kept of connections whose node is dead."""
_SEP = "\x1f"

log = event_log("sanic_ws.registry")


class Absent(NamedTuple):
    """Say who may be gone: a connection, what marks its absence, and the key of its user."""

    conn: str
    mark: str
    user_key: str

    @property
    def owner(self) -> Owner:
        """Who had it."""
        return Owner(*self.mark.removesuffix("?").rsplit("/", 1))

    @property
    def remembered_s(self) -> int:
        """How long it is remembered that it is gone: its node may be frozen and take it for its own."""
        return ENTRY_S if self.mark.endswith("?") else LINGER_S


class RedisAbsences:
    """Keep who is absent.

    Args:
        servers: where.
        prefix: of every key.
        release: releases connections in the registry that this belongs to.
    """

    def __init__(
        self, servers: Servers, prefix: str, release: Callable[[Sequence[Release]], Awaitable[None]]
    ) -> None:
        self._servers = servers
        self._prefix = prefix
        self._release = release

    async def watch(self, grace_s: float) -> None:
        """Have connections that others presume gone be absent for that long."""
        key = f"{self._prefix}:grace"
        await self._servers.run([(key, ("SET", key, grace_s, "EX", GRACE_KNOWN_S))], TIMEOUT_S)

    async def grace(self) -> float | None:
        """Return for how long such connections are absent; None: nobody wants to know."""
        (value,) = await self._servers.get([f"{self._prefix}:grace"], TIMEOUT_S)
        return None if value is None else float(value)

    async def expect(self, absent: Sequence[tuple[Absent, float]]) -> None:
        """Have absences ended after their grace, in seconds, unless somebody comes back."""
        graces: dict[float, list[str]] = {}
        for one, grace_s in absent:
            graces.setdefault(grace_s, []).append(_SEP.join(one))
        calls = [LEAVING.call(self._key, int(grace_s * 1e6), *members) for grace_s, members in graces.items()]
        if calls:
            await self._servers.run(calls, TIMEOUT_S, LEAVING)

    async def end(self) -> list[Gone]:
        """End absences that have lasted long enough, a bounded number; return whose.

        None while the registry is not whole: a user whose other connections it has lost is not offline.
        """
        whole = f"{self._prefix}:whole"
        calls: list[Call] = [DUE.call(self._key, AT_ONCE, int(PUT_OFF_S * 1e6)), (whole, ("GET", whole))]
        due, state = await self._servers.run(calls, TIMEOUT_S, DUE)
        if not due or state != WHOLE:
            return []
        absent = list(filter(None, map(_read_absent, due)))
        if len(absent) < len(due):
            log.warning("absences that nobody can read are forgotten", absences=len(due) - len(absent))
        identities = await self._end_conns(absent)
        offline = await self._end_users(absent, identities)
        await self._servers.run([(self._key, ("ZREM", self._key, *due))], TIMEOUT_S)
        return [
            Gone(
                one.conn,
                one.owner,
                user,
                closed=identity is not None and not number,
                offline=user is not None and (at, user.key) in offline,
            )
            for at, (one, identity) in enumerate(zip(absent, identities, strict=True))
            for number, user in enumerate(_users(one, identity))
        ]

    async def _end_conns(self, absent: Sequence[Absent]) -> list[str | None]:
        """Return the identities of the connections that are gone; None: it is back, or was never meant."""
        calls = [
            END_CONN.call(f"{self._prefix}:conn:{{{one.conn}}}", one.mark, one.remembered_s) for one in absent
        ]
        answers = await self._servers.run(calls, TIMEOUT_S, END_CONN)
        return [None if answer is None else answer.decode() for answer in answers]

    async def _end_users(
        self, absent: Sequence[Absent], identities: Sequence[str | None]
    ) -> set[tuple[int, str]]:
        """Return which users have no connection any more, with the number of the absence."""
        asked = [
            (at, user.key)
            for at, (one, identity) in enumerate(zip(absent, identities, strict=True))
            for user in _users(one, identity)
            if user is not None
        ]
        calls = []
        for at, key in asked:
            one = absent[at]
            gone = one.owner if identities[at] is not None else ("", "")
            user_key = f"{self._prefix}:user:{{{key}}}"
            calls.append(END_USER.call(user_key, one.conn, one.mark, one.remembered_s, *gone))
        answers = await self._servers.run(calls, TIMEOUT_S, END_USER) if calls else []
        return {one for one, emptied in zip(asked, answers, strict=True) if emptied}

    async def clear(self, node: str) -> AsyncGenerator[int, None]:
        """Release what nodes hold whose leases ran out and that did not leave, unless another node does."""
        locks = await self._lock(node, await self._lapsed())
        if not locks:
            return
        nodes = set(locks)
        async for keys in self._servers.scan(f"{self._prefix}:conn:{{*", AT_ONCE, TIMEOUT_S):
            releases = await self._stale(keys, nodes)
            if releases:
                await self._release(releases)
            await self._keep(locks.values(), node, CLEAR_LOCK_S)
            yield len(releases)
        await self._keep(locks.values(), "done", CLEARED_S)

    async def _lapsed(self) -> dict[str, str]:
        """Return the nodes that are dead, with the key that says who clears up what they hold."""
        key = f"{self._prefix}:nodes"
        calls: list[Call] = [(key, ("TIME",)), (key, ("ZRANGE", key, 0, -1, "WITHSCORES"))]
        (seconds, micros), listed = await self._servers.run(calls, COMMAND_TIMEOUT_S)
        before = int(seconds) * 1_000_000 + int(micros) - LAPSED_S * 1e6
        return {
            name.decode(): f"{self._prefix}:cleared:{{{name.decode()}}}:{float(expiry):.0f}"
            for name, expiry in zip(listed[::2], listed[1::2], strict=True)
            if float(expiry) <= before
        }

    async def _lock(self, node: str, lapsed: dict[str, str]) -> dict[str, str]:
        if not lapsed:
            return lapsed
        calls: list[Call] = [(key, ("SET", key, node, "NX", "EX", CLEAR_LOCK_S)) for key in lapsed.values()]
        got = await self._servers.run(calls, TIMEOUT_S)
        return {name: key for (name, key), mine in zip(lapsed.items(), got, strict=True) if mine}

    async def _keep(self, keys: Iterable[str], value: str, lasts_s: int) -> None:
        calls: list[Call] = [(key, ("SET", key, value, "EX", lasts_s)) for key in keys]
        await self._servers.run(calls, TIMEOUT_S)

    async def _stale(self, keys: Sequence[bytes], nodes: set[str]) -> list[Release]:
        """Return the releases of connections that dead nodes hold."""
        names = [key.decode() for key in keys]
        values = await self._servers.get(names, TIMEOUT_S) if names else []
        releases = []
        for name, value in zip(names, values, strict=True):
            node, session, _, identity, *_ = (value or b"\x1f\x1f\x1f").decode().split(_SEP)
            if node in nodes:
                conn = name[len(self._prefix) + len(":conn:{") : -1]
                user = User.from_token(identity) if identity else None
                releases.append(Release(conn, Owner(node, session), user, rejoin_s=REJOIN_S, presumed=True))
        return releases

    @property
    def _key(self) -> str:
        return f"{self._prefix}:leaving"


def absence(release: Release) -> Absent:
    """Return what a release leaves."""
    return Absent(release.conn, release.mark, "" if release.user is None else release.user.key)


def _read_absent(member: bytes) -> Absent | None:
    """Read a member of `leaving`; None if it is not one."""
    parts = member.decode(errors="replace").split(_SEP)
    if len(parts) != len(Absent._fields) or "/" not in parts[1]:
        return None
    return Absent(*parts)


def seconds(grace_s: float) -> int:
    """Return how long an entry stays that may be claimed again within a grace."""
    return ENTRY_S + ceil(grace_s)


def _users(one: Absent, identity: str | None) -> list[User | None]:
    """Return whose connection it may have been: who the entry names, and who it was released of."""
    found: dict[str, User] = {}
    for user in map(User.from_token, filter(None, (identity, one.user_key))):
        found.setdefault(user.key, user)
    return list(found.values()) or [None]
