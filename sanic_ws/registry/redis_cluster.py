"""Redis Cluster: which server has which key, and how that is learnt.

A round goes to all servers concerned at once, one pipeline each. Where a server says that a key has moved,
its word is followed at once and the whole map is read again beside; so it is when a server fails. The map is
put together from what all servers say: where they differ the claim of the highest configuration epoch counts,
as it does between them. A server that is away fails only the calls that need it.
"""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import TYPE_CHECKING, Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError

from sanic_ws.errors import RegistryAway, RegistryUnavailable
from sanic_ws.logs import event_log
from sanic_ws.registry.redis_connection import Connector
from sanic_ws.registry.redis_link import Link, answer_each, check_answers
from sanic_ws.tasks import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sanic_ws.core.redis_url import Address, RedisUrl
    from sanic_ws.registry.scripts import Script

    Call = tuple[str, tuple[Any, ...]]
    """A key, and a command to run where the key is."""
    Range = tuple[int, int, int, tuple[Address, ...]]
    """Configuration epoch; first and last slot; the master and its replicas."""

MAP_EVERY_S = 0.2
"""How often the map is read at most, while something is wrong with it."""
MAP_TIMEOUT_S = 1.0
"""How long servers may take to give it; no push waits for that."""
REDIRECTIONS = 3

log = event_log("sanic_ws.registry")


class ClusterServers:
    """Run commands on the servers of a Cluster.

    Args:
        url: names some of them.
    """

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._connector = Connector(url.options, tls=url.tls)
        self._links: dict[Address, Link] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._known: set[Address] = set()
        self._changes = 0
        self._changes_at_pulse = 0
        self._reading: asyncio.Task[None] | None = None
        self._read_again_at = 0.0
        self._trouble = "not connected yet"
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, keys: Sequence[str], timeout_s: float) -> list[bytes | None]:
        """Return the values of keys."""
        return await self.run([(key, ("GET", key)) for key in keys], timeout_s)

    async def run(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None = None, *, insist: bool = False
    ) -> list[Any]:
        """Run commands where their keys are, on all servers at once."""
        answers = await self._run(calls, timeout_s, script, insist=insist)
        check_answers(answers)
        return answers

    async def run_each(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None = None
    ) -> list[Any]:
        """Run commands where their keys are; a server that fails, fails those that it has."""
        return await answer_each(self._run(calls, timeout_s, script), len(calls))

    async def _run(
        self, calls: Sequence[Call], timeout_s: float, script: Script | None, *, insist: bool = False
    ) -> list[Any]:
        """Return what the servers answer, and in place of an answer why it did not come.

        Raises:
            RegistryAway: nobody was asked.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        if not self._known:
            await self._wait_for_map(timeout_s)
        answers: list[Any] = [self._owner(key) for key, _ in calls]
        todo = {at: (owner, False) for at, owner in enumerate(answers) if isinstance(owner, tuple)}
        for _ in range(REDIRECTIONS):
            left_s = end - loop.time()
            if left_s < timeout_s / 3:
                # A server is not to be blamed for the time that others took.
                late = RegistryAway("Redis Cluster: no time left to follow where its keys have gone")
                answers = [late if at in todo else answer for at, answer in enumerate(answers)]
                break
            await self._send(calls, todo, answers, left_s, script, insist=insist)
            todo = {at: self._follow(answers[at]) for at in todo if isinstance(answers[at], AskError)}
            if not todo:
                break
        if any(isinstance(answer, ClusterDownError) for answer in answers):
            self._read_map_soon()
        return answers

    async def scan(self, pattern: str, count: int, timeout_s: float) -> AsyncIterator[list[bytes]]:
        """Iterate over the keys that match, one master after the other."""
        if not self._known:
            await self._wait_for_map(timeout_s)
        for master in sorted(self.masters):
            async for keys in self._link(master).scan(pattern, count, timeout_s):
                yield keys

    async def pulse(self) -> bool:
        """Return whether all masters have been there without a break, and the same, since the last call."""
        beats = await asyncio.gather(*(self._link(master).pulse() for master in self.masters))
        if not all(beats):
            self._read_map_soon()
        moved, self._changes_at_pulse = self._changes != self._changes_at_pulse, self._changes
        return all(beats) and not moved

    @property
    def masters(self) -> set[Address]:
        """The servers that have slots."""
        return {owner for owner in self._owners if owner is not None}

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await asyncio.gather(*self._closing, *(link.close() for link in self._links.values()))

    async def _send(
        self,
        calls: Sequence[Call],
        todo: dict[int, tuple[Address, bool]],
        answers: list[Any],
        timeout_s: float,
        script: Script | None,
        *,
        insist: bool,
    ) -> None:
        """Send the calls that are left, and put each answer into its place."""
        shares: dict[Address, list[int]] = {}
        for at, (address, _) in todo.items():
            shares.setdefault(address, []).append(at)
        sent = [
            self._share([(calls[at][1], todo[at][1]) for at in share], address, timeout_s, script, insist)
            for address, share in shares.items()
        ]
        done = await asyncio.gather(*sent, return_exceptions=True)
        for share, result in zip(shares.values(), done, strict=True):
            if isinstance(result, RegistryUnavailable):
                self._read_map_soon()
            elif isinstance(result, BaseException):
                raise result
            failed = repeat(result) if isinstance(result, RegistryUnavailable) else result
            for at, answer in zip(share, failed, strict=False):
                answers[at] = answer

    async def _share(
        self,
        commands: Sequence[tuple[tuple[Any, ...], bool]],
        address: Address,
        timeout_s: float,
        script: Script | None,
        insist: bool,
    ) -> list[Any]:
        """Send one server its share; some may have to be announced, as their slot is just moving there."""
        wire: list[tuple[Any, ...]] = []
        places: list[int] = []
        for command, asking in commands:
            if asking:
                wire.append(("ASKING",))
            places.append(len(wire))
            wire.append(command)
        answers = await self._link(address).exchange(wire, timeout_s, script, insist=insist)
        return [answers[place] for place in places]

    def _follow(self, redirection: AskError) -> tuple[Address, bool]:
        """Return where a server sends us to, and whether only for once."""
        address = (redirection.host, redirection.port)
        if not isinstance(redirection, MovedError):
            return address, True
        if self._owners[redirection.slot_id] != address:
            self._owners[redirection.slot_id] = address
            self._changes += 1
        self._read_map_soon()
        return address, False

    def _owner(self, key: str) -> Address | RegistryAway:
        owner = self._owners[key_slot(key.encode())]
        if owner is None:
            self._read_map_soon()
            return RegistryAway("Redis Cluster: a slot has no master")
        return owner

    def _link(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = Link.to(
                "Redis", address, self._connector, self._url.max_connections
            )
        return link

    # The map

    async def _wait_for_map(self, timeout_s: float) -> None:
        self._read_map_soon()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=timeout_s)
        if not self._known:
            raise RegistryAway(f"Redis Cluster: {self._trouble}")

    def _read_map_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._reading is None and not self._closed and loop.time() >= self._read_again_at:
            self._reading = loop.create_task(self._read_map(), name="sanic_ws.cluster_map")

    async def _read_map(self) -> None:
        """Ask all servers that we know of."""
        try:
            asked = {*self._known, *self._url.addresses}
            answers = await asyncio.gather(*map(self._ask, asked), return_exceptions=True)
            views = [answer for answer in answers if not isinstance(answer, BaseException)]
            if views:
                self._adopt([each for view in views for each in view])
            else:
                self._trouble = f"no server answers: {answers[0]}"
        finally:
            self._reading = None
            self._read_again_at = asyncio.get_running_loop().time() + MAP_EVERY_S

    async def _ask(self, address: Address) -> list[Range]:
        commands = [("CLUSTER", "SLOTS"), ("CLUSTER", "NODES")]
        answers = await self._link(address).exchange(commands, MAP_TIMEOUT_S)
        check_answers(answers)
        slots, nodes = answers
        if not slots:
            raise RegistryUnavailable(f"Redis {address[0]}:{address[1]}: belongs to no Cluster yet")
        epochs = {fields[0]: int(fields[6]) for fields in map(bytes.split, nodes.splitlines())}
        return [
            (
                epochs[servers[0][2]],
                first,
                last,
                tuple((_host(name, address), port) for name, port, *_ in servers),
            )
            for first, last, *servers in slots
        ]

    def _adopt(self, ranges: list[Range]) -> None:
        owners: list[tuple[Address, ...]] = [()] * REDIS_CLUSTER_HASH_SLOTS
        for _, first, last, servers in sorted(ranges):
            owners[first : last + 1] = [servers] * (last + 1 - first)
        masters = [servers[0] if servers else None for servers in owners]
        if masters != self._owners:
            self._changes += 1
            self._owners = masters
            if self._known:
                places = ", ".join(f"{host}:{port}" for host, port in sorted(self.masters))
                log.info("Redis Cluster has changed", masters=places)
        self._known = {address for servers in set(owners) for address in servers}
        self._forget({*self._known, *self._url.addresses})

    def _forget(self, kept: set[Address]) -> None:
        for address in self._links.keys() - kept:
            start(self._links.pop(address).close(), self._closing)


def _host(name: bytes | None, asked: Address) -> str:
    """Return a server's host; one that does not know its own is where it was asked."""
    return name.decode() if name and name != b"?" else asked[0]
