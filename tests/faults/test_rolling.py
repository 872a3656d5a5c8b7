"""The chart's pods are replaced behind HAProxy, under load."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path

import pytest

from sanic_ws import Publisher
from tests.deploy.chart import VERSIONS, render
from tests.faults.clients import RESTART, Fleet
from tests.faults.invariants import count
from tests.faults.logs import Session
from tests.faults.publishers import Load, by_publisher
from tests.faults.rollout import Rollout
from tests.faults.stage import check_receipts, signs, story, until_delivered
from tests.haproxy import HAProxy
from tests.integration.peers import eventually, unique
from tests.servers import LOOPBACK, require

MANY = 600
RATE = 2500
"""Pushes a second: more than 2,000, as what a stall of this process keeps from being pushed is lost."""
ENOUGH = 1500
"""Below it the figure says nothing about 2,000 any more."""
LATE_S = 2.0
"""How much later than it was told to a client may be connected again."""
VALUES = {
    "config": {"DRAIN_S": 3, "TRUSTED_PROXIES": [f"{LOOPBACK}/32"], "TRUST_CLIENT_IDENTITY": True},
    "minReadySeconds": 3,
}


@pytest.fixture
def secrets(own_redis, own_rabbit) -> dict[str, str]:
    """What the pods' Secret holds."""
    return {
        "SANIC_WS_REDIS_URL": own_redis.url,
        "SANIC_WS_AMQP_URL": own_rabbit.url,
        "SANIC_WS_PREFIX": unique("pods"),
        "SANIC_WS_API_KEYS": "backend:backend-0123456789abcdef",
    }


@pytest.fixture
async def rollout(secrets, tmp_path: Path) -> AsyncIterator[Rollout]:
    """Three pods of the chart, ready."""
    values = tmp_path / "values.json"
    values.write_text(json.dumps(VALUES))
    # The oldest version: since 1.30 the kubelet itself does what there is a command for here.
    async with Rollout(render("--values", values, version=VERSIONS[0]), secrets) as deployment:
        yield deployment


@pytest.fixture
def haproxy(rollout: Rollout) -> Iterator[HAProxy]:
    """HAProxy in front of all pods that there are, and will be."""
    require("haproxy")
    with HAProxy(rollout.ports) as server:
        yield server


@asynccontextmanager
async def open_loads(secrets, ids: Sequence[str]) -> AsyncIterator[list[Load]]:
    """Push to connections and to users until the end."""
    names = ("REDIS_URL", "AMQP_URL", "PREFIX")
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(Publisher(*(secrets[f"SANIC_WS_{n}"] for n in names)))
        direct = by_publisher(publisher, timeout_s=5)
        loads = [
            Load(unique("conns"), direct, ids, RATE * 0.75, seed=1),
            Load(unique("users"), direct, ids, RATE * 0.25, seed=2, by_user=True),
        ]
        for load in loads:
            await stack.enter_async_context(load)
        yield loads


@pytest.mark.timeout(180)
async def test_pods_replaced_behind_haproxy_under_load_lose_nothing(
    rollout, haproxy, secrets, make_fleet, figure
):
    fleet: Fleet = make_fleet([haproxy.ws_url])
    fleet.apart = True
    ids = signs(MANY)
    await fleet.open(ids, users=True)
    async with open_loads(secrets, ids) as loads:
        await eventually(lambda: all(len(load.pushes) > 50 for load in loads), "the load to flow")
        began = time.monotonic()
        await rollout.run()
        await fleet.all_connected()
        took_s = time.monotonic() - began
        rate = sum(push.started_at > began for load in loads for push in load.pushes) / took_s
        for load in loads:
            await load.stop()
        await until_delivered(loads[0], ids)
    await check_receipts(None, fleet, loads)
    counts = count(push for load in loads for push in load.pushes)
    text = f"3 pods replaced behind HAProxy in {took_s:.0f} s under {rate:.0f} pushes/s"
    figure("rolling", f"{text}, {MANY} clients: {story(loads)}", rate >= ENOUGH)
    text = f"neither delivered nor honestly reported: {counts['none']}"
    figure("rolling", text, counts["none"] == 0)
    endings = [pod.ending for pod in rollout.old]
    gone_s = max(ending.took_s for ending in endings)
    text = f"pods: exit codes {[e.code for e in endings]}, gone after at most {gone_s:.1f} s"
    well = all(pod.alive for pod in [*rollout.old, *rollout.new]) and all(e.ready for e in endings)
    figure("rolling", f"{text}, ready until SIGTERM", well and all(e.code == 0 for e in endings))
    moves = [pair for client in fleet.clients.values() for pair in pairwise(client.log.sessions)]
    told = sum(left.code == RESTART and left.after_ms is not None for left, _ in moves)
    figure("rolling", f"{len(moves)} moves, {told} told by `reconnect` and 1012", told == len(moves) >= MANY)
    late_s = max(lateness_s(left, back) for left, back in moves)
    text = f"back at most {late_s:.2f} s later than told (allowed {LATE_S:g} s)"
    figure("rolling", text, late_s <= LATE_S)
    refused = int(haproxy.clients()["hrsp_5xx"])
    again = sum(int(row["wretr"]) for row in haproxy.servers())
    text = f"HAProxy: {refused} answers of 5xx to clients, as it tried {again} handshakes again elsewhere"
    figure("rolling", text, refused == 0)


def lateness_s(left: Session, back: Session) -> float:
    """Return how much later than it was told to a client was connected again."""
    return back.opened_at - left.closed_at - left.after_ms / 1000


async def test_only_the_sockets_are_reached_through_haproxy(haproxy):
    connection = HTTPConnection(LOOPBACK, haproxy.port, timeout=5)
    answers = {}
    for path in ("/ws", "/ws/x", "/api/v1/stats", "/metrics", "/readyz"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        answers[path] = answer.status
    connection.close()
    # The first is the node's own word: it was asked for no WebSocket.
    assert answers == {"/ws": 400, "/ws/x": 403, "/api/v1/stats": 403, "/metrics": 403, "/readyz": 403}
