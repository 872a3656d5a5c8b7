"""Rows 6 to 9: Redis that loses all, does not answer, or throws everybody out."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster
from tests.faults.invariants import count
from tests.faults.publishers import Load, by_publisher
from tests.faults.stage import check_receipts, open_loads, signs, story, until_delivered
from tests.integration.peers import eventually, unique
from tests.servers import RedisServer

MANY = 2000


def allowed_whole_s(connections: int) -> float:
    """Return how long a node with this many connections may take to make an emptied Redis whole."""
    return 10 + connections / 2000


@pytest.mark.timeout(180)
async def test_redis_that_comes_back_empty_is_whole_again_soon(
    start_cluster, make_fleet, figure, own_redis: RedisServer
):
    """Row 6."""
    cluster: FaultCluster = await start_cluster(2)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(MANY)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids) as loads:
        own_redis.kill()
        await until_delivered(loads[0], ids[:100])
        await asyncio.to_thread(own_redis.start)
        whole_s = await until_whole(cluster, fleet, ids)
        await until_delivered(loads[1], ids[:100])
    await check_receipts(cluster, fleet, loads)
    assert all(len(client.log.sessions) == 1 for client in fleet.clients.values())
    allowed_s = allowed_whole_s(MANY // 2)
    text = f"Redis killed, restarted empty: whole again after {whole_s:.1f} s (allowed {allowed_s:.1f} s)"
    figure(6, f"{text}, nobody reconnected; {story(loads)}", whole_s <= allowed_s)


async def until_whole(cluster: FaultCluster, fleet: Fleet, ids: Sequence[str]) -> float:
    """Wait until the registry holds every connection and user as they are; return for how many seconds."""
    began = time.monotonic()
    holders = [fleet.clients[sign].session.node for sign in ids]

    async def is_whole() -> bool:
        if await cluster.owners(ids) != holders:
            return False
        users = {key.partition("{")[2].rstrip("}") for key in await cluster.keys("user:*")}
        return len(users) == len(ids)

    await eventually(is_whole, "the registry to be whole")
    return time.monotonic() - began


@pytest.mark.timeout(180)
async def test_redis_emptied_under_load_makes_nobody_offline(start_cluster, make_fleet, figure):
    """Row 7."""
    cluster: FaultCluster = await start_cluster(3)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(600)
    await fleet.open(ids, users=True)
    waits = []
    async with open_loads(cluster, ids) as loads:
        for _ in range(2):
            await until_delivered(loads[0], ids[:100])
            await cluster.command("FLUSHALL")
            loads.append(await push_as_a_newcomer(cluster, ids[:200]))
            waits.append(await until_whole(cluster, fleet, ids))
    await check_receipts(cluster, fleet, loads)
    allowed_s = allowed_whole_s(len(ids) // 3)
    offline = sum(load.outcomes["offline"] for load in loads)
    figure(7, f"FLUSHALL under load, twice: {story(loads)}", offline == 0)
    text = f"FLUSHALL: whole again after {max(waits):.1f} s (allowed {allowed_s:.1f} s)"
    figure(7, text, max(waits) <= allowed_s)


async def push_as_a_newcomer(cluster: FaultCluster, ids: Sequence[str]) -> Load:
    """Push with a publisher that has never seen the registry full."""
    async with cluster.publisher() as publisher:
        load = Load(unique("newcomer"), by_publisher(publisher, 2.0), ids, 0)
        await load.push_to_all(ids)
    return load


@pytest.mark.timeout(180)
async def test_redis_that_does_not_answer_does_not_hold_pushes_up(start_cluster, make_fleet, figure):
    """Row 8."""
    allowed_s = 1.0
    cluster: FaultCluster = await start_cluster(3)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(300)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids) as loads:
        await until_delivered(loads[0], ids)
        cluster.all_redis.black_hole()
        frozen_at = time.monotonic()
        seen = [len(load.pushes) for load in loads]
        await eventually(lambda: len(loads[0].pushes) > seen[0] + 2000, "pushes in the black hole")
        await asyncio.to_thread(check_alive, cluster)
        thawed_at = time.monotonic()
        await cluster.all_redis.pass_on()
        await asyncio.gather(*(member.becomes_ready() for member in cluster.members))
        await until_delivered(loads[0], ids)
    await check_receipts(cluster, fleet, loads)
    during = [p for load in loads for p in load.pushes if frozen_at <= p.started_at < thawed_at]
    slowest_s = max(push.ended_at - push.started_at for push in during)
    closed = sum(len(client.log.sessions) - 1 for client in fleet.clients.values())
    text = f"Redis black hole for {thawed_at - frozen_at:.1f} s: {dict(count(during))}"
    figure(8, f"{text}; slowest push {slowest_s:.2f} s (allowed {allowed_s:g} s)", slowest_s <= allowed_s)
    figure(8, f"Redis black hole: {closed} of {len(ids)} sockets closed", closed == 0)


def check_alive(cluster: FaultCluster) -> None:
    for member in cluster.members:
        assert member.node.get_status("/livez") == 200


@pytest.mark.timeout(180)
async def test_redis_that_throws_everybody_out_in_a_loop_costs_next_to_nothing(
    start_cluster, make_fleet, figure
):
    """Row 9."""
    rounds = 200
    cluster: FaultCluster = await start_cluster(3, proxied=False)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(300)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids) as loads:
        await until_delivered(loads[0], ids)
        begin = [len(load.pushes) for load in loads]
        killed = 0
        for _ in range(rounds):
            killed += await cluster.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            before = len(loads[0].pushes)
            await eventually(lambda seen=before: len(loads[0].pushes) > seen + 10, "pushes between the kills")
    await check_receipts(cluster, fleet, loads)
    during = [p for load, first in zip(loads, begin, strict=True) for p in load.pushes[first:]]
    share = 100 * count(during)["delivered"] / len(during)
    text = f"Redis connections killed, {killed} in {rounds} rounds: {share:.3f} % of {len(during)} delivered"
    figure(9, f"{text} (allowed 99.9 %)", share >= 99.9)
