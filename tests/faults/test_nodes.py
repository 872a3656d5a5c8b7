"""Rows 1 to 5: nodes that are killed, leave, are replaced and are stormed."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence

import pytest

from sanic_ws import Conn, PushRequest
from tests.faults.clients import RESTART, Fleet
from tests.faults.cluster import FaultCluster, Member
from tests.faults.crowd import Crowd
from tests.faults.logs import PushLog
from tests.faults.publishers import Load, by_publisher
from tests.faults.stage import check_receipts, open_loads, signs, story, until_delivered
from tests.integration.peers import eventually, unique

LEASE_S = 15.0
MANY = 5000


@pytest.mark.timeout(180)
async def test_node_that_is_killed_is_not_believed_for_long_and_nobody_is_lied_to(
    start_cluster, make_fleet, figure
):
    """Row 1."""
    cluster: FaultCluster = await start_cluster(3)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(300)
    await fleet.open(ids, users=True)
    killed, *rest = cluster.members
    stay_away = [client for client in fleet.clients.values() if client.session.node == killed.id][:10]
    for client in stay_away:
        client.stays_away = True
    async with open_loads(cluster, ids, nodes=rest) as loads:
        await eventually(lambda: all(len(load.pushes) > 50 for load in loads), "the load to flow")
        await killed.kill()
        killed_at = time.monotonic()
        await fleet.all_connected()
        back_s = time.monotonic() - killed_at
        believed = await until_offline(loads[0], [client.sign for client in stay_away])
        await until_delivered(loads[0], [sign for sign in ids if not fleet.clients[sign].gone])
    await check_receipts(cluster, fleet, loads)
    believed_s = max(push.started_at for push in believed) - killed_at
    figure(1, f"kill -9 under load: all back after {back_s:.1f} s; {story(loads)}; false receipts: 0")
    text = f"kill -9 under load: entries believed for {believed_s:.1f} s (allowed {LEASE_S:g} s)"
    figure(1, text, believed_s <= LEASE_S)


async def until_offline(load: Load, absent: Sequence[str]) -> list[PushLog]:
    """Push to clients that are gone until all of them are `offline`; return the pushes that were not."""
    first = len(load.pushes)

    async def all_offline() -> bool:
        return all(push.outcome == "offline" for push in await load.push_to_all(absent))

    await eventually(all_offline, "clients that are gone to be offline", 2 * LEASE_S)
    wanted = set(absent)
    return [push for push in load.pushes[first:] if push.conn in wanted and push.outcome != "offline"]


@pytest.mark.timeout(240)
async def test_node_with_5000_connections_leaves_in_order(start_cluster, make_fleet, figure):
    """Row 2."""
    drain_s = 10.0
    cluster: FaultCluster = await start_cluster(2, proxied=False, drain_s=drain_s)
    leaving, staying = cluster.members
    left_id = leaving.id
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(MANY)
    await fleet.open(ids, at=[leaving.address], users=True)
    # With time enough for a machine that 5,000 clients on the move keep busy: nothing is lost to a time-out.
    async with open_loads(cluster, ids, nodes=[staying], timeout_s=10) as loads:
        await eventually(lambda: len(loads[0].pushes) > 50, "the load to flow")
        began = time.monotonic()
        code = await leaving.leave()
        took_s = time.monotonic() - began
        await fleet.all_connected()
    await check_receipts(cluster, fleet, loads)
    first = [client.log.sessions[0] for client in fleet.clients.values()]
    told = sum(session.code == RESTART and session.after_ms is not None for session in first)
    left = await cluster.keys_that_name(left_id)
    pushes = [push for load in loads for push in load.pushes]
    lost = [push for push in pushes if push.outcome not in ("delivered", "offline")]
    figure(2, f"SIGTERM: {told} of {MANY} clients got `reconnect` and 1012", told == MANY)
    allowed_s = drain_s + 5
    text = f"SIGTERM: exit {code} after {took_s:.1f} s (allowed {allowed_s:g} s), {len(left)} keys left"
    figure(2, text, code == 0 and took_s <= allowed_s and not left)
    which = "".join(f"\n{push}, left node {left_id}, asked to leave at {began}" for push in lost[:5])
    figure(2, f"SIGTERM: {story(loads)}; lost: {len(lost)}{which}", not lost)


@pytest.mark.timeout(240)
async def test_rolling_restart_under_load_goes_unnoticed(start_cluster, make_fleet, figure):
    """Row 3."""
    cluster: FaultCluster = await start_cluster(3, drain_s=2)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(300)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids, nodes=[]) as loads:
        for member in cluster.members:
            await member.restart()
            await fleet.all_connected()
        await until_delivered(loads[0], ids)
    await check_receipts(cluster, fleet, loads)
    text = f"rolling restart of 3 nodes: {story(loads)}; neither delivered nor honestly reported: 0"
    figure(3, text)


@pytest.mark.timeout(240)
async def test_who_is_not_there_stays_known_while_nodes_come_and_go(start_cluster, figure):
    """Rows 2 and 3, for pushes that all nodes are asked about."""
    restarts = 10
    cluster: FaultCluster = await start_cluster(2, proxied=False, drain_s=0.5)
    async with open_loads(cluster, signs(1000), nodes=[], timeout_s=10) as loads:
        for _ in range(restarts):
            await cluster.members[0].restart()
    pushes = [push for load in loads for push in load.pushes]
    known = sum(push.outcome == "offline" for push in pushes)
    # One that a stall of the machine keeps from the nodes in time is honestly unknown.
    text = f"{restarts} restarts of a node, pushes to nobody: {story(loads)} (allowed 99.9 % offline)"
    figure(3, text, known >= 0.999 * len(pushes))


@pytest.mark.timeout(240)
async def test_reconnect_elsewhere_survives_a_late_release(start_cluster, make_fleet, figure):
    """Row 4."""
    trials, at_once, delay_s = 1000, 50, 0.1
    cluster: FaultCluster = await start_cluster(2)
    one, other = cluster.members
    fleet: Fleet = make_fleet([other.address], jitter=False)
    ids = signs(trials)
    async with (
        cluster.publisher() as publisher,
        Load(unique("p"), by_publisher(publisher, 2.0), ids, 0) as load,
    ):
        for start in range(0, trials, at_once):
            some = ids[start : start + at_once]
            await fleet.open(some, at=[one.address])
            one.redis.delay(delay_s)
            for sign in some:
                fleet.clients[sign].drop()
            await come_to(fleet, other, some)
            await load.push_to_all(some)
            await all_read(one, 0)
            one.redis.delay(0)
            await load.push_to_all(some)
    await check_receipts(cluster, fleet, [load])
    soon = load.pushes[0 : 2 * trials]
    delivered = sum(push.outcome == "delivered" and push.node == other.id for push in soon) / 2
    text = f"reconnect on B, A's release late by {delay_s:g} s: delivered {delivered:g} of {trials}"
    figure(4, text, delivered == trials)
    assert set(await cluster.owners(ids)) == {other.id}


async def come_to(fleet: Fleet, member: Member, ids: Sequence[str]) -> None:
    """Wait until these clients are connected to a node."""
    clients = [fleet.clients[sign] for sign in ids]
    await eventually(
        lambda: all(client.connected and client.session.node == member.id for client in clients),
        "clients to come back elsewhere",
    )


async def all_read(member: Member, connections: int) -> None:
    """Wait until a node holds this many connections and Redis has read what it said of the others."""

    async def holds() -> bool:
        return (await member.stats())["connections"] == connections

    await eventually(holds, f"{member.node.name} to hold {connections} connections")
    # Behind every release that is on its way.
    await eventually(lambda: not member.redis.waiting, "Redis to have read it all")


@pytest.mark.timeout(240)
async def test_5000_clients_that_come_back_at_once_are_all_served(start_cluster, figure):
    """Row 5."""
    allowed_s = 5.0
    cluster: FaultCluster = await start_cluster(2, proxied=False)
    killed, staying = cluster.members
    ids = signs(MANY)
    watching = asyncio.create_task(watch_readiness(staying))
    with Crowd(ids) as crowd:
        storms = [await asyncio.to_thread(crowd.connect, killed.node.port)]
        await killed.kill()
        storms += [await asyncio.to_thread(crowd.connect, staying.node.port) for _ in range(2)]
        async with cluster.publisher() as publisher:
            some = random.Random(5).sample(ids, 200)
            pushes = [PushRequest(Conn(sign), "t", sign, id=f"storm-{sign}") for sign in some]
            receipts = await publisher.push_many(pushes)
        assert [(r.outcome, r.deliveries[0].route) for r in receipts] == [("delivered", "direct")] * len(some)
        for sign in some:
            assert f"storm-{sign}" in await asyncio.to_thread(crowd.read, sign)
    watching.cancel()
    (seen,) = await asyncio.gather(watching, return_exceptions=True)
    assert isinstance(seen, asyncio.CancelledError), seen
    p99s = [sorted(waits)[MANY * 99 // 100] for waits in storms]
    shown = ", ".join(f"{p99_s:.2f}" for p99_s in p99s)
    p99_s = statistics.median(p99s)
    text = f"{MANY} clients come back at once, three times: p99 {shown} s (median: allowed {allowed_s:g} s)"
    figure(5, f"{text}, node never unready", p99_s <= allowed_s)


async def watch_readiness(member: Member) -> None:
    """Ask for ever whether a node is ready.

    Raises:
        AssertionError: it is not.
    """
    while True:
        status = await asyncio.to_thread(member.node.get_status, "/readyz", 10)
        assert status == 200, f"/readyz answered {status}"
        await asyncio.sleep(0.02)
