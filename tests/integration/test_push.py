"""Pushes: every kind of target, content and outcome, over HTTP."""

import asyncio
import base64
import json

import pytest

from tests.integration.peers import (
    call,
    connections_of,
    eventually,
    node_ids,
    only,
    push,
    push_body,
    unique,
)
from tests.servers import GatewayNode, free_port

PUSH = "/api/v1/push"
BATCH = "/api/v1/push/batch"


def types(messages):
    return [message["type"] for message in messages]


class TestTargets:
    async def test_conns_on_all_nodes_each_named_with_its_node(self, nodes, connect):
        clients = [await connect(node, unique()) for node in nodes]
        receipt = await push(nodes[0], {"conns": [client.conn for client in clients]})
        assert (receipt["outcome"], receipt["counts"]) == ("delivered", {"delivered": 3})
        found = {d["conn"]: (d["node"], d["route"]) for d in receipt["deliveries"]}
        assert found == {
            clients[0].conn: (nodes[0].node_id, "local"),
            clients[1].conn: (nodes[1].node_id, "direct"),
            clients[2].conn: (nodes[2].node_id, "direct"),
        }
        for client in clients:
            assert types(await client.rest()) == ["hello"]

    async def test_conn_named_twice_receives_once(self, nodes, connect):
        client = await connect(nodes[0], unique())
        receipt = await push(nodes[1], {"conns": [client.conn, client.conn]})
        assert receipt["counts"] == {"delivered": 1}
        assert types(await client.rest()) == ["hello"]

    async def test_user_on_all_devices(self, nodes, connect):
        user = {"userId": unique("u"), "tenantId": 7}
        devices = [
            await connect(node, unique(), user=user | {"fromType": kind})
            for node, kind in zip(nodes, ("web", "app", "web"), strict=True)
        ]
        receipt = await push(nodes[0], {"user": user})
        assert receipt["counts"] == {"delivered": 3}
        assert {d["conn"] for d in receipt["deliveries"]} == {device.conn for device in devices}
        for device in devices:
            assert types(await device.rest()) == ["hello"]

    async def test_user_on_one_kind_of_device(self, nodes, connect):
        user = {"userId": unique("u")}
        web = await connect(nodes[0], unique(), user=user | {"fromType": "web"})
        app = await connect(nodes[0], unique(), user=user | {"fromType": "app"})
        receipt = await push(nodes[1], {"user": user | {"fromType": "app"}})
        assert only(receipt)["conn"] == app.conn
        assert await web.rest() == []
        assert types(await app.rest()) == ["hello"]

    async def test_user_without_such_a_device_is_offline(self, nodes, connect):
        user = {"userId": unique("u")}
        web = await connect(nodes[0], unique(), user=user | {"fromType": "web"})
        assert (await push(nodes[1], {"user": user | {"fromType": "tv"}}))["outcome"] == "offline"
        assert await web.rest() == []

    async def test_user_that_nobody_is_is_offline(self, nodes):
        receipt = await push(nodes[0], {"user": {"userId": unique("u")}})
        assert (receipt["outcome"], receipt["deliveries"]) == ("offline", [])

    async def test_same_user_id_in_another_tenant_or_bank_is_another_user(self, nodes, connect):
        user_id = unique("u")
        clients = [
            await connect(nodes[0], unique(), user={"userId": user_id, "fromType": "web"} | more)
            for more in ({}, {"tenantId": 1}, {"bankId": 1})
        ]
        receipt = await push(nodes[1], {"user": {"userId": user_id, "tenantId": 1}})
        assert only(receipt)["conn"] == clients[1].conn

    async def test_user_id_is_compared_as_text(self, nodes, connect):
        number = int(unique("")[1:], 16)
        client = await connect(nodes[0], unique(), user={"userId": number, "fromType": 1})
        receipt = await push(nodes[1], {"user": {"userId": str(number), "fromType": "1"}})
        assert only(receipt)["conn"] == client.conn

    async def test_users_with_any_characters_are_told_apart(self, nodes, connect):
        names = [unique("u") + end for end in (":1", "\x1f", "\n", "}", "%3A1", "Ä 😀", "*", "@")]
        clients = [await connect(nodes[0], unique(), user={"userId": n, "fromType": "web"}) for n in names]
        for name, client in zip(names, clients, strict=True):
            assert only(await push(nodes[1], {"user": {"userId": name}}))["conn"] == client.conn

    async def test_users(self, nodes, connect):
        users = [{"userId": unique("u"), "fromType": "web"} for _ in range(3)]
        clients = [await connect(n, unique(), user=u) for n, u in zip(nodes, users, strict=True)]
        receipt = await push(nodes[0], {"users": [{"userId": user["userId"]} for user in users]})
        assert receipt["counts"] == {"delivered": 3}
        for client in clients:
            assert types(await client.rest()) == ["hello"]

    async def test_all_reaches_everybody_once_and_is_counted_not_listed(self, nodes, connect):
        await eventually(lambda: no_connections(nodes), "no connections")
        clients = [await connect(node, unique()) for node in nodes for _ in range(3)]
        receipt = await push(nodes[1], {"all": True}, type="all", data="ä")
        assert "deliveries" not in receipt
        assert (receipt["outcome"], receipt["counts"]) == ("delivered", {"delivered": 9})
        for client in clients:
            assert [m["data"] for m in await client.rest()] == ["ä"]

    async def test_all_with_nobody_there_is_offline(self, nodes):
        await eventually(lambda: no_connections(nodes), "no connections")
        assert (await push(nodes[0], {"all": True}))["outcome"] == "offline"

    @pytest.mark.parametrize("kind", ["conns", "user", "all"])
    async def test_except_leaves_out(self, nodes, connect, kind):
        await eventually(lambda: no_connections(nodes), "no connections")
        user = {"userId": unique("u"), "fromType": "web"}
        clients = [await connect(node, unique(), user=user) for node in nodes]
        conns = [client.conn for client in clients]
        to = {"conns": {"conns": conns}, "user": {"user": user}, "all": {"all": True}}[kind]
        receipt = await push(nodes[0], to, except_=[conns[0], conns[1], unique("nobody")])
        assert receipt["counts"] == {"delivered": 1}
        assert [types(await client.rest()) for client in clients] == [[], [], ["hello"]]


class TestContent:
    async def test_type_data_id_and_time(self, nodes, connect):
        client = await connect(nodes[0], unique())
        data = {"ä": [1, 2.5, None, True, "😀\u2028\x00"], "": {}}
        push_id = unique("id")
        receipt = await push(nodes[1], {"conn": client.conn}, type="any type", data=data, id=push_id)
        assert receipt["id"] == push_id
        message = await client.next("any type")
        assert (message["data"], message["id"]) == (data, push_id)
        assert message["time"].endswith("Z")

    async def test_without_data(self, nodes, connect):
        client = await connect(nodes[0], unique())
        await push(nodes[1], {"conn": client.conn}, type="bare")
        assert (await client.next("bare"))["data"] is None

    async def test_ids_of_64_characters_are_kept_and_missing_ones_are_made(self, nodes, connect):
        client = await connect(nodes[0], unique())
        receipts = [await push(nodes[1], {"conn": client.conn}) for _ in range(2)]
        assert receipts[0]["id"] != receipts[1]["id"]
        assert (await push(nodes[1], {"conn": client.conn}, id="ä" * 64))["id"] == "ä" * 64
        assert [m["id"] for m in await client.rest()] == [*(r["id"] for r in receipts), "ä" * 64]

    async def test_raw_text_is_sent_as_it_is(self, nodes, connect):
        client = await connect(nodes[0], unique())
        for text in ("", "not JSON ä😀", "x" * 70_000):
            await push(nodes[1], {"conn": client.conn}, raw=text)
            assert await client.next_frame() == text

    async def test_raw_base64_is_a_binary_frame(self, nodes, connect):
        client = await connect(nodes[0], unique())
        for content in (b"", bytes(range(256)), b"\xff" * 70_000):
            await push(nodes[1], {"conn": client.conn}, raw_base64=base64.b64encode(content).decode())
            assert await client.next_frame() == content


class TestBatches:
    async def test_json_answers_the_receipts_in_order(self, nodes, connect):
        clients = [await connect(node, unique()) for node in nodes]
        order = [0, 1, 2, 1, 0, 2, 2]
        pushes = [push_body({"conn": clients[n].conn}, id=f"p-{i}", data=i) for i, n in enumerate(order)]
        pushes.append(push_body({"conn": unique("nobody")}, id="p-7"))
        answer = await call(nodes[0], "POST", BATCH, {"pushes": pushes})
        receipts = answer.json["receipts"]
        assert answer.status == 200
        assert [receipt["id"] for receipt in receipts] == [f"p-{i}" for i in range(8)]
        assert [receipt["outcome"] for receipt in receipts] == ["delivered"] * 7 + ["offline"]
        for n, client in enumerate(clients):
            assert [m["id"] for m in await client.rest()] == [
                f"p-{i}" for i, at in enumerate(order) if at == n
            ]

    @pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json"])
    async def test_ndjson(self, nodes, connect, content_type):
        client = await connect(nodes[0], unique())
        lines = [json.dumps(push_body({"conn": client.conn}, id=f"p-{n}")) for n in range(3)]
        body = "\n".join([*lines, ""]).encode()
        answer = await call(nodes[1], "POST", BATCH, body, headers={"Content-Type": content_type})
        assert [receipt["id"] for receipt in answer.json["receipts"]] == ["p-0", "p-1", "p-2"]
        assert [m["id"] for m in await client.rest()] == ["p-0", "p-1", "p-2"]

    async def test_thousand_pushes_to_one_connection_keep_their_order(self, nodes, connect):
        client = await connect(nodes[0], unique())
        pushes = [push_body({"conn": client.conn}, data=n, type="n") for n in range(1000)]
        answer = await call(nodes[1], "POST", BATCH, {"pushes": pushes})
        assert {receipt["outcome"] for receipt in answer.json["receipts"]} == {"delivered"}
        assert [m["data"] for m in await client.rest()] == list(range(1000))

    async def test_thousand_pushes_to_ids_that_nobody_has_are_all_offline(self, nodes):
        pushes = [push_body({"conn": unique("nobody")}) for _ in range(1000)]
        answer = await call(nodes[0], "POST", BATCH, {"pushes": pushes})
        assert [receipt["outcome"] for receipt in answer.json["receipts"]] == ["offline"] * 1000

    async def test_empty_batch_has_no_receipts(self, nodes):
        answer = await call(nodes[0], "POST", BATCH, {"pushes": []})
        assert (answer.status, answer.json) == (200, {"receipts": []})


class TestOutcomes:
    async def test_delivered_and_offline_and_partial_are_200(self, nodes, connect):
        client, nobody = await connect(nodes[0], unique()), unique("nobody")
        delivered = await push(nodes[1], {"conn": client.conn})
        offline = await push(nodes[1], {"conn": nobody})
        partial = await push(nodes[1], {"conns": [nobody, client.conn]})
        assert [r["outcome"] for r in (delivered, offline, partial)] == ["delivered", "offline", "partial"]
        assert partial["counts"] == {"delivered": 1, "offline": 1}
        found = {d["conn"]: d["outcome"] for d in partial["deliveries"]}
        assert found == {nobody: "offline", client.conn: "delivered"}

    async def test_wait_none_is_answered_without_a_promise_and_arrives(self, nodes, connect):
        client = await connect(nodes[0], unique())
        answer = await call(nodes[1], "POST", PUSH, push_body({"conn": client.conn}, wait="none", id="w-1"))
        assert answer.status in (200, 202)
        assert answer.json["id"] == "w-1"
        assert answer.json["outcome"] != "delivered"
        assert (await client.next("hello"))["id"] == "w-1"

    async def test_client_that_does_not_read_is_overloaded_and_nobody_else_is(self, nodes, connect):
        stuck = await connect(nodes[0], unique(), max_queue=1)
        other = await connect(nodes[0], unique())
        text = "x" * (1 << 19)
        outcomes = []
        while "overloaded" not in outcomes:
            assert len(outcomes) < 200
            outcomes.append((await push(nodes[1], {"conn": stuck.conn}, raw=text))["outcome"])
        assert set(outcomes) == {"delivered", "overloaded"}
        assert (await push(nodes[1], {"conn": other.conn}))["outcome"] == "delivered"
        assert types(await other.rest()) == ["hello"]
        frames = [await stuck.next_frame() for outcome in outcomes if outcome == "delivered"]
        assert set(frames) == {text}

    async def test_silent_owner_is_unknown_with_504_and_delivers_nothing_late(self, make_cluster, connect):
        own = make_cluster(2)
        silent, asked = own.nodes
        client = await connect(silent, unique())
        # The quickest push so far shows how far the two clocks differ.
        await push(asked, {"conn": client.conn}, type="first")
        silent.pause()
        try:
            body = push_body({"conn": client.conn}, type="late", timeout_ms=300)
            answer = await call(asked, "POST", PUSH, body)
        finally:
            silent.resume()
        assert (answer.status, answer.json["outcome"]) == (504, "unknown")
        assert answer.json["counts"] == {"unknown": 1}
        assert only(answer.json)["node"] == silent.node_id
        after = await push(asked, {"conn": client.conn}, type="next", timeout_ms=20_000)
        assert after["outcome"] == "delivered"
        assert types(await client.rest()) == ["first", "next"]

    async def test_silent_node_makes_an_unknown_id_unknown_not_offline(self, make_cluster):
        own = make_cluster(2)
        silent, asked = own.nodes
        silent.pause()
        try:
            body = push_body({"conn": unique("nobody")}, timeout_ms=300)
            answer = await call(asked, "POST", PUSH, body)
        finally:
            silent.resume()
        assert (answer.status, answer.json["outcome"]) == (504, "unknown")

    async def test_without_a_broker_a_push_from_afar_is_unavailable_with_503_and_a_local_one_goes(
        self, redis, connect
    ):
        env = {
            "SANIC_WS_REDIS_URL": redis.url,
            "SANIC_WS_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{free_port()}/",
            "SANIC_WS_PREFIX": unique("own"),
            "SANIC_WS_DRAIN_S": "0.1",
        }
        with GatewayNode("dev", name="alone", env=env, ready="livez") as node:
            client = await connect(node, unique())
            body = push_body({"conn": unique("nobody")})
            answer = await call(node, "POST", PUSH, body)
            assert (answer.status, answer.json["outcome"]) == (503, "unavailable")
            assert (await push(node, {"conn": client.conn}))["outcome"] == "delivered"
            assert types(await client.rest()) == ["hello"]
            await client.close()

    async def test_in_a_batch_each_has_its_own_outcome_with_200(self, nodes, connect):
        client = await connect(nodes[0], unique())
        pushes = [push_body({"conn": conn}) for conn in (client.conn, unique("nobody"))]
        answer = await call(nodes[1], "POST", BATCH, {"pushes": pushes})
        assert answer.status == 200
        assert [receipt["outcome"] for receipt in answer.json["receipts"]] == ["delivered", "offline"]


class TestAboutConnections:
    async def test_connection_says_where_whose_and_since_when(self, nodes, connect):
        user = {"userId": unique("u"), "tenantId": "7", "bankId": "9", "fromType": "web"}
        client = await connect(nodes[0], unique(), user=user)
        answer = await call(nodes[1], "GET", f"/api/v1/connections/{client.conn}")
        assert answer.status == 200
        found = answer.json
        assert (found["conn"], found["node"], found["user"]) == (client.conn, nodes[0].node_id, user)
        assert found["session"] == client.connected["session"]
        assert found["since"].endswith("Z")

    async def test_delete_closes_with_4403_from_any_node(self, nodes, connect):
        for at in (0, 1):
            client = await connect(nodes[0], unique())
            answer = await call(nodes[at], "DELETE", f"/api/v1/connections/{client.conn}")
            assert answer.status == 200
            assert (await client.closed())[0] == 4403
            again = await call(nodes[at], "DELETE", f"/api/v1/connections/{client.conn}")
            assert again.status == 404

    async def test_users_connections(self, nodes, connect):
        user_id = unique("u")
        clients = [
            await connect(node, unique(), user={"userId": user_id, "tenantId": 7, "fromType": kind})
            for node, kind in zip(nodes[:2], ("web", "app"), strict=True)
        ]
        answer = await call(nodes[2], "GET", f"/api/v1/users?userId={user_id}&tenantId=7")
        found = {c["conn"]: c["node"] for c in answer.json["connections"]}
        assert found == {clients[0].conn: nodes[0].node_id, clients[1].conn: nodes[1].node_id}
        none = await call(nodes[2], "GET", f"/api/v1/users?userId={user_id}")
        assert (none.status, none.json["connections"]) == (200, [])

    async def test_nodes_are_the_same_for_every_node(self, nodes):
        ids = [sorted(await node_ids(node)) for node in nodes]
        assert ids == [sorted(node.node_id for node in nodes)] * 3

    async def test_stats_count(self, make_cluster, connect):
        (node,) = make_cluster(1).nodes
        client = await connect(node, unique())
        await push(node, {"conn": client.conn})
        stats = (await call(node, "GET", "/api/v1/stats")).json
        assert (stats["node"], stats["connections"]) == (node.node_id, 1)
        assert stats["outcomes"] == {"delivered": 1}
        assert stats["routes"] == {"local": 1}


async def no_connections(nodes):
    return sum(await asyncio.gather(*(connections_of(node) for node in nodes))) == 0
