"""Presence over three real nodes: what back ends are told of who comes and goes, and what groups hold."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import redis.asyncio as aioredis

from tests.integration.back_end import Inbox
from tests.integration.peers import WAIT_S, Client, Cluster, call, connection_info, eventually, unique

EXAMPLE = Path(__file__).with_name("examples") / "presence.py"
GRACE_S = 1.5


class Watcher:
    """A back end with a queue of its own for all events."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.seen: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        message = await self._inbox.next_message()
        event = json.loads(message.body)
        assert message.routing_key == event["type"]
        assert message.content_type == "application/json"
        self.seen.append(event)
        return event

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the next events, which are of these types, in any order."""
        events = [await self.next() for _ in kinds]
        assert sorted(event["type"] for event in events) == sorted(kinds), events
        return events

    async def after_one_who_goes(self, connect: Any, node: Any) -> list[str]:
        """Have somebody come and go; return what else happened until that was told."""
        client = await connect(node, unique("last"))
        await client.close()
        told = []
        while (event := await self.next())["type"] != "connection_closed" or event["conn"] != client.conn:
            told.append(event)
        return [event["type"] for event in told if event["conn"] != client.conn]


@asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[Watcher]:
    connection = await aio_pika.connect(cluster.rabbit.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(f"{cluster.prefix}.events", "#")
        yield Watcher(Inbox(queue))


@pytest.fixture
def own(make_cluster):
    return make_cluster(3, presence_grace_s=GRACE_S, lease_s=2)


@pytest.fixture
async def watcher(own) -> AsyncIterator[Watcher]:
    async with watching(own) as opened:
        yield opened


class TestEvents:
    async def test_life_of_a_users_connections(self, own, watcher, connect):
        user = {"userId": unique("u"), "tenantId": "7", "fromType": "web"}
        whole = {name: user[name] for name in ("userId", "tenantId")}
        client = await connect(own.nodes[0], unique())
        (opened,) = await watcher.until("connection_opened")
        assert opened.pop("time").endswith("Z")
        node = own.nodes[0].node_id
        assert opened == {"type": "connection_opened", "conn": client.conn, "user": None, "node": node}
        await client.bind(**user)
        (online,) = await watcher.until("user_online")
        assert online.pop("time").endswith("Z")
        assert online == {"type": "user_online", "user": whole, "conn": client.conn, "node": node}
        second = await connect(own.nodes[1], unique(), user=user)
        await watcher.until("connection_opened")
        await client.close()
        (closed,) = await watcher.until("connection_closed")
        assert (closed["conn"], closed["user"], closed["node"]) == (client.conn, user, node)
        await second.close()
        events = await watcher.until("connection_closed", "user_offline")
        (offline,) = [event for event in events if event["type"] == "user_offline"]
        assert (offline["user"], offline["conn"]) == (whole, second.conn)
        assert await watcher.after_one_who_goes(connect, own.nodes[2]) == []

    async def test_who_comes_back_in_time_on_another_node_makes_no_event(self, own, watcher, connect):
        conn, user = unique(), {"userId": unique("u")}
        client = await connect(own.nodes[0], conn, user=user)
        await watcher.until("connection_opened", "user_online")
        for node in (own.nodes[1], own.nodes[0], own.nodes[0]):
            await client.close()
            client = await connect(node, conn)
        assert client.connected["user"] == user
        assert await watcher.after_one_who_goes(connect, own.nodes[2]) == []
        assert (await connection_info(own.nodes[2], conn))["user"] == user

    async def test_user_who_changes_goes_and_the_other_comes(self, own, watcher, connect):
        one, other = unique("u"), unique("u")
        client = await connect(own.nodes[0], unique(), user={"userId": one})
        await watcher.until("connection_opened", "user_online")
        await client.bind(userId=other)
        events = await watcher.until("user_online", "user_offline")
        assert {event["type"]: event["user"]["userId"] for event in events} == {
            "user_online": other,
            "user_offline": one,
        }

    async def test_killed_node_whose_clients_stay_away(self, own, watcher, connect):
        user = {"userId": unique("u")}
        clients = [await connect(own.nodes[0], unique(), user=user) for _ in range(20)]
        await watcher.until("user_online", *["connection_opened"] * 20)
        own.nodes[0].kill()
        events = await watcher.until("user_offline", *["connection_closed"] * 20)
        closed = [event["conn"] for event in events if event["type"] == "connection_closed"]
        assert sorted(closed) == sorted(client.conn for client in clients)
        assert await watcher.after_one_who_goes(connect, own.nodes[1]) == []

    async def test_killed_node_whose_clients_come_back(self, own, watcher, connect):
        clients = [await connect(own.nodes[0], unique(), user={"userId": unique("u")}) for _ in range(10)]
        await watcher.until(*["user_online", "connection_opened"] * 10)
        own.nodes[0].kill()
        for client in clients:
            await connect(own.nodes[1], client.conn)
        await eventually(lambda: cleared(own, own.nodes[0].node_id), "the dead node to be cleared up")
        assert await watcher.after_one_who_goes(connect, own.nodes[2]) == []

    async def test_killed_node_that_pushes_find_dead_first(self, own, watcher, connect):
        user = {"userId": unique("u")}
        client = await connect(own.nodes[0], unique(), user=user)
        await watcher.until("connection_opened", "user_online")
        own.nodes[0].kill()
        for to in ({"conn": client.conn}, {"user": user}):
            body = {"to": to, "type": "t", "data": 1}
            assert (await call(own.nodes[1], "POST", "/api/v1/push", body)).status in (200, 503, 504)
        await watcher.until("connection_closed", "user_offline")
        await eventually(lambda: cleared(own, own.nodes[0].node_id), "the dead node to be cleared up")
        assert await watcher.after_one_who_goes(connect, own.nodes[1]) == []

    async def test_frozen_node_that_thaws_tells_who_is_there_again(self, own, watcher, connect):
        user = {"userId": unique("u")}
        client = await connect(own.nodes[0], unique(), user=user)
        await watcher.until("connection_opened", "user_online")
        own.nodes[0].pause()
        await watcher.until("connection_closed", "user_offline")
        own.nodes[0].resume()
        await watcher.until("connection_opened", "user_online")
        assert await client.is_alive()

    async def test_node_that_leaves_and_whose_clients_come_back(self, own, watcher, connect):
        clients = [await connect(own.nodes[0], unique(), user={"userId": unique("u")}) for _ in range(10)]
        await watcher.until(*["user_online", "connection_opened"] * 10)
        own.nodes[0].terminate()
        for client in clients:
            await client.closed()
            await connect(own.nodes[1], client.conn)
        assert await watcher.after_one_who_goes(connect, own.nodes[2]) == []

    async def test_node_that_leaves_and_whose_clients_do_not(self, own, watcher, connect):
        await connect(own.nodes[0], unique(), user={"userId": unique("u")})
        await watcher.until("connection_opened", "user_online")
        own.nodes[0].terminate()
        await watcher.until("connection_closed", "user_offline")

    async def test_redis_that_is_emptied_makes_no_event(self, make_cluster, own_redis, connect):
        own = make_cluster(3, own_redis=own_redis, presence_grace_s=GRACE_S, lease_s=2)
        async with watching(own) as watcher:
            clients = [await connect(node, unique(), user={"userId": unique("u")}) for node in own.nodes]
            await watcher.until(*["user_online", "connection_opened"] * 3)
            async with aioredis.Redis.from_url(own_redis.url) as client:
                await client.flushall()
            for one in clients:
                await eventually(
                    lambda one=one: connection_info(own.nodes[0], one.conn), "it to be known again"
                )
            assert await watcher.after_one_who_goes(connect, own.nodes[1]) == []

    async def test_without_a_grace_it_is_told_at_once(self, make_cluster, connect):
        own = make_cluster(2, presence_grace_s=0)
        async with watching(own) as watcher:
            client = await connect(own.nodes[0], unique(), user={"userId": unique("u")})
            await watcher.until("connection_opened", "user_online")
            await client.close()
            await watcher.until("connection_closed", "user_offline")
            await connect(own.nodes[1], client.conn)
            await watcher.until("connection_opened", "user_online")

    async def test_nobody_is_told_where_events_are_off(self, make_cluster, connect):
        own = make_cluster(1, events="false")
        async with watching(own) as watcher:
            client = await connect(own.nodes[0], unique(), user={"userId": unique("u")})
            await client.close()
            await eventually(lambda: left(own.nodes[0]), "it to be gone")
            stats = (await call(own.nodes[0], "GET", "/api/v1/stats")).json
            assert stats["events"] == {"published": 0, "dropped": 0, "waiting": 0}
            async with aioredis.Redis.from_url(own.redis.url) as client:
                assert not await client.exists(f"{own.prefix}:leaving", f"{own.prefix}:grace")
            assert watcher.seen == []

    async def test_stats_count_events(self, own, watcher, connect):
        await connect(own.nodes[0], unique(), user={"userId": unique("u")})
        await watcher.until("connection_opened", "user_online")
        stats = (await call(own.nodes[0], "GET", "/api/v1/stats")).json
        assert stats["events"] == {"published": 2, "dropped": 0, "waiting": 0}


async def cleared(cluster: Cluster, node_id: str) -> bool:
    """Say whether another node has released all that a dead one held."""
    async with aioredis.Redis.from_url(cluster.redis.url) as client:
        keys = await client.keys(f"{cluster.prefix}:cleared:{{{node_id}}}:*")
        return bool(keys) and await client.get(keys[0]) == b"done"


async def left(node) -> bool:
    return (await call(node, "GET", "/api/v1/stats")).json["connections"] == 0


class TestGroupCounts:
    async def test_connections_are_counted_on_each_node(self, nodes, connect):
        group = unique("g")
        for number, node in enumerate(nodes):
            for _ in range(number):
                await join(await connect(node, unique()), group)
        for node in nodes:
            counted = (await call(node, "GET", f"/api/v1/groups/{group}")).json
            assert counted["connections"] == 3
            expected = {nodes[1].node_id: 1, nodes[2].node_id: 2}
            assert {entry["node"]: entry["connections"] for entry in counted["nodes"]} == expected

    async def test_group_of_nobody(self, nodes):
        group = unique("g")
        counted = (await call(nodes[0], "GET", f"/api/v1/groups/{group}")).json
        assert counted == {"group": group, "connections": 0, "nodes": []}

    async def test_node_that_does_not_answer_is_named_and_no_number_is_wrong(self, make_cluster, connect):
        own, group = make_cluster(2, lease_s=60), unique("g")
        for node in own.nodes:
            await join(await connect(node, unique()), group)
        own.nodes[1].pause()
        try:
            counted = (await call(own.nodes[0], "GET", f"/api/v1/groups/{group}")).json
        finally:
            own.nodes[1].resume()
        assert counted["connections"] is None
        expected = {own.nodes[0].node_id: 1, own.nodes[1].node_id: None}
        assert {entry["node"]: entry["connections"] for entry in counted["nodes"]} == expected


async def join(client: Client, group: str) -> None:
    await client.send("join", {"group": group})
    await client.next("joined")


async def test_example_of_readme(make_cluster):
    own = make_cluster(1, presence_grace_s=0)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), env=own.env, stdout=pipe)
    try:
        user = unique("u")
        line = asyncio.create_task(process.stdout.readline())

        async def told() -> bool:
            # Until its queue is bound nobody is told.
            client = await Client.open(own.nodes[0], unique(), user={"userId": user})
            await client.close()
            return line.done()

        await eventually(told, "the example to listen")
        kinds = {(await line).split()[0]}
        while kinds != {b"user_online", b"user_offline"}:
            # It binds one after the other.
            kinds.add((await asyncio.wait_for(process.stdout.readline(), WAIT_S)).split()[0])
    finally:
        process.kill()
        await process.wait()
