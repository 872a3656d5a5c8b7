"""The registry in Redis: one server, one behind Sentinels, or a Cluster; `core.redis_url` reads the URLs.

What it holds is described in `scripts`. A push waits for Redis for `COMMAND_TIMEOUT_S` at most, and mostly
not at all while it is away, see `redis_link`. A user of Redis needs no more than this, where ``<prefix>`` is
the gateway's::

    ~<prefix>:* +get +mget +set +del +evalsha +script|load +time +role +scan
    +zadd +zrange +zrem +zscore +zremrangebyscore
    and +select where the URL names a database, +cluster|slots +cluster|nodes +asking for a Cluster
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from sanic_ws.core import json
from sanic_ws.core.acks import COPIES_S
from sanic_ws.core.flights import Found, FoundGroups, Listing, Owner, UserConnection
from sanic_ws.core.identity import Group, User, group_token
from sanic_ws.core.redis_url import parse_redis_url
from sanic_ws.registry.clock import RemoteClock
from sanic_ws.registry.mending import WHOLE, Mending
from sanic_ws.registry.port import (
    BINDING_S,
    ENTRY_S,
    GENERATION_EPOCH_S,
    GENERATIONS_PER_S,
    USER_CONNECTIONS,
    Claim,
    Claimed,
    Info,
    Kept,
    Mark,
    NodeInfo,
    Release,
)
from sanic_ws.registry.redis_clients import connect
from sanic_ws.registry.redis_link import COMMAND_TIMEOUT_S
from sanic_ws.registry.redis_presence import RedisAbsences, absence, seconds
from sanic_ws.registry.scripts import BEAT, CLAIM, DELIST, ENLIST, MARK, RELEASE, Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sanic_ws.registry.redis_cluster import Call

WRITE_TIMEOUT_S = 1.0
"""How long Redis may take for what no push waits for: all nodes may be asserting all that they hold."""
KNOWN_OFFLINE = 2
"""What `ENLIST` says of a user who was called offline, and not lost."""
_SEP = b"\x1f"


class RedisRegistry:
    """Keep owners in Redis.

    Args:
        url: ``redis://``, ``rediss://``, ``redis+sentinel://`` or ``redis+cluster://``.
        prefix: of every key.

    Raises:
        InvalidField: the URL is not one of these; says what is wrong.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._servers = connect(parse_redis_url(url))
        self._prefix = prefix
        self._names: dict[bytes, str] = {}
        self._beats: dict[str, bytes] = {}
        self._losses = count()
        self._mending = Mending()
        self._clock = RemoteClock()
        self._absences = RedisAbsences(self._servers, prefix, self.release)

    @property
    def absences(self) -> RedisAbsences:
        """Who has left and may come back."""
        return self._absences

    async def look_up(self, conns: Sequence[str], users: Sequence[str], copies: Sequence[str] = ()) -> Found:
        """Return each connection's owner, the connections of each user key, and receipts by their keys."""
        if not (conns or users or copies):
            return Found([], [])
        keys = [f"{self._prefix}:conn:{{{conn}}}" for conn in conns]
        keys += [f"{self._prefix}:user:{{{user}}}" for user in users]
        end = len(keys)
        keys += [self._once_key(key) for key in copies]
        keys.append(self._whole_key)
        *values, state = await self._servers.get(keys, COMMAND_TIMEOUT_S)
        owners = [self._owner(value) for value in values[: len(conns)]]
        listed = [self._user_connections(value) for value in values[len(conns) : end]]
        return Found(owners, listed, state == WHOLE, values[end:])

    async def keep(self, kept: Sequence[Kept]) -> list[bytes | None]:
        """Keep receipts; return for each the one that was kept before it and still is, or None."""
        calls: list[Call] = []
        for each in kept:
            key = self._once_key(each.key)
            options = () if each.replaces else ("NX", "GET")
            calls.append((key, ("SET", key, each.record, "EX", ceil(COPIES_S), *options)))
        answers = await self._servers.run(calls, COMMAND_TIMEOUT_S)
        return [None if each.replaces else answer for each, answer in zip(kept, answers, strict=True)]

    async def listing(self) -> Listing:
        """Return the ids of the nodes."""
        return (await self.look_up_groups(())).listing

    async def look_up_groups(self, groups: Sequence[str]) -> FoundGroups:
        """Return which nodes have members of each group, and the ids of all nodes."""
        key, whole = self._nodes_key, self._whole_key
        group_keys = [self._group_key(group) for group in groups]
        calls: list[Call] = [
            (key, ("TIME",)),
            (key, ("ZRANGE", key, 0, -1, "WITHSCORES")),
            *((group_key, ("GET", group_key)) for group_key in group_keys),
            # Last, so that it was whole when the others were read.
            (whole, ("GET", whole)),
        ]
        time, listed, *marked, state = await self._servers.run(calls, COMMAND_TIMEOUT_S)
        return FoundGroups(self._listing(time, listed, state), [self._marked(value) for value in marked])

    def _listing(self, time: list[bytes], listed: list[bytes], state: bytes | None) -> Listing:
        seconds, micros = time
        now = int(seconds) * 1_000_000 + int(micros)
        nodes: tuple[list[str], list[str]] = [], []
        for node, expiry in zip(listed[::2], listed[1::2], strict=True):
            nodes[float(expiry) <= now].append(node.decode())
        return Listing(*nodes, state == WHOLE)

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Register connections or assert them again: the newest session of an id wins."""
        calls = (
            CLAIM.call(
                f"{self._prefix}:conn:{{{claim.conn}}}",
                *claim.owner,
                claim.generation,
                claim.user.token if claim.user is not None else "",
                BINDING_S,
                ENTRY_S,
                self._generation_at(claim.began),
                " ".join(Group(group).token for group in claim.groups),
            )
            for claim in claims
        )
        answers = await self._run(CLAIM, calls)
        claimed = [_claimed(answer) for answer in answers]
        bound = [bool(answer[9]) for answer in answers]
        return await self._enlist(claims, claimed, bound)

    async def _enlist(
        self, claims: Sequence[Claim], claimed: list[Claimed], bound: Sequence[bool]
    ) -> list[Claimed]:
        """List connections with their users; return what was answered to them, with who is the first."""
        listed = [
            (at, claims[at], answer.user)
            for at, answer in enumerate(claimed)
            if answer.accepted and answer.user is not None
        ]
        calls = (
            ENLIST.call(
                f"{self._prefix}:user:{{{user.key}}}",
                claim.conn,
                *claim.owner,
                quote(user.from_type or "", safe=""),
                USER_CONNECTIONS,
                BINDING_S,
            )
            for _, claim, user in listed
        )
        for (at, claim, _), before in zip(listed, await self._run(ENLIST, calls), strict=True):
            is_new = not claim.generation or bound[at] or claimed[at].appeared
            if before == KNOWN_OFFLINE or (before and is_new):
                claimed[at] = replace(claimed[at], first=True)
        return claimed

    async def release(self, releases: Sequence[Release]) -> None:
        """Forget connections, by compare-and-delete on the session."""
        if any(release.presumed for release in releases):
            grace_s = await self._absences.grace()
            releases = [replace(each, grace_s=grace_s) if each.presumed else each for each in releases]
        listed = [(release, release.user) for release in releases if release.user is not None]
        delisted = await self._run(
            DELIST,
            (
                DELIST.call(
                    f"{self._prefix}:user:{{{user.key}}}", release.conn, *release.owner, _mark(release)
                )
                for release, user in listed
            ),
        )
        owned = [release for release in releases if release.conn_too]
        released = await self._run(RELEASE, map(self._release_call, owned))
        found = (
            *(release for (release, _), done in zip(listed, delisted, strict=True) if done),
            *(release for release, done in zip(owned, released, strict=True) if done),
        )
        absent = {absence(each): each.grace_s for each in found if each.grace_s is not None}
        await self._absences.expect(list(absent.items()))

    def _release_call(self, release: Release) -> Call:
        return RELEASE.call(
            f"{self._prefix}:conn:{{{release.conn}}}",
            *release.owner,
            BINDING_S,
            ceil(release.rejoin_s),
            _mark(release),
            seconds(release.grace_s or 0),
        )

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Note which groups have members where."""
        calls = (
            MARK.call(self._group_key(mark.group), mark.node, mark.turn, int(mark.here), ENTRY_S)
            for mark in marks
        )
        await self._run(MARK, calls)

    async def heartbeat(self, info: NodeInfo, lease_s: float, *, told: bool = True) -> bool:
        """Renew the node's lease; return whether all that this node told is surely there still.

        Nothing is missed, though Redis confirms what its replicas do not have yet: what is lost is lost with
        the server that confirmed it, and that server's end breaks the connection of `pulse`, which is asked
        after the beat. While that connection holds, the same server has been the master all the time. Not
        noticed is one server of a Cluster that is emptied by hand, unless it is the one with the nodes.
        """
        text = json.dumps([info.id, info.name, info.connections, info.started, info.state, info.version])
        key, lease_ms, whole = f"{self._prefix}:node:{{{info.id}}}", int(lease_s * 1000), self._whole_key
        calls: list[Call] = [
            (key, ("SET", key, text, "PX", lease_ms)),
            BEAT.call(self._nodes_key, info.id, lease_ms * 1000, self._beats.get(info.id, b"")),
            (whole, ("GET", whole)),
        ]
        sent = monotonic()
        _, (found, lost, expiry), state = await self._servers.run(calls, WRITE_TIMEOUT_S, BEAT, insist=True)
        read = monotonic()
        if lost or not told:
            # Before what is lost is asserted again: half a list is worse than none.
            state = f"{info.id} {next(self._losses)}".encode()
            await self._say(state)
        self._beats[info.id] = expiry
        if self._mending.has_passed(state, lease_s, read):
            await self._say(WHOLE)
        unbroken = await self._servers.pulse()
        if not unbroken:
            self._clock.forget()
        self._clock.learn(int(expiry) / 1_000_000 - lease_s, sent, read)
        return bool(found) and unbroken

    async def vouch(self) -> None:
        """Make an empty registry whole: there is no node that has been in it before."""
        await self._say(WHOLE, "NX")

    async def _say(self, state: bytes, *options: str) -> None:
        key = self._whole_key
        await self._servers.run([(key, ("SET", key, state, *options))], WRITE_TIMEOUT_S)

    def _generation_at(self, began: float | None) -> int:
        """Return a moment here as a generation; 0 if that is now, or not known."""
        at = None if began is None else self._clock.at(began)
        return 0 if at is None else int((at - GENERATION_EPOCH_S) * GENERATIONS_PER_S)

    async def withdraw(self, node: str) -> None:
        """End the node's lease."""
        self._beats.pop(node, None)
        key = f"{self._prefix}:node:{{{node}}}"
        calls: list[Call] = [(self._nodes_key, ("ZREM", self._nodes_key, node)), (key, ("DEL", key))]
        await self._servers.run(calls, WRITE_TIMEOUT_S)

    async def describe(self, conns: Sequence[str]) -> list[Info | None]:
        """Return what is known of connections, owned or only bound."""
        if not conns:
            return []
        keys = [f"{self._prefix}:conn:{{{conn}}}" for conn in conns]
        return [self._info(value) for value in await self._servers.get(keys, WRITE_TIMEOUT_S)]

    async def nodes(self) -> list[NodeInfo]:
        """Return what the live nodes are and hold."""
        live = (await self.listing()).live
        if not live:
            return []
        values = await self._servers.get(
            [f"{self._prefix}:node:{{{node}}}" for node in live], WRITE_TIMEOUT_S
        )
        return [NodeInfo(*json.loads(value)) for value in values if value is not None]

    async def close(self) -> None:
        """Let go of the connections to Redis."""
        await self._servers.close()

    @property
    def _whole_key(self) -> str:
        return f"{self._prefix}:whole"

    @property
    def _nodes_key(self) -> str:
        return f"{self._prefix}:nodes"

    def _once_key(self, key: str) -> str:
        return f"{self._prefix}:once:{{{key}}}"

    def _group_key(self, group: str) -> str:
        return f"{self._prefix}:group:{{{group_token(group)}}}"

    async def _run(self, script: Script, calls: Iterable[Call]) -> list[Any]:
        """Run a script once for each call, in one round trip."""
        calls = list(calls)
        return await self._servers.run(calls, WRITE_TIMEOUT_S, script) if calls else []

    def _info(self, value: bytes | None) -> Info | None:
        if value is None:
            return None
        _, _, generation, identity, *_ = value.split(_SEP)
        if value[:1] == _SEP and not identity:
            return None
        user = User.from_token(identity.decode()) if identity else None
        return Info(self._owner(value), user, int(generation))

    def _owner(self, value: bytes | None) -> Owner | None:
        if not value or value[:1] == _SEP:
            return None
        node, session, _ = value.split(_SEP, 2)
        return Owner(self._name(node), session.decode())

    def _user_connections(self, value: bytes | None) -> list[UserConnection]:
        if not value:
            return []
        found = []
        for line in value.split(b"\n"):
            conn, node, session, kind = line.split(_SEP)
            if not node:
                continue
            owner = Owner(self._name(node), session.decode())
            found.append(UserConnection(conn.decode(), owner, unquote(self._name(kind)) if kind else None))
        return found

    def _marked(self, value: bytes | None) -> list[str]:
        return [self._name(line.split(_SEP, 1)[0]) for line in (value or b"").splitlines()]

    def _name(self, node: bytes) -> str:
        """Return the one string for a node's id: a cluster has few nodes, a round has many owners."""
        name = self._names.get(node)
        if name is None:
            if len(self._names) > 10_000:  # noqa: PLR2004 - nodes come and go
                self._names.clear()
            name = self._names[node] = node.decode()
        return name


def _claimed(answer: list[Any]) -> Claimed:
    accepted, generation, node, session, identity, missing, taken, groups, appeared, _ = answer
    return Claimed(
        accepted=bool(accepted),
        generation=int(generation),
        before=Owner(node.decode(), session.decode()) if node else None,
        user=User.from_token(identity.decode()) if identity else None,
        missing=bool(missing),
        taken=bool(taken),
        groups=frozenset(Group.from_token(token).name for token in groups.decode().split()),
        appeared=bool(appeared),
    )


def _mark(release: Release) -> str:
    return "" if release.grace_s is None else release.mark
