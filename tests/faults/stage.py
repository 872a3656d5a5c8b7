"""What most rows need: clients' ids, a load of every kind, and the check at the end."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster, Member
from tests.faults.invariants import check, count, report
from tests.faults.publishers import Load, by_http, by_publisher
from tests.integration.peers import eventually, unique
from tests.leaks import note_sign


def signs(count: int) -> list[str]:
    """Return ids for clients that no other test has."""
    name = unique("c")
    ids = [f"{name}-{number}" for number in range(count)]
    for one in ids:
        note_sign(one)
    return ids


async def check_receipts(cluster: FaultCluster | None, fleet: Fleet, loads: Sequence[Load]) -> None:
    """Stop the loads, wait until nothing is under way, and let the invariants read all logs.

    Without a cluster no node is away at any time.
    """
    absences = [] if cluster is None else cluster.absences
    for load in loads:
        await load.stop()
    await fleet.settle()
    errors = [error for load in loads for error in load.errors]
    assert not errors, errors
    violations = check([push for load in loads for push in load.pushes], fleet.logs, absences)
    assert not violations, report(violations)


@asynccontextmanager
async def open_loads(
    cluster: FaultCluster,
    ids: Sequence[str],
    *,
    nodes: Sequence[Member] | None = None,
    rate: float = 300,
    timeout_s: float = 2.0,
) -> AsyncIterator[list[Load]]:
    """Push to connections, to users, and over HTTP on these nodes (on all if left out), until the end."""
    through = cluster.members if nodes is None else nodes
    choose = random.Random(1).choice
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(cluster.publisher())
        direct = by_publisher(publisher, timeout_s)
        loads = [
            Load(unique("conns"), direct, ids, rate, seed=1),
            Load(unique("users"), direct, ids, rate / 3, seed=2, by_user=True),
        ]
        if through:
            http = by_http(lambda: choose(through).node)
            loads.append(Load(unique("http"), http, ids, rate / 10, seed=3))
        for load in loads:
            await stack.enter_async_context(load)
        yield loads


async def until_delivered(load: Load, present: Sequence[str]) -> None:
    """Push to each of these clients until each got one."""
    missing = dict.fromkeys(present, "")

    async def all_delivered() -> bool:
        for push in await load.push_to_all(sorted(missing)):
            missing[push.conn] = f"{push.outcome} by {push.route} at {push.node} {push.detail}"
            if push.outcome == "delivered":
                del missing[push.conn]
        return not missing

    try:
        await eventually(all_delivered, "a push to each client to be delivered")
    except AssertionError as exc:
        raise AssertionError(
            f"{load.name}: {len(missing)} are not reached: {list(missing.items())[:5]}"
        ) from exc


def story(loads: Sequence[Load]) -> str:
    """Say what became of all pushes."""
    counts = count(push for load in loads for push in load.pushes)
    return f"{counts.total()} pushes: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
