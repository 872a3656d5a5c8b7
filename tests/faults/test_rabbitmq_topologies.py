"""Row 14: one of three RabbitMQ servers is lost under load."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster, Member
from tests.faults.publishers import Load
from tests.faults.stage import check_receipts, open_loads, signs, story
from tests.integration.peers import eventually
from tests.rabbit_servers import RabbitCluster, RabbitMember
from tests.servers import RedisServer, require

ALLOWED_S = 15.0
"""How long it may take until pushes flow again."""
NODES = 3


class ThreeRabbits(FaultCluster):
    """Gateway nodes that know all three servers of a RabbitMQ cluster; so do the publishers."""

    def __init__(self, redis: RedisServer, rabbits: RabbitCluster, count: int) -> None:
        self.rabbits = rabbits
        super().__init__(redis, rabbits.members[0], count, proxied=False)

    @property
    def amqp_url(self) -> str:
        return self.rabbits.url

    def _describe(self, name: str) -> Member:
        member = super()._describe(name)
        member.node._env["SANIC_WS_AMQP_URL"] = self.rabbits.url
        return member

    async def homes(self) -> dict[str, RabbitMember]:
        """Return on which server each queue of ours is, by the queue's name."""
        asked = next(rabbit for rabbit in self.rabbits.members if rabbit.running)
        listed = await asyncio.to_thread(asked.ctl, "list_queues", "name", "pid")
        rows = [line.split("\t") for line in listed.splitlines() if line.startswith(f"{self.prefix}.")]
        return {name: rabbit for name, pid in rows for rabbit in self.rabbits.members if rabbit.node in pid}

    async def homes_of_nodes(self) -> dict[str, RabbitMember]:
        """Return on which server each gateway node's queue is, by the node's id."""
        homes = await self.homes()
        return {
            member.id: rabbit
            for member in self.members
            for name, rabbit in homes.items()
            if name.startswith(f"{self.prefix}.node.{member.id}.")
        }


@pytest.fixture
async def three_rabbits(own_redis: RedisServer) -> AsyncIterator[ThreeRabbits]:
    require("rabbitmq-server")
    rabbits = RabbitCluster()
    await asyncio.to_thread(rabbits.start)
    try:
        async with ThreeRabbits(own_redis, rabbits, NODES) as cluster:
            yield cluster
    finally:
        await asyncio.to_thread(rabbits.stop)


@pytest.mark.timeout(300)
async def test_nodes_on_a_lost_rabbitmq_server_move_and_nobody_is_lied_to(
    three_rabbits: ThreeRabbits, make_fleet: Callable[..., Fleet], figure
):
    """Row 14."""
    cluster = three_rabbits
    fleet = make_fleet(cluster.addresses)
    ids = signs(300)
    await fleet.open(ids, users=True)
    # What is lost is where the queue is that outlives its maker, and so one gateway node's queue at least.
    lost = (await cluster.homes())[f"{cluster.prefix}.dead"]
    before = await cluster.homes_of_nodes()
    assert len(before) == NODES
    moving = [node for node, home in before.items() if home is lost]
    async with open_loads(cluster, ids) as loads:
        await eventually(lambda: all(len(load.pushes) > 50 for load in loads), "the load to flow")
        lost.kill()
        lost_at = time.monotonic()
        await until_all_flow(loads[0], ids)
        flow_s = time.monotonic() - lost_at
        await until_moved(cluster, lost)
        sessions = sum(len(client.log.sessions) for client in fleet.clients.values())
    await check_receipts(cluster, fleet, loads)
    text = f"{len(moving)} of {NODES} nodes were on it; {story(loads)}; false receipts: 0"
    figure(14, f"one of three RabbitMQ servers lost: {text}")
    figure(14, f"sockets that were lost with it: {sessions - len(ids)}", sessions == len(ids))
    text = f"one of three RabbitMQ servers lost: pushes flow after {flow_s:.1f} s (allowed {ALLOWED_S:g} s)"
    figure(14, text, flow_s <= ALLOWED_S)


async def until_all_flow(load: Load, ids: list[str]) -> None:
    """Push to all clients until one push to each in a row is delivered."""

    async def all_delivered() -> bool:
        pushes = await load.push_to_all(ids)
        return all(push.outcome == "delivered" for push in pushes)

    await eventually(all_delivered, "pushes to all clients to be delivered", 4 * ALLOWED_S)


async def until_moved(cluster: ThreeRabbits, lost: RabbitMember) -> None:
    """Wait until every gateway node's queue is on a server that is left, and every node is ready."""

    async def all_moved() -> bool:
        homes = await cluster.homes_of_nodes()
        return len(homes) == NODES and lost not in homes.values()

    await eventually(all_moved, "the nodes on the lost server to move")
    await asyncio.gather(*(member.becomes_ready() for member in cluster.members))
