"""Every way to push: each takes pushes as the HTTP side does, and gives their receipts as it does."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sanic_ws import Publisher, PushRequest, SyncPublisher
from sanic_ws.core.requests import read_push_request
from tests.integration.back_end import BackEnd
from tests.integration.peers import Client, Cluster, call, read_node_id, unique
from tests.servers import GatewayNode

Pushes = list[dict[str, Any]]
Way = Callable[[Pushes], Awaitable[Pushes]]

NAMES = ["http", "http batch", "rpc", "rpc batch", "publisher", "publisher batch", "sync", "gateway"]
PROGRAM = [sys.executable, str(Path(__file__).with_name("chat.py"))]


def chat_node(cluster: Cluster) -> GatewayNode:
    """Return a node of a cluster that runs in an application with handlers; it is not started."""
    env = {**cluster.env, "SANIC_WS_DRAIN_S": "0.1"}
    return GatewayNode("dev", name="chat", env=env, program=PROGRAM, identify=read_node_id)


@asynccontextmanager
async def open_ways(cluster: Cluster, chat: GatewayNode) -> AsyncIterator[dict[str, Way]]:
    """Open every way into a cluster, through different nodes where they go through one.

    Args:
        cluster: has a first node, through which HTTP goes.
        chat: a node of it that runs `chat.py`.
    """
    urls = cluster.redis.url, cluster.rabbit.url, cluster.prefix
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(Publisher(*urls))
        sync = SyncPublisher(*urls)
        await asyncio.to_thread(sync.__enter__)
        stack.push_async_callback(asyncio.to_thread, sync.__exit__)
        back_end = await BackEnd.open(cluster.rabbit.url, cluster.prefix)
        stack.push_async_callback(back_end.close)
        yield {
            "http": lambda pushes: each(pushes, lambda one: _http(cluster, "/api/v1/push", one)),
            "http batch": lambda pushes: _http_batch(cluster, pushes),
            "rpc": lambda pushes: each(pushes, back_end.call),
            "rpc batch": lambda pushes: _receipts(back_end.call({"pushes": pushes})),
            "publisher": lambda pushes: each(pushes, lambda one: _publish(publisher, one)),
            "publisher batch": lambda pushes: _to_json(publisher.push_many(list(map(read, pushes)))),
            "sync": lambda pushes: _to_json(asyncio.to_thread(sync.push_many, list(map(read, pushes)))),
            "gateway": lambda pushes: each(pushes, lambda one: _through_handler(chat, one)),
        }


async def each(pushes: Pushes, push: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> Pushes:
    """Push one at a time, all at once."""
    return list(await asyncio.gather(*map(push, pushes)))


def read(push: dict[str, Any]) -> PushRequest:
    """Return a push as Python has it."""
    return read_push_request(push)


async def _http(cluster: Cluster, path: str, body: Any) -> Any:
    return (await call(cluster.nodes[0], "POST", path, body)).json


async def _http_batch(cluster: Cluster, pushes: Pushes) -> Pushes:
    return await _receipts(_http(cluster, "/api/v1/push/batch", {"pushes": pushes}))


async def _receipts(answer: Awaitable[dict[str, Any]]) -> Pushes:
    return (await answer)["receipts"]


async def _to_json(receipts: Awaitable[Any]) -> Pushes:
    return [receipt.to_json() for receipt in await receipts]


async def _publish(publisher: Publisher, push: dict[str, Any]) -> dict[str, Any]:
    asked = read(push)
    receipt = await publisher.push(
        asked.to,
        asked.type,
        asked.data,
        raw=asked.raw,
        id=asked.id if asked.has_own_id else None,
        wait=asked.wait,
        wait_for=asked.wait_for,
        timeout_s=asked.timeout_s,
        exclude=asked.exclude,
        ttl_s=asked.ttl_s,
        overflow=asked.overflow,
        coalesce_key=asked.coalesce_key,
    )
    return receipt.to_json()


async def _through_handler(chat: GatewayNode, push: dict[str, Any]) -> dict[str, Any]:
    client = await Client.open(chat, unique())
    try:
        await client.send("push", push)
        while (message := await client.next())["type"] != "pushed":
            assert message["type"] != "error", message
        return message["data"]
    finally:
        await client.close()
