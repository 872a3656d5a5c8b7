"""Rows 11, 12, 13 and 15: RabbitMQ that goes away, hangs up, takes nothing, or falls silent."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster, Member
from tests.faults.havoc import CLOSE_CONNECTIONS
from tests.faults.invariants import count
from tests.faults.publishers import Load, by_http
from tests.faults.stage import check_receipts, open_loads, signs, story, until_delivered
from tests.faults.usage import Usage, back_at
from tests.integration.peers import eventually, unique
from tests.servers import RabbitServer


@pytest.mark.timeout(240)
async def test_rabbitmq_that_is_started_again_is_used_again(
    start_cluster, make_fleet, figure, own_rabbit: RabbitServer
):
    """Row 11."""
    allowed_s = 15.0
    cluster: FaultCluster = await start_cluster(2)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(200)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids) as loads, open_local_load(cluster.members[0], fleet) as local:
        loads.append(local)
        await until_delivered(loads[0], ids)
        await asyncio.to_thread(own_rabbit.stop, keep_data=True)
        stopped_at = time.monotonic()
        before = len(local.pushes)
        await eventually(lambda: len(local.pushes) > before + 60, "local pushes without RabbitMQ")
        await asyncio.to_thread(own_rabbit.start)
        up_at = time.monotonic()
        await until_delivered(loads[0], ids)
        flows_s = time.monotonic() - up_at
    await check_receipts(cluster, fleet, loads)
    text = f"RabbitMQ away for {up_at - stopped_at:.1f} s: pushes flow {flows_s:.1f} s after it is up"
    figure(11, f"{text} (allowed {allowed_s:g} s)", flows_s <= allowed_s)
    meanwhile = [p for p in local.pushes if stopped_at < p.started_at and p.ended_at < up_at]
    slow = sum(
        p.ended_at - p.started_at > 1 for load in loads for p in load.pushes if p.started_at > stopped_at
    )
    counts = count(meanwhile)
    text = f"RabbitMQ away: local pushes {dict(counts)}, {slow} of all pushes took more than 1 s"
    figure(11, text, set(counts) == {"delivered"})


@asynccontextmanager
async def open_local_load(member: Member, fleet: Fleet):
    """Push to a node's own clients over its HTTP."""
    here = [sign for sign, client in fleet.clients.items() if client.session.node == member.id]
    async with Load(unique("local"), by_http(lambda: member.node), here, 30, seed=4) as load:
        yield load


@pytest.mark.timeout(240)
async def test_rabbitmq_that_closes_all_connections_20_times_leaves_nothing_behind(
    start_cluster, make_fleet, figure, own_rabbit: RabbitServer
):
    """Row 12."""
    times = 20
    cluster: FaultCluster = await start_cluster(2, proxied=False)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(100)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids, rate=100) as loads:
        await until_delivered(loads[0], ids)
    before = [await Usage.of(member) for member in cluster.members]
    async with open_loads(cluster, ids, rate=100) as more:
        script = CLOSE_ALL.replace("CLOSE", CLOSE_CONNECTIONS)
        script = script.replace("TIMES", str(times)).replace("WANTED", "7")
        await asyncio.to_thread(own_rabbit.ctl, "eval", script, timeout_s=180)
        await until_delivered(more[0], ids)
    await check_receipts(cluster, fleet, [*loads, *more])
    for member, baseline in zip(cluster.members, before, strict=True):
        after = await back_at(member, baseline)
        text = f"all AMQP connections closed {times} times: {story(more)}"
        text = f"{text}; {member.node.name} before: {baseline}; after: {after}"
        figure(12, text, after.within(baseline))


# Closes all connections whenever everybody consumes: a node three queues, a publisher one.
CLOSE_ALL = """
Wait = fun
  Again(0) -> exit(not_enough_consumers);
  Again(Left) -> case length(rabbit_amqqueue:consumers_all(<<"/">>)) >= WANTED of
    true -> ok;
    false -> timer:sleep(20), Again(Left - 1)
  end
end,
lists:foreach(fun(_) ->
  Wait(3000),
  CLOSE
end, lists:seq(1, TIMES)).
"""


ALARMS = {
    "memory": (["set_vm_memory_high_watermark", "0.000001"], ["set_vm_memory_high_watermark", "0.4"]),
    "disk": (["set_disk_free_limit", str(10**18)], ["set_disk_free_limit", "50MB"]),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("alarm", ALARMS)
async def test_rabbitmq_that_takes_nothing_makes_pushes_unavailable_at_once(
    start_cluster, make_fleet, figure, own_rabbit: RabbitServer, alarm
):
    """Row 13."""
    allowed_s = 1.0
    begin, end = ALARMS[alarm]
    cluster: FaultCluster = await start_cluster(2)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(200)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids) as loads, open_local_load(cluster.members[0], fleet) as local:
        await until_delivered(loads[0], ids)
        before = await connections(own_rabbit)
        try:
            await asyncio.to_thread(own_rabbit.ctl, *begin)
            await until_blocked(loads[0], cluster, ids[:10])
            blocked_at = time.monotonic()
            told = await loads[0].push_to_all(ids)
            await loads[0].push_to_all(ids)
            await eventually(lambda: enough_local(local, blocked_at), "local pushes during the alarm")
        finally:
            await asyncio.to_thread(own_rabbit.ctl, *end)
        cleared_at = time.monotonic()
        await until_delivered(loads[0], ids)
        flows_s = time.monotonic() - cleared_at
        assert await connections(own_rabbit) == before
    await check_receipts(cluster, fleet, [*loads, local])
    slowest_s = max(push.ended_at - push.started_at for push in told)
    assert count(told) == {"unavailable": len(ids)}
    text = f"{alarm} alarm: pushes `unavailable` after {slowest_s:.3f} s (allowed {allowed_s:g} s)"
    figure(13, f"{text}; {story(loads)}", slowest_s <= allowed_s)
    during = [push for push in local.pushes if blocked_at < push.started_at < cleared_at]
    text = f"{alarm} alarm: local pushes {dict(count(during))}; all flows {flows_s:.1f} s after it"
    figure(13, f"{text}, on the same connections", set(count(during)) == {"delivered"})


async def until_blocked(load: Load, cluster: FaultCluster, ids: Sequence[str]) -> None:
    """Push until everybody has learned that RabbitMQ takes nothing: it says so to who publishes."""

    async def blocked() -> bool:
        pushes = await load.push_to_all(ids)
        stats = [await member.stats() for member in cluster.members]
        known = all(entry["broker"]["blocked"] for entry in stats)
        return known and all(push.outcome == "unavailable" for push in pushes)

    await eventually(blocked, "RabbitMQ to take nothing")


def enough_local(load: Load, since: float) -> bool:
    return sum(push.started_at > since and push.ended_at is not None for push in load.pushes) >= 60


async def connections(rabbit: RabbitServer) -> list[str]:
    """Return RabbitMQ's connections."""
    listed = await asyncio.to_thread(rabbit.ctl, "list_connections", "pid")
    return sorted(line for line in listed.split() if line.startswith("<"))


@pytest.mark.timeout(240)
async def test_rabbitmq_that_falls_silent_is_noticed_and_nobody_is_called_offline(
    start_cluster, make_fleet, figure, own_rabbit: RabbitServer
):
    """Row 15."""
    allowed_s = 35.0
    cluster: FaultCluster = await start_cluster(2)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(200)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids, rate=150) as loads:
        await until_delivered(loads[0], ids)
        frozen_at = time.monotonic()
        cluster.all_rabbit.half_open()
        await until_delivered(loads[0], ids)
        again_s = time.monotonic() - frozen_at
        # Until RabbitMQ has found out as well, and has dropped the old queues.
        await eventually(lambda: has_connections(own_rabbit, 6), "the end of the old connections")
        await until_delivered(loads[0], ids)
    await check_receipts(cluster, fleet, loads)
    during = [p for load in loads for p in load.pushes if frozen_at <= p.started_at < frozen_at + again_s]
    counts = count(during)
    text = f"AMQP half-open: reconnected after {again_s:.1f} s (allowed {allowed_s:g} s); {dict(counts)}"
    figure(15, text, again_s <= allowed_s and counts["offline"] == 0)


async def has_connections(rabbit: RabbitServer, number: int) -> bool:
    return len(await connections(rabbit)) == number
