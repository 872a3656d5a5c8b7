"""Row 10: a Sentinel failover, and the loss of a master of a Redis Cluster, under a node's registrations."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.faults.clients import Fleet
from tests.faults.stage import signs
from tests.integration.peers import call, eventually, push_body, unique
from tests.redis_servers import RedisCluster, RedisNode, SentinelSetup, cut_replication, masters_of
from tests.servers import GatewayNode, require

ALLOWED_S = 10.0
"""How long after the promotion it may take until registrations go on, and until all are there again."""
MANY = 500
LATE = 50

Servers = SentinelSetup | RedisCluster


@pytest.fixture(params=[SentinelSetup, RedisCluster], ids=["sentinel", "cluster"])
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    require("redis-server")
    made: Servers = request.param()
    await asyncio.to_thread(made.__enter__)
    yield made
    await asyncio.to_thread(made.stop)


class Registrations:
    """A node whose connections are registered on several Redis servers."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.prefix = unique("f")
        env = {"SANIC_WS_REDIS_URL": servers.url, "SANIC_WS_PREFIX": self.prefix, "SANIC_WS_DRAIN_S": "0"}
        self.node = GatewayNode("dev", env=env)

    @property
    def nodes_key(self) -> str:
        """The key that is lost with the master that is lost."""
        return f"{self.prefix}:nodes"

    def victim(self) -> RedisNode:
        """Return the master that has the nodes' leases."""
        if isinstance(self.servers, SentinelSetup):
            return self.servers.master
        return self.servers.master_of(self.nodes_key)

    async def ids(self, but: RedisNode | None = None) -> set[str]:
        """Return the connections that the masters, other than this, know."""
        return await asyncio.to_thread(self._ids, but)

    async def promoted(self, lost: RedisNode) -> None:
        """Wait until a replica is master in a lost one's place."""
        others = [server for server in self.servers.servers if server is not lost]
        before = len(masters_of(others))

        async def is_promoted() -> bool:
            return len(await asyncio.to_thread(masters_of, others)) > before

        await eventually(is_promoted, "a replica to be promoted", 60)

    async def steps_down(self, lost: RedisNode) -> None:
        """Wait until a master that is back follows the new one."""

        async def follows() -> bool:
            return (await asyncio.to_thread(lost.ask, "ROLE"))[0] == "slave"

        await eventually(follows, "the old master to follow the new one", 60)

    async def until_known(self, ids: set[str], but: RedisNode | None = None) -> float:
        """Wait until all these are registered with masters other than this; return when they were."""

        async def are_known() -> bool:
            return ids <= await self.ids(but)

        await eventually(are_known, "all to be registered", 60)
        return time.monotonic()

    def _ids(self, but: RedisNode | None) -> set[str]:
        pattern = f"{self.prefix}:conn:*"
        asked = masters_of(server for server in self.servers.servers if server is not but)
        keys = [key for server in asked for key in server.ask("KEYS", pattern)]
        return {key.partition("{")[2].rstrip("}") for key in keys}


@pytest.fixture
async def registrations(servers: Servers) -> AsyncIterator[Registrations]:
    made = Registrations(servers)
    await asyncio.to_thread(made.node.start)
    yield made
    await asyncio.to_thread(made.node.stop)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_registrations_go_on_soon_after_the_promotion_and_none_is_lost(
    registrations: Registrations,
    make_fleet: Callable[..., Fleet],
    figure: Callable[..., Any],
    how: str,
):
    """Row 10."""
    fleet = make_fleet([registrations.node.ws_url])
    old, late, new = signs(MANY), signs(LATE), signs(LATE)
    await fleet.open(old, users=True)
    await registrations.until_known(set(old))
    lost = registrations.victim()
    # What the master confirms from here on is lost with it.
    cut_replication(lost)
    await fleet.open(late, users=True)
    await registrations.until_known({*old, *late})
    promotion = asyncio.create_task(registrations.promoted(lost))
    await asyncio.sleep(0)
    if how == "killed":
        await asyncio.to_thread(lost.kill)
    else:
        lost.pause()
    await fleet.open(new, users=True)
    await promotion
    promoted_at = time.monotonic()
    if how == "frozen":
        lost.resume()
    resumed_s = await registrations.until_known(set(new), lost) - promoted_at
    whole_s = await registrations.until_known({*old, *late, *new}, lost) - promoted_at
    if how == "frozen":
        await registrations.steps_down(lost)
        await registrations.until_known({*old, *late, *new})
    assert all(len(client.log.sessions) == 1 for client in fleet.clients.values())
    kind = "Sentinel failover" if isinstance(registrations.servers, SentinelSetup) else "cluster master lost"
    text = (
        f"{kind} ({how}): new registrations {resumed_s:.1f} s after the promotion, all "
        f"{len(fleet.clients)} {whole_s:.1f} s (allowed {ALLOWED_S:g} s), nobody reconnected"
    )
    figure(10, text, max(resumed_s, whole_s) <= ALLOWED_S)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("servers", [SentinelSetup], ids=["sentinel"], indirect=True)
async def test_letters_that_a_failover_loses_are_no_secret(
    registrations: Registrations, connect: Callable[..., Any], figure: Callable[..., Any]
):
    """Row 10, for durable messages."""
    node, to = registrations.node, {"conn": unique()}

    async def store(data: str) -> str:
        receipt = {}

        async def is_stored() -> bool:
            body = push_body(to, type="note", data=data, offline="store")
            receipt.update((await call(node, "POST", "/api/v1/push", body)).json)
            return receipt["outcome"] in ("delivered", "stored")

        await eventually(is_stored, "a message to be stored", 60)
        return str(receipt["id"])

    client = await connect(node, to["conn"])
    kept = [await store("kept") for _ in range(3)]
    lost = registrations.victim()
    await asyncio.to_thread(lost.ask, "WAIT", 2, 5000)
    cut_replication(lost)
    gone = [await store("gone") for _ in range(2)]
    promotion = asyncio.create_task(registrations.promoted(lost))
    await asyncio.to_thread(lost.kill)
    await promotion
    after = await store("after")
    got = [await client.next("note") for _ in range(6)]
    assert [message["id"] for message in got] == [*kept, *gone, after]
    assert got[-1]["prev"] == gone[-1], "who has seen what is lost misses nothing"
    for since, recovered, missed in ((gone[-1], False, [*kept, after]), (kept[-1], True, [after])):
        again = await connect(node, to["conn"], query={"since": since})
        came = [await again.next() for _ in missed]
        assert [message["id"] for message in came] == missed
        resumed = (await again.next("resumed"))["data"]
        assert (resumed["recovered"], resumed["last_id"]) == (recovered, after)
    figure(
        10,
        "Sentinel failover: 2 letters lost; who goes on behind one is told `recovered: false`",
    )
