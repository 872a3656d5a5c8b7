"""The system that this replaces: one test for every row of that table, named after the row."""

import random

import pytest
import redis.asyncio as aioredis

from tests.integration.peers import call, connection_info, eventually, only, push, unique
from tests.integration.secured import turned_away

TWELVE_HOURS_S = 12 * 3600


async def test_middleware_that_accepts_websockets_at_a_path_400_for_anything_else(nodes, connect):
    assert (await connect(nodes[0])).connected["conn"]
    for method, headers in [("GET", {}), ("GET", {"Upgrade": "h2c", "Connection": "Upgrade"})]:
        answer = await call(nodes[0], method, "/ws", headers=headers)
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.error["code"]


async def test_sign_in_the_query_is_the_connections_id_and_is_issued_when_absent(nodes, connect):
    sign = unique("A-z.0_~:")
    assert (await connect(nodes[0], sign)).conn == sign
    assert only(await push(nodes[1], {"conn": sign}))["outcome"] == "delivered"
    issued = [(await connect(nodes[0])).conn for _ in range(3)]
    assert len(set(issued)) == 3
    # 128 random bits are 22 characters of base64.
    assert all(len(conn) >= 22 for conn in issued)
    assert only(await push(nodes[1], {"conn": issued[0]}))["outcome"] == "delivered"


async def test_factory_with_add_remove_all_others_client(nodes, connect):
    await eventually_empty(nodes)
    clients = [await connect(node, unique()) for node in nodes]
    first, second, third = clients

    await push(nodes[0], {"conn": first.conn}, type="client")
    await push(nodes[0], {"all": True}, type="all")
    others = await push(nodes[0], {"all": True}, type="others", except_=[first.conn])
    assert others["counts"] == {"delivered": 2}
    assert [m["type"] for m in await first.rest()] == ["client", "all"]
    assert [m["type"] for m in await second.rest()] == ["all", "others"]
    assert [m["type"] for m in await third.rest()] == ["all", "others"]

    await third.close()
    assert (await push(nodes[0], {"conn": third.conn}))["outcome"] == "offline"
    await eventually_connected(nodes, 2)
    assert (await push(nodes[0], {"all": True}))["counts"] == {"delivered": 2}


@pytest.mark.parametrize("size", [0, 4095, 4096, 4097, 65_535, 65_536, 300_000])
async def test_4_kb_buffer_one_frame_taken_for_one_message(nodes, connect, size):
    text = "".join(random.choices("aä€😀", k=size))[:size]
    client = await connect(nodes[0], unique())
    whole = f'{{"type":"ping","data":"{text}"}}'
    cuts = [whole[at : at + 1 + len(whole) // 7] for at in range(0, len(whole), 1 + len(whole) // 7)]
    await client.socket.send(whole)
    assert (await client.next("pong"))["data"] == text
    await client.socket.send(cuts)
    assert (await client.next("pong"))["data"] == text
    await push(nodes[1], {"conn": client.conn}, type="large", data=text)
    assert (await client.next("large"))["data"] == text


async def test_send_initial_messages_is_connected(nodes, connect):
    sign = unique()
    client = await connect(nodes[1], sign)
    again = await connect(nodes[1])
    data = client.connected
    assert set(data) == {"conn", "node", "session", "user", "heartbeat_s", "max_message_bytes"}
    assert (data["conn"], data["node"], data["user"]) == (sign, nodes[1].node_id, None)
    assert data["session"] != again.connected["session"]
    assert data["heartbeat_s"] > 0
    assert data["max_message_bytes"] == 1 << 20


async def test_handle_message_errors_are_typed_frames_and_the_connection_lives(nodes, connect):
    client = await connect(nodes[0], unique())
    await client.socket.send("this is not JSON")
    first = await client.next("error")
    assert first["data"]["code"] == "invalid_json"
    assert first["data"]["message"]
    await client.send("surely_nobody_handles_this", id="m-1")
    second = await client.next("error")
    assert (second["data"]["code"], second["id"]) == ("unhandled_type", "m-1")
    assert await client.is_alive()


async def test_init_user_info_ignores_user_id_0(nodes, connect):
    client = await connect(nodes[0], unique())
    for user_id in (0, "0", "", None):
        await client.send("user_info", {"userId": user_id, "fromType": "web"}, id="m-1")
        error = await client.next("error")
        assert error["data"]["code"]
        assert error["id"] == "m-1"
    assert (await connection_info(nodes[1], client.conn))["user"] is None


async def test_init_user_info_keeps_the_key_12_hours(cluster, nodes, connect):
    user = {"userId": unique("u"), "tenantId": "7", "bankId": "3", "fromType": "web"}
    client = await connect(nodes[0], unique(), user=user)
    await client.close()
    await eventually(lambda: gone(nodes[1], client.conn), "the release")
    async with aioredis.Redis.from_url(cluster.redis.url) as redis:
        left_s = await redis.ttl(cluster.owner_key(client.conn))
    assert TWELVE_HOURS_S - 300 < left_s <= TWELVE_HOURS_S
    assert (await connect(nodes[2], client.conn)).connected["user"] == user


async def test_init_user_info_two_users_with_neither_tenant_nor_bank_are_two(nodes, connect):
    one, other = unique("u"), unique("u")
    first = await connect(nodes[0], unique(), user={"userId": one, "fromType": "web"})
    second = await connect(nodes[1], unique(), user={"userId": other, "fromType": "web"})
    receipt = await push(nodes[2], {"user": {"userId": one}}, type="for_one")
    assert only(receipt)["conn"] == first.conn
    assert [m["type"] for m in await first.rest()] == ["for_one"]
    assert await second.rest() == []


async def test_init_user_info_second_device_of_one_kind_does_not_replace_the_first(nodes, connect):
    user = {"userId": unique("u"), "tenantId": 7, "fromType": "web"}
    devices = [await connect(node, unique(), user=user) for node in nodes[:2]]
    receipt = await push(nodes[2], {"user": user})
    assert receipt["counts"] == {"delivered": 2}
    for device in devices:
        assert [m["type"] for m in await device.rest()] == ["hello"]


@pytest.mark.parametrize(("at", "route"), [(0, "local"), (1, "direct"), (2, "fallback")])
async def test_send_message_info_to_the_local_socket_direct_or_fallback(cluster, connect, at, route):
    nodes = cluster.nodes
    client = await connect(nodes[0], unique())
    if route == "fallback":
        await cluster.forget(client.conn)
    delivery = only(await push(nodes[at], {"conn": client.conn}))
    assert (delivery["route"], delivery["node"]) == (route, nodes[0].node_id)
    assert [m["type"] for m in await client.rest()] == ["hello"]


async def test_fanout_consumer_that_sends_where_the_id_is_known_is_the_fallback_and_is_answered(
    cluster, connect
):
    clients = [await connect(node, unique()) for node in cluster.nodes]
    target = clients[2]
    await cluster.forget(target.conn)
    receipt = await push(cluster.nodes[0], {"conn": target.conn}, type="sought")
    delivery = only(receipt)
    assert (receipt["outcome"], delivery["route"]) == ("delivered", "fallback")
    assert delivery["node"] == target.connected["node"]
    assert [[m["type"] for m in await c.rest()] for c in clients] == [[], [], ["sought"]]


async def test_open_problem_the_sender_receives_its_own_broadcast(nodes, connect):
    user = {"userId": unique("u"), "fromType": "web"}
    sender, other = [await connect(node, unique(), user=user) for node in nodes[:2]]
    await push(nodes[0], {"user": {"userId": user["userId"]}}, type="to_user", except_=[sender.conn])
    await push(nodes[0], {"all": True}, type="to_all", except_=[sender.conn])
    twice = [other.conn, other.conn, sender.conn]
    await push(nodes[0], {"conns": twice}, type="to_conns", except_=[sender.conn])
    assert await sender.rest() == []
    assert [m["type"] for m in await other.rest()] == ["to_user", "to_all", "to_conns"]


async def test_open_problem_a_list_in_memory_limit_unknown(make_cluster, connect):
    (node,) = make_cluster(1, max_connections=2).nodes
    first, _ = await connect(node), await connect(node)
    assert await turned_away(node) == 4429
    await first.close()
    await eventually_connected([node], 1)
    assert await (await connect(node)).is_alive()


async def gone(node, conn):
    return await connection_info(node, conn) is None


async def eventually_empty(nodes):
    await eventually_connected(nodes, 0)


async def eventually_connected(nodes, count):
    async def reached():
        stats = [(await call(node, "GET", "/api/v1/stats")).json["connections"] for node in nodes]
        return sum(stats) == count

    await eventually(reached, f"{count} connections")
