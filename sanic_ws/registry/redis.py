"""The registry in Redis (7.0 or newer).

Keys; every script touches one of them, every entity has its own hash tag::

    <prefix>:conn:{id}      node ␟ session ␟ generation ␟ identity       string
    <prefix>:user:{user}    conn ␟ node ␟ session ␟ fromType, one a line    string
    <prefix>:nodes          node → expiry                                  sorted set
    <prefix>:node:{id}      what the node is and holds, JSON               string

Strings, so that one MGET looks up a whole round. ``␟`` is U+001F, which no id holds: ids are escaped.
``node`` is empty where only the binding is left. An owner's entry has no lease of its own: it is worth
as much as its node's lease (``nodes``), which the node's heartbeat renews, so that a million idle
connections cost Redis nothing. What a dead node leaves in a user's list goes when a push meets it, or
when the list is full. Generations are Redis's own clock, see `GENERATION_EPOCH_S`. Values are kept short:
up to 44 bytes Redis needs one allocation for them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from sanic_ws.core import json
from sanic_ws.core.flights import Owner, UserConnection
from sanic_ws.core.identity import User
from sanic_ws.errors import RegistryUnavailable
from sanic_ws.registry.port import (
    BINDING_S,
    ENTRY_S,
    USER_CONNECTIONS,
    Claim,
    Claimed,
    Info,
    NodeInfo,
    Release,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

COMMAND_TIMEOUT_S = 0.3
_SEP = b"\x1f"

# KEYS: conn. ARGV: node, session, generation, identity, binding_s, entry_s.
# Returns {accepted, generation, node before, session before, identity, missing}.
_CLAIM = """
local node, session, generation, identity = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local had = redis.call('GET', KEYS[1])
local node_before, session_before, generation_before = '', '', 0
if had then
  local identity_before
  node_before, session_before, generation_before, identity_before =
    string.match(had, '^([^\\31]*)\\31([^\\31]*)\\31(%d+)\\31(.*)$')
  generation_before = tonumber(generation_before)
  if identity == '' then identity = identity_before end
end
local same = node_before == node and session_before == session
local missing = 0
if not same then
  if generation > 0 and generation < generation_before and node_before ~= '' then
    return {0, generation_before, node_before, session_before, identity, 0}
  end
  if generation > 0 then missing = 1 end
end
if generation == 0 then
  if same then generation = generation_before else
    local now = redis.call('TIME')
    generation = math.max(generation_before + 1, (now[1] - 1577836800) * 100 + math.floor(now[2] / 10000))
  end
end
local ttl = ARGV[6]
if identity ~= '' then ttl = ARGV[5] end
redis.call('SET', KEYS[1],
  table.concat({node, session, string.format('%.0f', generation), identity}, '\\31'), 'EX', ttl)
if same then node_before, session_before = '', '' end
return {1, string.format('%.0f', generation), node_before, session_before, identity, missing}
"""

# KEYS: user. ARGV: conn, node, session, fromType, most, binding_s.
_ENLIST = """
local lines, own = {}, ARGV[1] .. '\\31'
for line in string.gmatch(redis.call('GET', KEYS[1]) or '', '[^\\n]+') do
  if string.sub(line, 1, #own) ~= own then table.insert(lines, line) end
end
while #lines >= tonumber(ARGV[5]) do table.remove(lines, 1) end
table.insert(lines, table.concat({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}, '\\31'))
redis.call('SET', KEYS[1], table.concat(lines, '\\n'), 'EX', ARGV[6])
"""

# KEYS: conn. ARGV: node, session, binding_s.
_RELEASE = """
local had = redis.call('GET', KEYS[1])
if not had then return 0 end
local node, session, generation, identity = string.match(had, '^([^\\31]*)\\31([^\\31]*)\\31(%d+)\\31(.*)$')
if node ~= ARGV[1] or session ~= ARGV[2] then return 0 end
if identity == '' then redis.call('DEL', KEYS[1]) else
  redis.call('SET', KEYS[1], table.concat({'', '', generation, identity}, '\\31'), 'EX', ARGV[3])
end
return 1
"""

# KEYS: user. ARGV: conn, node, session.
_DELIST = """
local had = redis.call('GET', KEYS[1])
if not had then return 0 end
local lines, found = {}, 0
local gone = table.concat({ARGV[1], ARGV[2], ARGV[3], ''}, '\\31')
for line in string.gmatch(had, '[^\\n]+') do
  if string.sub(line, 1, #gone) == gone then found = 1 else table.insert(lines, line) end
end
if #lines == 0 then redis.call('DEL', KEYS[1])
elseif found == 1 then redis.call('SET', KEYS[1], table.concat(lines, '\\n'), 'KEEPTTL') end
return found
"""

# KEYS: nodes. ARGV: node, lease in microseconds. Returns whether the node was there.
_BEAT = """
local now = redis.call('TIME')
local time = now[1] * 1000000 + now[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - 3600 * 1000000)
local had = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[1])
if had then return 1 else return 0 end
"""


class _Packed:
    """Write commands with hiredis: a look-up of 1,000 keys takes a tenth of the time."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return a command in the protocol's form."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]


class _Connection(_Packed, aioredis.Connection):
    pass


class _SSLConnection(_Packed, aioredis.SSLConnection):
    pass


class RedisRegistry:
    """Keep owners in Redis.

    Args:
        url: ``redis://`` or ``rediss://``, with user, password and database as redis-py takes them.
        prefix: of every key.
    """

    def __init__(self, url: str, prefix: str) -> None:
        pool: aioredis.ConnectionPool = aioredis.ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=COMMAND_TIMEOUT_S,
            socket_connect_timeout=COMMAND_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            max_connections=64,
        )
        packed = _SSLConnection if pool.connection_class is aioredis.SSLConnection else _Connection
        pool.connection_class = packed
        self._redis: aioredis.Redis = aioredis.Redis.from_pool(pool)
        self._prefix = prefix
        self._scripts: dict[str, str] = {}
        self._names: dict[bytes, str] = {}

    async def look_up(
        self, conns: Sequence[str], users: Sequence[str]
    ) -> tuple[list[Owner | None], list[list[UserConnection]]]:
        """Return each connection's owner and the connections of each user key."""
        if not conns and not users:
            return [], []
        keys = [f"{self._prefix}:conn:{{{conn}}}" for conn in conns]
        keys += [f"{self._prefix}:user:{{{user}}}" for user in users]
        async with _translated():
            values: list[Any] = await self._redis.mget(keys)
        owners = [self._owner(value) for value in values[: len(conns)]]
        return owners, [self._user_connections(value) for value in values[len(conns) :]]

    async def live_nodes(self) -> list[str]:
        """Return the ids of the nodes whose lease runs."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(f"{self._prefix}:nodes", 0, -1, withscores=True)
        async with _translated():
            (seconds, micros), nodes = await pipeline.execute()
        now = seconds * 1_000_000 + micros
        return [node.decode() for node, expiry in nodes if expiry > now]

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Register connections or assert them again: the newest session of an id wins."""
        answers = await self._run(
            _CLAIM,
            (
                (
                    f"{self._prefix}:conn:{{{claim.conn}}}",
                    *claim.owner,
                    claim.generation,
                    claim.user.token if claim.user is not None else "",
                    BINDING_S,
                    ENTRY_S,
                )
                for claim in claims
            ),
        )
        claimed = [_claimed(answer) for answer in answers]
        await self._enlist(claims, claimed)
        return claimed

    async def _enlist(self, claims: Sequence[Claim], claimed: Sequence[Claimed]) -> None:
        bound = [
            (c, d.user) for c, d in zip(claims, claimed, strict=True) if d.accepted and d.user is not None
        ]
        await self._run(
            _ENLIST,
            (
                (
                    f"{self._prefix}:user:{{{user.key}}}",
                    claim.conn,
                    *claim.owner,
                    quote(user.from_type or "", safe=""),
                    USER_CONNECTIONS,
                    BINDING_S,
                )
                for claim, user in bound
            ),
        )

    async def release(self, releases: Sequence[Release]) -> None:
        """Forget connections, by compare-and-delete on the session."""
        await self._run(
            _DELIST,
            (
                (f"{self._prefix}:user:{{{release.user.key}}}", release.conn, *release.owner)
                for release in releases
                if release.user is not None
            ),
        )
        await self._run(
            _RELEASE,
            (
                (f"{self._prefix}:conn:{{{release.conn}}}", *release.owner, BINDING_S)
                for release in releases
                if release.conn_too
            ),
        )

    async def heartbeat(self, info: NodeInfo, lease_s: float) -> bool:
        """Renew the node's lease; return whether the registry had it."""
        text = json.dumps([info.id, info.name, info.connections, info.started, info.state, info.version])
        async with _translated():
            await self._redis.set(f"{self._prefix}:node:{{{info.id}}}", text, px=int(lease_s * 1000))
        (had,) = await self._run(_BEAT, [(f"{self._prefix}:nodes", info.id, int(lease_s * 1_000_000))])
        return bool(had)

    async def withdraw(self, node: str) -> None:
        """End the node's lease."""
        async with _translated():
            await self._redis.zrem(f"{self._prefix}:nodes", node)
            await self._redis.delete(f"{self._prefix}:node:{{{node}}}")

    async def describe(self, conns: Sequence[str]) -> list[Info | None]:
        """Return what is known of connections, owned or only bound."""
        async with _translated():
            values: list[Any] = await self._redis.mget([f"{self._prefix}:conn:{{{conn}}}" for conn in conns])
        infos: list[Info | None] = []
        for value in values:
            if value is None:
                infos.append(None)
                continue
            *_, generation, identity = value.split(_SEP, 3)
            user = User.from_token(identity.decode()) if identity else None
            infos.append(Info(self._owner(value), user, int(generation)))
        return infos

    async def nodes(self) -> list[NodeInfo]:
        """Return what the live nodes are and hold."""
        live = await self.live_nodes()
        if not live:
            return []
        async with _translated():
            values = await self._redis.mget([f"{self._prefix}:node:{{{node}}}" for node in live])
        return [NodeInfo(*json.loads(value)) for value in values if value is not None]

    async def close(self) -> None:
        """Let go of the connections to Redis."""
        await self._redis.aclose()

    async def _run(self, script: str, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Run a script once for each tuple of key and arguments, in one round trip."""
        calls = list(calls)
        if not calls:
            return []
        async with _translated():
            try:
                return await self._pipe(script, calls)
            except NoScriptError:
                self._scripts.clear()
                return await self._pipe(script, calls)

    async def _pipe(self, script: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        digest = self._scripts.get(script)
        if digest is None:
            digest = self._scripts[script] = await self._redis.script_load(script)
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command("EVALSHA", digest, 1, *call)
        return await pipeline.execute()

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
            owner = Owner(self._name(node), session.decode())
            found.append(UserConnection(conn.decode(), owner, unquote(self._name(kind)) if kind else None))
        return found

    def _name(self, node: bytes) -> str:
        """Return the one string for a node's id: a cluster has few nodes, a round has many owners."""
        name = self._names.get(node)
        if name is None:
            if len(self._names) > 10_000:  # noqa: PLR2004 - nodes come and go
                self._names.clear()
            name = self._names[node] = node.decode()
        return name


def _claimed(answer: list[Any]) -> Claimed:
    accepted, generation, node, session, identity, missing = answer
    return Claimed(
        accepted=bool(accepted),
        generation=int(generation),
        before=Owner(node.decode(), session.decode()) if node else None,
        user=User.from_token(identity.decode()) if identity else None,
        missing=bool(missing),
    )


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise RegistryUnavailable(f"Redis: {exc or type(exc).__name__}") from exc
