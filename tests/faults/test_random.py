"""Random faults under load; `./scripts/test --faults SEED SECONDS` runs them for longer."""

import asyncio
import time

import pytest

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster, Member
from tests.faults.havoc import Havoc
from tests.faults.schedule import NODES, TRACKS, make_schedule
from tests.faults.stage import check_receipts, open_loads, signs, story, until_delivered
from tests.integration.peers import eventually

MB = 1 << 20
LEASE_S = 3.0
SILENT_S = 4.0
MEMORY_BYTES = 24 * MB


def test_schedule_follows_from_its_seed_alone():
    assert make_schedule(7, 300) == make_schedule(7, 300)
    assert make_schedule(7, 300) != make_schedule(8, 300)
    assert make_schedule(7, 300)[:20] == make_schedule(7, 600)[:20]


def test_schedule_holds_every_fault():
    steps = make_schedule(1, 3600)
    for track, faults in TRACKS.items():
        assert {s.name for s in steps if s.track == track} == {fault.name for fault in faults}
    assert not any(s.name in ("kill", "leave") and s.track == "nodes" and s.node == 0 for s in steps)


async def test_random_faults_leave_no_lie_and_nothing_behind(
    start_cluster, make_fleet, figure, pytestconfig: pytest.Config
):
    seed, seconds = pytestconfig.getoption("--faults"), pytestconfig.getoption("--faults-seconds")
    print(f"seed {seed}, {seconds} s: ./scripts/test --faults {seed} {seconds}")
    schedule = make_schedule(seed, seconds)
    cluster: FaultCluster = await start_cluster(NODES, lease_s=LEASE_S, heartbeat_s=5)
    survivor = cluster.members[0]
    fleet: Fleet = make_fleet(cluster.addresses, seed=seed)
    ids = signs(200)
    await fleet.open(ids, users=True)
    watching = asyncio.create_task(fleet.watch(SILENT_S))
    async with open_loads(cluster, ids, rate=200) as loads:
        await until_delivered(loads[0], ids)
        before = await usage(survivor)
        began = time.monotonic()
        await Havoc(cluster, fleet).play(schedule)
        took_s = time.monotonic() - began
        healed_s = await heal(cluster, fleet)
        for load in loads:
            await until_delivered(load, ids)
    watching.cancel()
    await asyncio.wait([watching])
    await check_receipts(cluster, fleet, loads)
    after = await back_at(survivor, before)
    text = (
        f"seed {seed}: {len(schedule)} faults in {took_s:.0f} s, whole {healed_s:.1f} s later; {story(loads)}"
    )
    figure("random", text)
    grown = after[2] - before[2]
    text = (
        f"files less connections, tasks {before[:2]} before, {after[:2]} after; memory {grown / MB:+.1f} MB"
    )
    figure("random", f"{text} (allowed +{MEMORY_BYTES / MB:.0f} MB)", grown <= MEMORY_BYTES)


async def heal(cluster: FaultCluster, fleet: Fleet) -> float:
    """Undo all faults and wait until everything is well; return for how many seconds."""
    began = time.monotonic()
    await cluster.all_redis.pass_on()
    await cluster.all_rabbit.pass_on()
    await asyncio.gather(*(member.becomes_ready() for member in cluster.members))
    await fleet.all_connected()
    orphans = [client.sign for client in fleet.clients.values() if client.gone]
    assert not orphans, [fleet.logs[sign].sessions[-2:] for sign in orphans]
    return time.monotonic() - began


async def usage(member: Member) -> tuple[int, int, int]:
    """Return a node's open files less its connections, its tasks, and its bytes of memory."""
    stats = await member.stats()
    process = stats["process"]
    return process["open_files"] - stats["connections"], process["tasks"], process["memory_bytes"]


async def back_at(member: Member, before: tuple[int, int, int]) -> tuple[int, int, int]:
    """Wait until a node has no more files and tasks than it had; return what it has."""
    now = before

    async def is_back() -> bool:
        nonlocal now
        now = await usage(member)
        return now[0] <= before[0] and now[1] <= before[1]

    try:
        await eventually(is_back, "files and tasks to be what they were")
    except AssertionError:
        raise AssertionError(f"files less connections, tasks: {before[:2]} before, {now[:2]} after") from None
    return now
