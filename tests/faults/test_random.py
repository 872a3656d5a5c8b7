"""Random faults under load; `./scripts/test --faults SEED SECONDS` runs them for longer."""

import asyncio
import sys
import time

import pytest

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster
from tests.faults.havoc import Havoc
from tests.faults.invariants import copies, history
from tests.faults.schedule import NODES, TRACKS, make_schedule
from tests.faults.stage import check_receipts, open_loads, signs, story, until_delivered
from tests.faults.usage import Usage, back_at

MB = 1 << 20
LEASE_S = 3.0
SILENT_S = 4.0
MEMORY_BYTES = 16 * MB
"""Measured: 3 MB after a minute of faults, 5 after four: buffers and pools that stay."""


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
    say(f"seed {seed}, {seconds} s: ./scripts/test --faults {seed} {seconds}")
    schedule = make_schedule(seed, seconds)
    cluster: FaultCluster = await start_cluster(NODES, lease_s=LEASE_S, heartbeat_s=5)
    survivor = cluster.members[0]
    fleet: Fleet = make_fleet(cluster.addresses, seed=seed)
    ids = signs(200)
    await fleet.open(ids, users=True)
    watching = asyncio.create_task(fleet.watch(SILENT_S))
    async with open_loads(cluster, ids, rate=200) as loads:
        await until_delivered(loads[0], ids)
        before = await Usage.of(survivor)
        began = time.monotonic()
        await Havoc(cluster, fleet, say).play(schedule)
        took_s = time.monotonic() - began
        healed_s = await heal(cluster, fleet)
        for load in loads:
            await until_delivered(load, [sign for sign in ids if not fleet.clients[sign].gone])
    watching.cancel()
    await asyncio.wait([watching])
    after = await back_at(survivor, before)
    grown = after.memory_bytes - before.memory_bytes
    usage = (
        f"before: {before}; after: {after}; memory {grown / MB:+.1f} MB (allowed +{MEMORY_BYTES / MB:.0f} MB)"
    )
    say(usage)
    await check_receipts(cluster, fleet, loads)
    check_that_nobody_is_orphaned(fleet)
    text = f"seed {seed}: {len(schedule)} faults in {took_s:.0f} s, whole {healed_s:.1f} s later"
    figure("random", f"{text}; {story(loads)}; copies on a second session: {copies(fleet.logs)}")
    figure("random", usage, after.within(before) and grown <= MEMORY_BYTES)


def say(line: str) -> None:
    """Print a line; pytest shows it where the test fails."""
    sys.stdout.write(f"{line}\n")


async def heal(cluster: FaultCluster, fleet: Fleet) -> float:
    """Undo all faults and wait until everything is well; return for how many seconds."""
    began = time.monotonic()
    await cluster.all_redis.pass_on()
    await cluster.all_rabbit.pass_on()
    await asyncio.gather(*(member.becomes_ready() for member in cluster.members))
    await fleet.all_connected()
    return time.monotonic() - began


def check_that_nobody_is_orphaned(fleet: Fleet) -> None:
    """Check that each client that was told that it is replaced, and stays away therefore, was replaced."""
    orphans = [
        client
        for client in fleet.clients.values()
        if client.gone and not any(session.open for session in client.log.sessions)
    ]
    assert not orphans, f"{len(orphans)} were told that they are replaced, and by nobody:\n" + "\n\n".join(
        f"{client.sign}\n{history(client.log)}" for client in orphans[:5]
    )
