"""Redis as the registry sees it, however many servers it is: one, one that Sentinels watch, or a Cluster."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import ConnectionError as Broken
from redis.exceptions import ResponseError

from sanic_ws.registry.redis_cluster import ClusterServers
from sanic_ws.registry.redis_connection import Connector
from sanic_ws.registry.redis_link import Link, answer_each, check_answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sanic_ws.core.redis_url import Address, RedisUrl
    from sanic_ws.registry.redis_cluster import Call
    from sanic_ws.registry.redis_connection import Connection
    from sanic_ws.registry.scripts import Script

SENTINEL_TIMEOUT_S = 0.15
"""How long a Sentinel is waited for: all are asked at once, within what a push waits for Redis."""


class Servers(Protocol):
    """Run commands where their keys are."""

    async def get(self, keys: Sequence[str], timeout_s: float) -> list[bytes | None]:
        """Return the values of keys, in one round trip."""

    async def run(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None = None, *, insist: bool = False
    ) -> list[Any]:
        """Run commands, each with the key that says where, in one round trip.

        Args:
            calls: keys and commands.
            timeout_s: for all together.
            script: what the commands call by its digest.
            insist: try servers that are away before their time.

        Raises:
            RegistryUnavailable: a server is away, does not answer in time, or answers with an error. The
                others may have done their part.
        """

    async def run_each(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None = None
    ) -> list[Any]:
        """Run commands as `run` does; the answer of one that fails is a `RegistryUnavailable`."""

    def scan(self, pattern: str, count: int, timeout_s: float) -> AsyncIterator[list[bytes]]:
        """Iterate over the keys that match, some of them more than once, in steps of about ``count``."""

    async def pulse(self) -> bool:
        """Return whether all servers have been up without a break since the last call of this."""

    async def close(self) -> None:
        """Close all connections."""


def connect(url: RedisUrl) -> Servers:
    """Return what a URL names; connects when first used."""
    if url.kind == "cluster":
        return ClusterServers(url)
    if url.kind == "sentinel":
        return OneServer.behind(Sentinels(url), url)
    connector = Connector(url.options, tls=url.tls)
    return OneServer(Link.to("Redis", url.addresses[0], connector, url.max_connections))


class OneServer:
    """Use one server, or the one that is the master now.

    Args:
        link: to it.
        sentinels: who know it, if it may change.
    """

    def __init__(self, link: Link, sentinels: Sentinels | None = None) -> None:
        self._link = link
        self._sentinels = sentinels

    @classmethod
    def behind(cls, sentinels: Sentinels, url: RedisUrl) -> OneServer:
        """Return the master that the Sentinels know."""
        connector = Connector(url.options, tls=url.tls)

        def make() -> Connection:
            connection = connector.make()
            connection.find = sentinels.find_master
            return connection

        name, most = f"Redis master {url.master}", url.max_connections
        return cls(Link(name, make, is_current=sentinels.is_master, most=most), sentinels)

    async def get(self, keys: Sequence[str], timeout_s: float) -> list[bytes | None]:
        """Return the values of keys."""
        answers = await self._link.exchange([("MGET", *keys)], timeout_s)
        check_answers(answers)
        found: list[bytes | None] = answers[0]
        return found

    async def run(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None = None, *, insist: bool = False
    ) -> list[Any]:
        """Run commands in one pipeline."""
        commands = [command for _, command in calls]
        answers = await self._link.exchange(commands, timeout_s, script, insist=insist)
        check_answers(answers)
        return answers

    async def run_each(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None = None
    ) -> list[Any]:
        """Run commands in one pipeline, and return what fails as its answer."""
        commands = [command for _, command in calls]
        return await answer_each(self._link.exchange(commands, timeout_s, script), len(calls))

    def scan(self, pattern: str, count: int, timeout_s: float) -> AsyncIterator[list[bytes]]:
        """Iterate over the keys that match."""
        return self._link.scan(pattern, count, timeout_s)

    async def pulse(self) -> bool:
        """Return whether the server has been up without a break since the last call of this.

        The Sentinels are asked as well: a master that was frozen takes itself for one when it thaws, and
        nothing on its connections says that there is another.
        """
        if self._sentinels is not None:
            with suppress(Broken):
                await self._sentinels.find_master()
        return await self._link.pulse()

    async def close(self) -> None:
        """Close all connections."""
        await self._link.close()
        if self._sentinels is not None:
            await self._sentinels.close()


class Sentinels:
    """Ask all Sentinels at once for the master, and believe the one that knows of the latest failover.

    Where none answers, the master is taken to be where it was.

    Args:
        url: where they are, and the master's name.
    """

    def __init__(self, url: RedisUrl) -> None:
        self._master = url.master
        self._known: Address | None = None
        connector = Connector(url.sentinel, tls=url.sentinel_tls)
        self._links = [Link.to("Sentinel", place, connector, url.max_connections) for place in url.addresses]

    def is_master(self, connection: Connection) -> bool:
        """Tell whether a connection leads to the master, as far as is known."""
        return self._known == (connection.host, connection.port)

    async def find_master(self) -> Address:
        """Return the master's address.

        Raises:
            ConnectionError: redis-py's; nobody knows it, or all say that it is down.
        """
        command = ("SENTINEL", "MASTER", self._master)
        answers = await asyncio.gather(
            *(link.exchange([command], SENTINEL_TIMEOUT_S) for link in self._links), return_exceptions=True
        )
        known = [_read_master(answer[0]) for answer in answers if not isinstance(answer, BaseException)]
        views = [view for view in known if view is not None]
        if views:
            epoch = max(epoch for epoch, _, _ in views)
            up = [address for at, is_down, address in views if at == epoch and not is_down]
            if not up:
                raise Broken(f"the Sentinels say that the master {self._master} is down")
            self._known = up[0]
        elif known:
            raise Broken(f"the Sentinels know no master {self._master}: {answers}")
        if self._known is None:
            reasons = "; ".join(str(answer) for answer in answers)
            raise Broken(f"no Sentinel answers: {reasons}")
        return self._known

    async def close(self) -> None:
        """Close the connections to the Sentinels."""
        await asyncio.gather(*(link.close() for link in self._links))


def _read_master(answer: Any) -> tuple[int, bool, Address] | None:
    """Return how many failovers a Sentinel knows of, whether it sees the master down, and where that is."""
    if isinstance(answer, ResponseError) or not answer:
        return None
    fields = {key.decode(): value.decode() for key, value in zip(answer[::2], answer[1::2], strict=True)}
    is_down = not {"s_down", "o_down"}.isdisjoint(fields["flags"].split(","))
    return int(fields["config-epoch"]), is_down, (fields["ip"], int(fields["port"]))
