"""Nodes, Redis and RabbitMQ of the test's own, with a proxy on every way between them."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import redis.asyncio as aioredis

from sanic_ws import Publisher
from tests.faults.logs import Absence
from tests.faults.open_files import open_files
from tests.faults.proxy import Proxies, Proxy
from tests.integration.peers import call, describe_nodes, eventually, unique
from tests.servers import LOOPBACK, GatewayNode, RabbitServer, RedisServer

LEAVE_S = 60.0
"""How long a node's leave is waited for before the test gives up."""
DRAIN_S = 1.0


class Member:
    """A node with its own ways to Redis and RabbitMQ."""

    def __init__(self, node: GatewayNode, redis: Proxy, rabbit: Proxy, lease_s: float) -> None:
        self.node = node
        self.redis = redis
        self.rabbit = rabbit
        self.absences: list[Absence] = []
        self._lease_s = lease_s

    @property
    def id(self) -> str:
        """Its id, new at each start."""
        assert self.node.node_id is not None
        return self.node.node_id

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self.node.ws_url

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        await asyncio.to_thread(self.node.start)

    async def start_anyhow(self) -> None:
        """Start it and wait until it is alive; its brokers may be away, and nobody believes in it yet."""
        self.node._ready, ready = "livez", self.node._ready
        began = time.monotonic()
        try:
            await self.start()
        finally:
            self.node._ready = ready
        self.absences.append(Absence(self.id, 0.0, began))

    async def kill(self) -> None:
        """End it with kill -9; a client that does not read cannot know it for a while."""
        if self.node.node_id is not None:
            self.absences.append(Absence(self.id, 0.0, time.monotonic()))
        await asyncio.to_thread(self.node.kill)

    async def leave(self) -> int:
        """End it with SIGTERM; return its exit code.

        Raises:
            TimeoutError: it does not leave.
        """
        process = self.node._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, LEAVE_S)
        await self.kill()
        return code

    async def restart(self) -> None:
        """End it with SIGTERM and start it again."""
        assert await self.leave() == 0
        await self.start()

    def pause(self) -> None:
        """Freeze its process."""
        self._go_away()
        self.node.pause()

    def resume(self) -> None:
        """Let its process go on."""
        self.node.resume()

    def cut_off(self) -> None:
        """Freeze its ways to both Redis and RabbitMQ."""
        self._go_away()
        self.redis.black_hole()
        self.rabbit.black_hole()

    async def rejoin(self) -> None:
        """Free both ways again."""
        await self.redis.pass_on()
        await self.rabbit.pass_on()

    async def came_back(self) -> None:
        """Wait until it is ready after it was away; it is believed in from here on."""
        await self.becomes_ready()
        self.absences[-1].until = time.monotonic()

    async def stats(self) -> Any:
        """Return its counters."""
        return (await call(self.node, "GET", "/api/v1/stats")).json

    async def open_files(self) -> Counter[str]:
        """Count what its process has open, by what is at the other end."""
        names = {self.redis.port: "redis", self.redis.target_port: "redis"}
        names |= {self.rabbit.port: "rabbit", self.rabbit.target_port: "rabbit", self.node.port: "clients"}
        return await asyncio.to_thread(open_files, self.node.pid, names)

    async def becomes_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it is ready."""

        async def is_ready() -> bool:
            return await asyncio.to_thread(self.node.get_status, "/readyz") == 200

        await eventually(is_ready, f"{self.node.name} to be ready", timeout_s)

    def _go_away(self) -> None:
        self.absences.append(Absence(self.id, self._lease_s, time.monotonic()))


def check_logs(logs: Iterable[str]) -> None:
    """Check that no node met what it did not expect.

    Raises:
        AssertionError: one did; with what its log says around it.
    """
    for log in logs:
        before, found, after = log.partition("Traceback")
        assert not found, f"{before[-5000:]}{found}{after[:15_000]}"


class FaultCluster:
    """Some nodes on a Redis and a RabbitMQ, under a prefix of their own.

    Args:
        redis, rabbit: running servers.
        count: of nodes.
        proxied: whether proxies stand between; without them nothing but the servers themselves can be hurt.
        env: the nodes' settings by lower-case name.
    """

    def __init__(
        self, redis: RedisServer, rabbit: RabbitServer, count: int, *, proxied: bool = True, **env: Any
    ) -> None:
        self.redis, self.rabbit = redis, rabbit
        self.prefix = unique("f")
        self.lease_s = float(env.get("lease_s", 15.0))
        self._proxied = proxied
        self._env = {"drain_s": DRAIN_S, **env}
        self._stack = AsyncExitStack()
        self.own_redis, self.own_rabbit = Proxy(redis.port), Proxy(rabbit.port)
        """The publishers' ways."""
        self.members = [self._describe(f"n{number}") for number in range(1, count + 1)]

    async def __aenter__(self) -> Self:
        try:
            if self._proxied:
                for proxy in self.all_redis.all + self.all_rabbit.all:
                    await self._stack.enter_async_context(proxy)
            for member in self.members:
                self._stack.push_async_callback(asyncio.to_thread, member.node.stop)
            await asyncio.gather(*(member.start() for member in self.members))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.gather(*(member.kill() for member in self.members))
            logs = [member.node.log.read_text() for member in self.members]
        finally:
            await self._stack.aclose()
        check_logs(logs)

    @property
    def addresses(self) -> list[str]:
        """Where clients connect."""
        return [member.address for member in self.members]

    @property
    def absences(self) -> list[Absence]:
        """When which node was away."""
        return [absence for member in self.members for absence in member.absences]

    @property
    def all_redis(self) -> Proxies:
        """All ways to Redis."""
        return Proxies([self.own_redis, *(member.redis for member in self.members)])

    @property
    def all_rabbit(self) -> Proxies:
        """All ways to RabbitMQ."""
        return Proxies([self.own_rabbit, *(member.rabbit for member in self.members)])

    @property
    def redis_url(self) -> str:
        """A publisher's way to Redis."""
        return f"redis://{LOOPBACK}:{self._port(self.own_redis)}/0"

    @property
    def amqp_url(self) -> str:
        """A publisher's way to RabbitMQ."""
        return f"amqp://guest:guest@{LOOPBACK}:{self._port(self.own_rabbit)}/"

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Publisher]:
        """Open a publisher."""
        async with Publisher(self.redis_url, self.amqp_url, self.prefix) as opened:
            yield opened

    async def keys(self, pattern: str) -> list[str]:
        """Return the names of keys, less the prefix; `pattern` is Redis's."""
        async with aioredis.Redis.from_url(self.redis.url, decode_responses=True) as client:
            found = [key async for key in client.scan_iter(f"{self.prefix}:{pattern}", count=1000)]
        return [key.removeprefix(f"{self.prefix}:") for key in found]

    async def owners(self, signs: Sequence[str]) -> list[str]:
        """Return which node the registry holds each of these connections for; empty for none."""
        async with aioredis.Redis.from_url(self.redis.url, decode_responses=True) as client:
            values = await client.mget([f"{self.prefix}:conn:{{{sign}}}" for sign in signs])
        return [(value or "").partition("\x1f")[0] for value in values]

    async def keys_that_name(self, text: str) -> list[str]:
        """Return the names of keys that hold a text in their name or value; receipts do for a minute."""
        async with aioredis.Redis.from_url(self.redis.url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(f"{self.prefix}:*", count=1000)]
            nodes = f"{self.prefix}:nodes"
            plain = [key for key in keys if key != nodes and ":once:" not in key]
            values = [*await client.mget(plain), repr(await client.zrange(nodes, 0, -1))] if plain else []
        return [key for key, value in zip([*plain, nodes], values, strict=False) if text in f"{key} {value}"]

    async def command(self, *words: Any) -> Any:
        """Give Redis a command, past all proxies."""
        async with aioredis.Redis.from_url(self.redis.url) as client:
            return await client.execute_command(*words)

    def _describe(self, name: str) -> Member:
        redis, rabbit = Proxy(self.redis.port), Proxy(self.rabbit.port)
        settings = {f"SANIC_WS_{key.upper()}": str(value) for key, value in self._env.items()}
        settings["SANIC_WS_REDIS_URL"] = f"redis://{LOOPBACK}:{self._port(redis)}/0"
        settings["SANIC_WS_AMQP_URL"] = f"amqp://guest:guest@{LOOPBACK}:{self._port(rabbit)}/"
        (node,) = describe_nodes(self.redis, self.rabbit, self.prefix, [name], settings).nodes
        return Member(node, redis, rabbit, self.lease_s)

    def _port(self, proxy: Proxy) -> int:
        return proxy.port if self._proxied else proxy.target_port
