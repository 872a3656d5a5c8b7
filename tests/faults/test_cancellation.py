"""Row 20: publishers that are cancelled at every await."""

import asyncio
import random

import pytest

from sanic_ws import Conn, Publisher
from tests.faults.cluster import FaultCluster
from tests.faults.invariants import count
from tests.faults.publishers import Load, by_http, by_publisher
from tests.faults.stage import check_receipts, signs
from tests.integration.peers import eventually, unique

LATE_S = 0.02
"""How late Redis and RabbitMQ answer, so that there is a time to be cancelled at every step."""
STEPS = 100


@pytest.mark.timeout(240)
async def test_pushes_cancelled_at_every_await_leave_the_next_receipts_their_own(
    start_cluster, make_fleet, figure
):
    """Row 20."""
    cluster: FaultCluster = await start_cluster(2)
    fleet = make_fleet(cluster.addresses)
    ids = signs(250)
    await fleet.open(ids, users=True)
    nodes = [member.node for member in cluster.members]
    async with cluster.publisher() as publisher:
        direct = by_publisher(publisher, timeout_s=10)
        loads = [
            Load(unique("conns"), direct, ids, 0),
            Load(unique("users"), direct, ids, 0, by_user=True),
            Load(unique("http"), by_http(lambda: random.choice(nodes)), ids, 0),
        ]
        cancelled = 0
        for late_s in (0.0, LATE_S):
            cluster.all_redis.delay(late_s)
            cluster.all_rabbit.delay(late_s)
            for load in loads:
                cancelled += await cancel_at_every_step(load, ids, late_s)
        cluster.all_redis.delay(0)
        cluster.all_rabbit.delay(0)
        after = [push for load in loads for _ in range(4) for push in await load.push_to_all(ids)]
    await check_receipts(cluster, fleet, loads)
    counts = count(after)
    text = f"{cancelled} pushes cancelled at every await: of the next {len(after)} receipts {dict(counts)}"
    figure(20, f"{text}, all their own", counts == {"delivered": len(after)})


async def cancel_at_every_step(load: Load, ids: list[str], late_s: float) -> int:
    """Push and cancel after 0, 1, 2, … turns of the loop, or parts of the time that a push takes."""
    cancelled = 0
    for step in range(STEPS):
        task = load.push(ids[step % len(ids)])
        if late_s:
            await asyncio.wait([task], timeout=step * 6 * late_s / STEPS)
        else:
            for _ in range(step):
                await asyncio.sleep(0)
        cancelled += task.cancel()
        await asyncio.wait([task])
    return cancelled


@pytest.mark.timeout(120)
@pytest.mark.parametrize("late_s", [0.0, LATE_S])
async def test_opening_and_closing_cancelled_at_every_await_leaves_nothing(start_cluster, figure, late_s):
    """Row 20."""
    cluster: FaultCluster = await start_cluster(1)
    cluster.own_redis.delay(late_s)
    cluster.own_rabbit.delay(late_s)
    before = asyncio.all_tasks()
    for step in range(STEPS // 2):
        task = asyncio.create_task(open_and_close(cluster))
        if late_s:
            await asyncio.wait([task], timeout=step * 2 * 25 * late_s / STEPS)
        else:
            for _ in range(20 * step):
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await eventually(lambda: not left_over(before), "the end of what publishers had started")
    await eventually(lambda: cluster.own_rabbit.connections == 0, "the end of their connections")
    await eventually(lambda: cluster.own_redis.connections == 0, "the end of their connections")
    text = f"opening and closing cancelled {STEPS // 2} times, {1000 * late_s:g} ms a step: nothing is left"
    figure(20, text)


async def open_and_close(cluster: FaultCluster) -> None:
    async with Publisher(cluster.redis_url, cluster.amqp_url, cluster.prefix) as publisher:
        await publisher.push(Conn("nobody"), "t")


def left_over(before: set[asyncio.Task]) -> set[asyncio.Task]:
    return {task for task in asyncio.all_tasks() - before if not task.done()}
