"""Start and leave: no broker at start is no crash, and who leaves leaves nothing behind."""

import asyncio
import os
import re
import signal
import subprocess
from dataclasses import replace

import pytest

from tests.integration.peers import (
    call,
    connection_info,
    eventually,
    node_ids,
    only,
    push,
    push_body,
    run_command,
    unique,
)
from tests.servers import GatewayNode, RedisServer, free_port, wait_until

LEAVE_S = 10.0
"""A guard against waiting for ever, not an expectation."""

by_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])


@by_signal
async def test_clients_are_told_when_to_come_back_and_nothing_is_left(make_cluster, connect, number):
    own = make_cluster(2, presence_grace_s=0)
    leaving, staying = own.nodes
    user = {"userId": unique("u"), "fromType": "web"}
    clients = [await connect(leaving, unique(), user=user) for _ in range(5)]
    code = await leave(leaving, number, clients)
    assert code == 0
    assert await node_ids(staying) == [staying.node_id]

    async def nothing_is_left() -> bool:
        return await own.keys_that_name(leaving.node_id) == []

    # Who is gone may be for the other node to tell.
    await eventually(nothing_is_left, "the registry to forget the node")
    assert (await push(staying, {"conn": clients[0].conn}))["outcome"] == "offline"


async def test_each_client_gets_a_wait_of_its_own(make_cluster, connect):
    own = make_cluster(2, drain_s=1)
    leaving, _ = own.nodes
    clients = [await connect(leaving, unique()) for _ in range(20)]
    stop = asyncio.create_task(asyncio.to_thread(leaving.stop, keep_data=True))
    waits = await asyncio.gather(*(told_to_come_back(client) for client in clients))
    assert await stop == 0
    assert len(set(waits)) > 10
    leaving.stop()


async def test_client_that_comes_back_elsewhere_is_reached_there_with_its_binding(make_cluster, connect):
    own = make_cluster(3)
    leaving, other, third = own.nodes
    user = {"userId": unique("u"), "fromType": "web"}
    client = await connect(leaving, unique(), user=user)
    assert await leave(leaving, signal.SIGTERM, [client]) == 0
    again = await connect(other, client.conn)
    assert again.connected["user"] == user
    delivery = only(await push(third, {"user": user}))
    assert (delivery["conn"], delivery["node"], delivery["route"]) == (client.conn, other.node_id, "direct")
    assert [m["type"] for m in await again.rest()] == ["hello"]


async def test_node_without_clients_leaves_with_0(make_cluster):
    own = make_cluster(1)
    (node,) = own.nodes
    assert await leave(node, signal.SIGTERM, []) == 0
    assert await own.keys_that_name(node.node_id) == []


async def test_client_that_does_not_answer_the_close_does_not_keep_the_node(make_cluster, connect):
    own = make_cluster(1)
    (node,) = own.nodes
    client = await connect(node, unique())
    client.socket.transport.pause_reading()
    assert await leave(node, signal.SIGTERM, []) == 0
    client.socket.transport.resume_reading()


@by_signal
async def test_several_workers_leave_with_0_and_leave_nothing(cluster, number):
    own = replace(cluster, nodes=[], prefix=unique("own"))
    with several_workers(own) as node:

        async def two():
            ids = await ids_of(node)
            return ids if len(ids) == 2 else None

        left = await eventually(two, "two nodes")
        assert await leave(node, number, []) == 0
    assert [await own.keys_that_name(node_id) for node_id in left] == [[], []]


async def test_several_workers_never_give_two_pushes_one_id(cluster):
    own = replace(cluster, nodes=[], prefix=unique("own"))
    with several_workers(own) as node:
        body = push_body({"conn": unique()})
        pushes = [call(node, "POST", "/api/v1/push", body, key="secret") for _ in range(64)]
        ids = {answer.json["id"] for answer in await asyncio.gather(*pushes)}
    assert len(ids) == 64
    assert len({push_id.partition("-")[0] for push_id in ids}) == 2


async def test_several_workers_that_have_hardly_started_leave_too(cluster):
    with several_workers(replace(cluster, nodes=[], prefix=unique("own")), ready="livez") as node:
        assert await leave(node, signal.SIGTERM, []) == 0


async def test_start_without_redis_is_alive_and_becomes_ready_by_itself(rabbit, connect):
    redis = RedisServer()
    with GatewayNode("dev", name="early", env=env_of(redis.url, rabbit.url), ready="livez") as node:
        check_alive_and_not_ready(node)
        client = await connect(node, unique())
        assert only(await push(node, {"conn": client.conn}))["route"] == "local"
        assert [m["type"] for m in await client.rest()] == ["hello"]
        with redis:
            await becomes_ready(node)

            async def registered():
                return await connection_info(node, client.conn)

            await eventually(registered, "the connection from before to be registered")
            assert await client.is_alive()
            await client.close()
            assert await asyncio.to_thread(node.stop) == 0


async def test_start_without_rabbitmq_is_alive_and_becomes_ready_by_itself(redis, own_rabbit, connect):
    own_rabbit.kill()
    with GatewayNode("dev", name="early", env=env_of(redis.url, own_rabbit.url), ready="livez") as node:
        check_alive_and_not_ready(node)
        client = await connect(node, unique())
        assert only(await push(node, {"conn": client.conn}))["route"] == "local"
        await asyncio.to_thread(own_rabbit.start)
        await becomes_ready(node)
        assert (await push(node, {"conn": unique("nobody")}))["outcome"] == "offline"
        await client.close()


async def test_redis_that_goes_away_makes_it_not_ready_and_its_return_ready(own_redis, make_cluster, connect):
    own = make_cluster(2, own_redis=own_redis, lease_s=3)
    node, other = own.nodes
    client = await connect(node, unique())
    own_redis.kill()
    await eventually(lambda: node.get_status("/readyz") == 503, "not ready")
    assert node.get_status("/livez") == 200
    assert only(await push(node, {"conn": client.conn}))["route"] == "local"
    assert only(await push(other, {"conn": client.conn}))["route"] == "fallback"
    own_redis.start()
    await becomes_ready(node)
    assert len(await client.rest()) == 2


WRONG_SETTINGS = [
    ("dev", {"PORT": "99999"}, "SANIC_WS_PORT"),
    ("dev", {"HOST": "0.0.0.0"}, "SANIC_WS_HOST"),
    ("dev", {"LEASE_S": "soon"}, "SANIC_WS_LEASE_S"),
    ("dev", {"DRAIN_S": "-1"}, "SANIC_WS_DRAIN_S"),
    ("dev", {"MAX_MESSAGE_BYTES": "1 MB"}, "SANIC_WS_MAX_MESSAGE_BYTES"),
    ("dev", {"NODE_NAME": "a b"}, "SANIC_WS_NODE_NAME"),
    ("dev", {"PREFIX": "a{b}"}, "SANIC_WS_PREFIX"),
    ("dev", {"REDIS_URL": "http://127.0.0.1"}, "SANIC_WS_REDIS_URL"),
    ("dev", {"AMQP_URL": "redis://127.0.0.1"}, "SANIC_WS_AMQP_URL"),
    ("dev", {"REDIS_URL": "redis://127.0.0.1:port/0"}, "SANIC_WS_REDIS_URL"),
    ("dev", {"AMQP_URL": "amqp://127.0.0.1:port/"}, "SANIC_WS_AMQP_URL"),
    ("dev", {"API_KEYS": "no-colon"}, "SANIC_WS_API_KEYS"),
    ("dev", {"API_KEYS": "a:secret-key:everything"}, "SANIC_WS_API_KEYS"),
    ("dev", {"TRUST_CLIENT_IDENTITY": "perhaps"}, "SANIC_WS_TRUST_CLIENT_IDENTITY"),
    ("dev", {"WORKERS": "2"}, "SANIC_WS_WORKERS"),
    ("serve", {}, "SANIC_WS_REDIS_URL"),
    ("serve", {"REDIS_URL": "redis://127.0.0.1", "API_KEYS": "a:b"}, "SANIC_WS_AMQP_URL"),
    ("serve", {"REDIS_URL": "redis://127.0.0.1", "AMQP_URL": "amqp://127.0.0.1"}, "SANIC_WS_API_KEYS"),
]


@pytest.mark.parametrize(("mode", "given", "name"), WRONG_SETTINGS, ids=str)
async def test_wrong_setting_is_named_in_a_line_and_ends_with_2(mode, given, name):
    env = {"SANIC_WS_PORT": str(free_port())} | {f"SANIC_WS_{key}": value for key, value in given.items()}
    ended = await run_command(mode, env=env, timeout_s=10)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err + ended.out
    assert name in ended.err
    assert "secret-key" not in ended.err


async def test_wrong_flag_ends_with_2_and_is_named():
    ended = await run_command("dev", "--lease-s", "0", "--port", str(free_port()))
    assert ended.code == 2
    assert "lease" in ended.err.lower()


async def test_port_that_is_taken_ends_with_2_and_is_named(nodes):
    ended = await run_command("dev", "--port", str(nodes[0].port))
    assert ended.code == 2
    assert "SANIC_WS_PORT" in ended.err
    assert nodes[0].get_status("/livez") == 200


def several_workers(cluster, **options):
    env = cluster.env | {"SANIC_WS_API_KEYS": "test:secret", "SANIC_WS_DRAIN_S": "0.1"}
    return GatewayNode("serve", "--workers", "2", name="many", env=env, **options)


async def ids_of(node):
    answer = await call(node, "GET", "/api/v1/nodes", key="secret")
    return [entry["node"] for entry in answer.json["nodes"]] if answer.status == 200 else []


def env_of(redis_url, amqp_url):
    return {
        "SANIC_WS_REDIS_URL": redis_url,
        "SANIC_WS_AMQP_URL": amqp_url,
        "SANIC_WS_PREFIX": unique("own"),
        "SANIC_WS_DRAIN_S": "0.1",
        "SANIC_WS_LEASE_S": "3",
    }


def check_alive_and_not_ready(node):
    assert node.get_status("/livez") == 200
    assert node.get_status("/readyz") == 503


async def becomes_ready(node):
    await asyncio.to_thread(
        wait_until, lambda: node.get_status("/readyz") == 200, 30, "the node to be ready", log=node.log
    )


async def told_to_come_back(client):
    """Take `reconnect` and the close; return the wait that both name."""
    message = await client.next("reconnect")
    after_ms = message["data"]["after_ms"]
    assert after_ms > 0
    code, reason = await client.closed()
    assert code == 1012
    found = re.search(r"retry_after_ms=(\d+)", reason)
    assert found is not None
    assert int(found[1]) == after_ms
    return after_ms


async def leave(node, number, clients):
    """Signal a node, have its clients read what they are told, and return its exit code; None: it stays."""
    process = node._process
    os.kill(node.pid, number)
    await asyncio.gather(*(told_to_come_back(client) for client in clients))
    try:
        await asyncio.to_thread(process.wait, LEAVE_S)
    except subprocess.TimeoutExpired:
        node.kill()
        return None
    logged = node.log.read_text()
    assert "Traceback" not in logged, logged
    return process.returncode
