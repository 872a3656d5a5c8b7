"""Row 16: Redis or RabbitMQ absent for a minute when a node starts."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from tests.faults.proxy import Proxy
from tests.integration.peers import (
    Client,
    connection_info,
    eventually,
    only,
    push,
    start_all,
    stop_all,
    unique,
)
from tests.servers import LOOPBACK, GatewayNode, RabbitServer, RedisServer

pytestmark = pytest.mark.beside

ABSENT_S = 60.0


@pytest.mark.timeout(240)
async def test_nodes_without_redis_or_rabbitmq_for_a_minute_are_alive_and_become_ready_by_themselves(
    own_redis: RedisServer, own_rabbit: RabbitServer, figure
):
    """Row 16; four nodes at once: without Redis, without RabbitMQ, without both, and with both hanging."""
    async with AsyncExitStack() as stack:
        names = ["no-redis", "no-rabbit", "neither", "hanging"]
        ways = [(Proxy(own_redis.port), Proxy(own_rabbit.port)) for _ in names]
        for proxy in [proxy for pair in ways for proxy in pair]:
            await stack.enter_async_context(proxy)
        for away in (ways[0][0], ways[1][1], *ways[2]):
            await away.refuse()
        for away in ways[3]:
            away.black_hole()
        nodes = [early_node(name, *pair) for name, pair in zip(names, ways, strict=True)]
        stack.push_async_callback(asyncio.to_thread, stop_all, nodes)
        await asyncio.to_thread(start_all, nodes)
        clients = [await Client.open(node, unique()) for node in nodes]
        asked = await asyncio.to_thread(check_for, ABSENT_S, nodes)
        for node, client in zip(nodes, clients, strict=True):
            assert only(await push(node, {"conn": client.conn}))["route"] == "local"
        for proxy in [proxy for pair in ways for proxy in pair]:
            await proxy.pass_on()
        began = time.monotonic()
        await asyncio.gather(*(becomes_ready(node) for node in nodes))
        ready_s = time.monotonic() - began
        await asyncio.gather(*(registered(*pair) for pair in zip(nodes, clients, strict=True)))
        for client in clients:
            assert [message["type"] for message in await client.rest()] == ["hello"]
            await client.close()
        logs = [node.log.read_text() for node in nodes]
    assert [log for log in logs if "Traceback" in log] == []
    text = f"no Redis, no RabbitMQ, neither, both hanging for {ABSENT_S:g} s: `/livez` 200, `/readyz` 503"
    figure(16, f"{text} ({asked} times of {asked}), then 200 by itself, the last after {ready_s:.1f} s")


def early_node(name: str, redis: Proxy, rabbit: Proxy) -> GatewayNode:
    env = {
        "SANIC_WS_REDIS_URL": f"redis://{LOOPBACK}:{redis.port}/0",
        "SANIC_WS_AMQP_URL": f"amqp://guest:guest@{LOOPBACK}:{rabbit.port}/",
        "SANIC_WS_PREFIX": unique("early"),
        "SANIC_WS_DRAIN_S": "0.1",
    }
    return GatewayNode("dev", name=name, env=env, ready="livez")


def check_for(seconds: float, nodes: Sequence[GatewayNode]) -> int:
    """Ask the nodes again and again whether they are alive and not ready; return how often."""
    ends, asked = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        for node in nodes:
            assert node.get_status("/livez", 10) == 200, node.name
            assert node.get_status("/readyz", 10) == 503, node.name
            asked += 1
        time.sleep(0.25)
    return asked


async def becomes_ready(node: GatewayNode) -> None:
    async def is_ready() -> bool:
        return await asyncio.to_thread(node.get_status, "/readyz") == 200

    await eventually(is_ready, f"{node.name} to be ready")


async def registered(node: GatewayNode, client: Client) -> None:
    """Wait until a client from before Redis was there is registered."""

    async def is_known() -> bool:
        return await connection_info(node, client.conn) is not None

    await eventually(is_known, f"the client of {node.name} to be registered")
