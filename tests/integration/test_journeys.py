"""The journeys of a push and of a connection, over three real nodes."""

import asyncio
import json

import pytest
import redis.asyncio as aioredis

from sanic_ws import Conn, Outcome, Publisher, Route, SyncPublisher
from tests.integration.peers import (
    WAIT_S,
    Client,
    call,
    connection_info,
    eventually,
    node_ids,
    only,
    push,
    push_body,
    run_command,
    start_command,
    unique,
)
from tests.servers import GatewayNode, free_port


class TestPushFromAfar:
    async def test_over_http_on_another_node(self, nodes, connect):
        client = await connect(nodes[0], unique())
        receipt = await push(nodes[1], {"conn": client.conn}, type="count", data={"n": [1, "ä", None]})
        delivery = only(receipt)
        assert receipt["outcome"] == delivery["outcome"] == "delivered"
        assert receipt["counts"] == {"delivered": 1}
        assert (delivery["route"], delivery["node"]) == ("direct", nodes[0].node_id)
        assert delivery["conn"] == client.conn
        assert delivery["latency_ms"] > 0
        message = await client.next("count")
        assert set(message) == {"type", "data", "id", "time"}
        assert (message["data"], message["id"]) == ({"n": [1, "ä", None]}, receipt["id"])

    async def test_with_publisher(self, nodes, connect, publisher):
        client = await connect(nodes[0], unique())
        receipt = await publisher.push(Conn(client.conn), "count", {"n": 2})
        (delivery,) = receipt.deliveries
        assert receipt.outcome == "delivered"
        assert (delivery.route, delivery.node) == (Route.DIRECT, nodes[0].node_id)
        assert (await client.next("count"))["data"] == {"n": 2}

    async def test_with_sync_publisher(self, cluster, connect):
        client = await connect(cluster.nodes[1], unique())

        def work():
            with SyncPublisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as publisher:
                return publisher.push(Conn(client.conn), "count", {"n": 3})

        receipt = await asyncio.to_thread(work)
        (delivery,) = receipt.deliveries
        assert receipt.outcome is Outcome.DELIVERED
        assert (delivery.route, delivery.node) == (Route.DIRECT, cluster.nodes[1].node_id)
        assert (await client.next("count"))["data"] == {"n": 3}

    async def test_order_of_one_publisher_to_one_connection_is_kept(self, nodes, connect, publisher):
        client = await connect(nodes[2], unique())
        pushes = (publisher.push(Conn(client.conn), "count", n) for n in range(500))
        receipts = await asyncio.gather(*pushes)
        assert {receipt.outcome for receipt in receipts} == {Outcome.DELIVERED}
        assert [m["data"] for m in await client.rest()] == list(range(500))


class TestCommandLine:
    async def test_push_straight_to_the_owner(self, cluster, connect):
        client = await connect(cluster.nodes[0], unique())
        arguments = ["push", "--conn", client.conn, "--type", "count", "--data", '{"n": 4}']
        ended = await run_command(*arguments, env=cluster.env)
        delivery = only(json.loads(ended.out))
        assert (ended.code, delivery["outcome"]) == (0, "delivered")
        assert (delivery["route"], delivery["node"]) == ("direct", cluster.nodes[0].node_id)
        assert (await client.next("count"))["data"] == {"n": 4}

    async def test_push_over_a_node(self, nodes, connect):
        client = await connect(nodes[0], unique())
        ended = await run_command("push", "--conn", client.conn, "--url", nodes[1].url)
        delivery = only(json.loads(ended.out))
        assert ended.code == 0
        assert (delivery["route"], delivery["node"]) == ("direct", nodes[0].node_id)
        assert [m["type"] for m in await client.rest()] == ["message"]

    async def test_push_to_a_users_device(self, cluster, connect):
        user = {"userId": unique("u"), "tenantId": 7}
        web, app = [
            await connect(cluster.nodes[0], unique(), user=user | {"fromType": kind})
            for kind in ("web", "app")
        ]
        arguments = ["push", "--user", user["userId"], "--tenant", "7", "--from-type", "app"]
        ended = await run_command(*arguments, env=cluster.env)
        assert only(json.loads(ended.out))["conn"] == app.conn
        assert await web.rest() == []

    async def test_push_that_is_not_delivered_prints_the_receipt_and_ends_with_1(self, cluster):
        ended = await run_command("push", "--conn", unique(), env=cluster.env)
        assert (ended.code, json.loads(ended.out)["outcome"]) == (1, "offline")

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--conn", "a b"],
            ["--conn", "a", "--user", "1"],
            ["--conn", "a", "--data", "{"],
            ["--user", "0"],
            ["--conn", "a", "--type", "connected"],
        ],
    )
    async def test_push_with_a_wrong_argument_says_so_in_a_line_and_ends_with_2(self, cluster, arguments):
        ended = await run_command("push", *arguments, env=cluster.env)
        assert (ended.code, ended.out) == (2, "")
        assert "Traceback" not in ended.err
        assert len(ended.err.splitlines()) == 1

    async def test_nodes_lists_the_cluster_from_the_registry_and_over_http(self, cluster):
        ids = sorted(node.node_id for node in cluster.nodes)
        direct = await run_command("nodes", "--json", env=cluster.env)
        over_http = await run_command("nodes", "--json", "--url", cluster.nodes[1].url)
        for ended in (direct, over_http):
            assert ended.code == 0
            assert sorted(entry["node"] for entry in json.loads(ended.out)) == ids
        table = await run_command("nodes", env=cluster.env)
        assert all(node_id in table.out for node_id in ids)

    async def test_listen_prints_what_comes(self, nodes):
        sign, user = unique(), unique("u")
        arguments = ["--url", nodes[0].ws_url, "--sign", sign, "--user", user, "--count", "3"]
        process = await start_command("listen", *arguments)
        assert process.stdout is not None
        lines = [await asyncio.wait_for(process.stdout.readline(), WAIT_S) for _ in range(2)]
        assert [json.loads(line)["type"] for line in lines] == ["connected", "user_bound"]
        assert only(await push(nodes[1], {"user": {"userId": user}}))["conn"] == sign
        out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
        assert (json.loads(out)["type"], err, process.returncode) == ("hello", b"", 0)

    async def test_check_says_what_works(self, cluster):
        env = cluster.env | {"SANIC_WS_API_KEYS": "shop:secret"}
        well = await run_command("check", env=env)
        assert (well.code, well.err) == (0, "")
        assert "3 live nodes" in well.out
        assert "secret" not in well.out
        ill = await run_command(
            "check", env=env | {"SANIC_WS_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
        )
        assert ill.code not in (0, 2)
        assert "registry  FAILED" in ill.out
        assert "broker    ok" in ill.out
        wrong = await run_command("check", env=env | {"SANIC_WS_LEASE_S": "soon"})
        assert wrong.code == 2
        assert "SANIC_WS_LEASE_S" in wrong.err

    async def test_nobody_at_the_address_is_said_in_a_line(self):
        url = f"http://127.0.0.1:{free_port()}"
        for command in (["push", "--conn", "a"], ["nodes"], ["listen"]):
            ended = await run_command(*command, "--url", url)
            assert ended.code == 3, ended
            assert len(ended.err.splitlines()) == 1, ended.err


class TestStale:
    async def test_deleted_entry_is_found_by_fallback_and_arrives_once(self, cluster, connect, publisher):
        client = await connect(cluster.nodes[0], unique())
        conn = Conn(client.conn)
        assert (await publisher.push(conn, "first")).deliveries[0].route == Route.DIRECT
        await cluster.forget(client.conn)
        receipt = await publisher.push(conn, "second")
        (delivery,) = receipt.deliveries
        assert receipt.outcome == Outcome.DELIVERED
        assert (delivery.route, delivery.node) == (Route.FALLBACK, cluster.nodes[0].node_id)
        # A second copy would come before what follows it through the same queue.
        await publisher.push(conn, "last")
        assert [m["type"] for m in await client.rest()] == ["first", "second", "last"]

    async def test_connection_found_by_fallback_is_registered_again(self, cluster, connect, publisher):
        client = await connect(cluster.nodes[0], unique())
        await cluster.forget(client.conn)
        await publisher.push(Conn(client.conn), "found")

        async def direct():
            receipt = await publisher.push(Conn(client.conn), "again")
            return receipt.deliveries[0].route == Route.DIRECT

        await eventually(direct, "the way to be direct again")

    async def test_order_is_kept_when_the_entry_is_lost_meanwhile(self, cluster, connect, publisher):
        client = await connect(cluster.nodes[0], unique())
        conn = Conn(client.conn)
        first = [asyncio.create_task(publisher.push(conn, "n", n)) for n in range(50)]
        await cluster.forget(client.conn)
        second = [asyncio.create_task(publisher.push(conn, "n", n)) for n in range(50, 100)]
        receipts = await asyncio.gather(*first, *second)
        assert {receipt.outcome for receipt in receipts} == {Outcome.DELIVERED}
        assert [m["data"] for m in await client.rest()] == list(range(100))

    async def test_id_that_nobody_has_is_offline(self, nodes, publisher):
        nobody = unique()
        receipt = await push(nodes[0], {"conn": nobody})
        assert (receipt["outcome"], receipt["counts"]) == ("offline", {"offline": 1})
        assert only(receipt)["conn"] == nobody
        assert (await publisher.push(Conn(nobody), "x")).outcome == Outcome.OFFLINE

    @pytest.mark.parametrize("pretended", ["dead", "wrong"])
    async def test_entry_that_names_another_node_is_found_by_fallback_once(
        self, cluster, connect, publisher, pretended
    ):
        client = await connect(cluster.nodes[0], unique())
        node_id = "ghost-00000000" if pretended == "dead" else cluster.nodes[1].node_id
        await cluster.pretend(client.conn, node_id)
        receipt = await publisher.push(Conn(client.conn), "sought")
        (delivery,) = receipt.deliveries
        assert (delivery.outcome, delivery.route) == (Outcome.DELIVERED, Route.FALLBACK)
        assert delivery.node == cluster.nodes[0].node_id
        await publisher.push(Conn(client.conn), "last")
        assert [m["type"] for m in await client.rest()] == ["sought", "last"]

    async def test_entry_of_nobodys_connection_is_offline_and_removed(self, cluster, publisher):
        nobody = unique()
        await cluster.pretend(nobody, cluster.nodes[1].node_id)
        assert (await publisher.push(Conn(nobody), "x")).outcome == Outcome.OFFLINE

        async def removed():
            return not await cluster.owner_node(nobody)

        await eventually(removed, "the removal of the entry")

    async def test_users_lost_list_is_found_by_fallback(self, cluster, nodes, connect):
        user = {"userId": unique("u"), "fromType": "web"}
        devices = [await connect(node, unique(), user=user) for node in nodes[:2]]
        lists = [k for k in await cluster.keys_that_name(devices[0].conn) if ":user:" in k]
        async with aioredis.Redis.from_url(cluster.redis.url) as redis:
            assert await redis.delete(*lists) == 1
        receipt = await push(nodes[2], {"user": {"userId": user["userId"]}})
        assert receipt["counts"] == {"delivered": 2}
        assert {delivery["route"] for delivery in receipt["deliveries"]} == {"fallback"}
        for device in devices:
            assert len(await device.rest()) == 1


class TestReconnect:
    async def test_newer_session_elsewhere_closes_the_old_socket_and_gets_the_next_push(self, nodes, connect):
        sign = unique()
        old = await connect(nodes[0], sign)
        new = await connect(nodes[1], sign)
        assert (await old.closed())[0] == 4409
        delivery = only(await push(nodes[2], {"conn": sign}))
        assert (delivery["outcome"], delivery["node"]) == ("delivered", nodes[1].node_id)
        assert [m["type"] for m in await new.rest()] == ["hello"]
        assert (await connection_info(nodes[2], sign))["node"] == nodes[1].node_id

    async def test_newer_session_on_the_same_node_too(self, nodes, connect):
        sign = unique()
        old, new = await connect(nodes[0], sign), await connect(nodes[0], sign)
        assert (await old.closed())[0] == 4409
        assert only(await push(nodes[1], {"conn": sign}))["outcome"] == "delivered"
        assert [m["type"] for m in await new.rest()] == ["hello"]

    async def test_hundred_takeovers_to_and_fro_leave_one_connection(self, nodes, connect, publisher):
        sign = unique()
        clients = [await connect(nodes[n % 3], sign) for n in range(100)]
        codes = [(await client.closed())[0] for client in clients[:-1]]
        assert set(codes) == {4409}
        assert (await publisher.push(Conn(sign), "last")).outcome == Outcome.DELIVERED
        assert [m["type"] for m in await clients[-1].rest()] == ["last"]

    async def test_binding_is_taken_over_by_the_next_session(self, nodes, connect):
        user = {"userId": unique("u"), "tenantId": "7", "fromType": "web"}
        sign = unique()
        await (await connect(nodes[0], sign, user=user)).close()
        again = await connect(nodes[1], sign)
        assert again.connected["user"] == user
        delivery = only(await push(nodes[2], {"user": {"userId": user["userId"], "tenantId": 7}}))
        assert (delivery["conn"], delivery["node"]) == (sign, nodes[1].node_id)

    async def test_rebinding_moves_the_connection_to_the_other_user(self, nodes, connect):
        one, other = unique("u"), unique("u")
        client = await connect(nodes[0], unique(), user={"userId": one, "fromType": "web"})
        await client.bind(userId=other, fromType="web")
        assert only(await push(nodes[1], {"user": {"userId": other}}))["conn"] == client.conn
        assert (await push(nodes[1], {"user": {"userId": one}}))["outcome"] == "offline"

    async def test_closed_connection_is_offline_and_gone_from_the_registry(self, cluster, connect):
        client = await connect(cluster.nodes[0], unique())
        await client.close()

        async def gone():
            return await connection_info(cluster.nodes[1], client.conn) is None

        await eventually(gone, "the release")
        assert (await push(cluster.nodes[1], {"conn": client.conn}))["outcome"] == "offline"


class TestBreakdowns:
    async def test_connections_of_a_killed_node(self, make_cluster, connect, publisher):
        own = make_cluster(2, lease_s=3)
        dying, living = own.nodes
        sign = unique()
        await connect(dying, sign)
        dying.kill()
        # Until its lease ends nobody can say that the connection is gone.
        outcomes = []

        async def offline():
            answer = await call(living, "POST", "/api/v1/push", {"to": {"conn": sign}, "type": "x"})
            outcomes.append((answer.status, answer.json["outcome"]))
            return outcomes[-1] == (200, "offline")

        await eventually(offline, "the end of the dead node's lease")
        assert set(outcomes) <= {(200, "offline"), (503, "unavailable"), (504, "unknown")}
        assert await node_ids(living) == [living.node_id]

    async def test_client_of_a_killed_node_is_reached_at_once_after_it_came_back_elsewhere(
        self, make_cluster, connect
    ):
        own = make_cluster(3)
        dying, living, third = own.nodes
        sign = unique()
        await connect(dying, sign)
        dying.kill()
        again = await connect(living, sign)
        delivery = only(await push(third, {"conn": sign}))
        assert (delivery["route"], delivery["node"]) == ("direct", living.node_id)
        assert [m["type"] for m in await again.rest()] == ["hello"]

    async def test_client_of_a_killed_node_that_is_in_no_entry_is_found(self, make_cluster, connect):
        own = make_cluster(3)
        dying, living, third = own.nodes
        sign = unique()
        client = await connect(living, sign)
        await own.pretend(sign, dying.node_id)
        dying.kill()
        await eventually(lambda: queue_is_gone(own, dying, third), "the end of the dead node's queue")
        delivery = only(await push(third, {"conn": sign}))
        assert (delivery["outcome"], delivery["route"]) == ("delivered", "fallback")
        assert [m["type"] for m in await client.rest()] == ["hello"]

    async def test_after_flushall_everything_is_asserted_again(self, make_cluster, connect, own_redis):
        own = make_cluster(2, own_redis=own_redis, lease_s=3)
        user = {"userId": unique("u"), "fromType": "web"}
        bound = await connect(own.nodes[0], unique(), user=user)
        # More than the sweep, which asserts one or two a beat, could get through while this waits.
        clients = [bound, *[await connect(node, unique()) for node in own.nodes for _ in range(60)]]
        async with aioredis.Redis.from_url(own_redis.url) as redis:
            await redis.flushall()

        async def whole():
            for client in clients:
                if await connection_info(own.nodes[0], client.conn) is None:
                    return False
            return len(await node_ids(own.nodes[0])) == 2

        await eventually(whole, "the registry to be whole again")
        pushes = 0

        async def is_direct():
            nonlocal pushes
            pushes += 1
            delivery = only(await push(own.nodes[1], {"user": user}))
            assert delivery["outcome"] == "delivered"
            return delivery["route"] == "direct"

        await eventually(is_direct, "the end of the mending")
        assert [m["type"] for m in await bound.rest()] == ["hello"] * pushes
        for client in clients[1:]:
            assert await client.is_alive()

    async def test_several_workers_in_one_serve_are_several_nodes(self, cluster):
        env = cluster.env | {
            "SANIC_WS_PREFIX": unique("own"),
            "SANIC_WS_API_KEYS": "test:secret",
            "SANIC_WS_DRAIN_S": "0.1",
        }
        node = GatewayNode("serve", "--workers", "2", name="many", env=env)
        node.stop_timeout_s = 10
        with node:
            await eventually(lambda: has_nodes(node, 2), "two nodes")
            clients = await one_on_each(node)
            try:
                for client in clients:
                    await check_reached(env, client)
            finally:
                await asyncio.gather(*(client.close() for client in clients))


async def queue_is_gone(cluster, dead, asked):
    """Say whether RabbitMQ has noticed: until then it takes what is for the dead node, and nobody answers."""
    probe = unique("probe")
    await cluster.pretend(probe, dead.node_id)
    body = push_body({"conn": probe}, timeout_ms=200)
    return (await call(asked, "POST", "/api/v1/push", body)).status != 504


async def has_nodes(node, count):
    answer = await call(node, "GET", "/api/v1/nodes", key="secret")
    return answer.status == 200 and len(answer.json["nodes"]) == count


async def one_on_each(node):
    """Connect until both workers have a client: the kernel chooses the worker."""
    clients = {}
    for _ in range(500):
        client = await Client.open(node, unique())
        if client.connected["node"] in clients:
            await client.close()
        else:
            clients[client.connected["node"]] = client
        if len(clients) == 2:
            return list(clients.values())
    await asyncio.gather(*(client.close() for client in clients.values()))
    raise AssertionError("all connections came to one worker")


async def check_reached(env, client):
    urls = (env["SANIC_WS_REDIS_URL"], env["SANIC_WS_AMQP_URL"], env["SANIC_WS_PREFIX"])
    async with Publisher(*urls) as publisher:
        (delivery,) = (await publisher.push(Conn(client.conn), "x")).deliveries
    assert (delivery.route, delivery.node) == (Route.DIRECT, client.connected["node"])
    assert [m["type"] for m in await client.rest()] == ["x"]
