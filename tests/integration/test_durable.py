"""Durable messages over real nodes: stored for those who are away, read in order wherever they come back."""

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from sanic_ws import Conn, Publisher, User
from sanic_ws.publishing import SyncPublisher
from tests.integration.back_end import BackEnd
from tests.integration.peers import call, eventually, only, push, push_body, run_command, samples, unique
from tests.integration.secured import KEY, authenticate, bearer, error_code, secured, signer

COUNT = 250
EXAMPLES = Path(__file__).with_name("examples")
MAILBOX = "/api/v1/users/mailbox"


async def store(node, to, data=1, **fields):
    """Store a message and push it; return its receipt."""
    return await push(node, to, type="note", data=data, offline="store", **fields)


def new_user(**more):
    return {"userId": unique("u"), **more}


async def read(client, until="resumed"):
    """Read until a message of a type; return those before it, and that one's data."""
    messages = []
    while (message := await client.next())["type"] != until:
        messages.append(message)
    return messages, message["data"]


def data_of(messages):
    return [message["data"] for message in messages]


def assert_chained(messages, since=None):
    """Check that each message names the one before it."""
    before = since
    for message in messages:
        assert message.get("prev") == before, message
        before = message["id"]


class TestAway:
    async def test_what_was_stored_for_a_connection_comes_on_another_node(self, nodes, connect):
        to = {"conn": unique()}
        client = await connect(nodes[0], to["conn"])
        first = await store(nodes[1], to, 0)
        assert first["outcome"] == "delivered"
        assert (await client.next("note"))["data"] == 0
        await client.close()
        for number in range(1, COUNT):
            receipt = await store(nodes[number % 3], to, number)
            assert receipt["outcome"] in ("stored", "delivered")
        assert (await store(nodes[1], to, COUNT))["outcome"] == "stored"
        client = await connect(nodes[2], to["conn"], query={"since": first["id"]})
        messages, resumed = await read(client)
        assert data_of(messages) == list(range(1, COUNT + 1))
        assert_chained(messages, first["id"])
        assert resumed == {"recovered": True, "count": COUNT, "last_id": messages[-1]["id"]}
        live = await store(nodes[0], to, "live")
        assert live["outcome"] == "delivered"
        last = await client.next("note")
        assert (last["data"], last["prev"]) == ("live", messages[-1]["id"])

    async def test_what_was_stored_for_a_user_comes_once_the_client_says_who_it_is(self, nodes, connect):
        user = new_user()
        receipts = [await store(nodes[0], {"user": user}, number) for number in range(3)]
        assert [(r["outcome"], r["counts"]) for r in receipts] == [("stored", {"stored": 1})] * 3
        assert only(receipts[0])["conn"] is None
        client = await connect(nodes[1], user=user, query={"since": receipts[0]["id"]})
        messages, resumed = await read(client)
        assert data_of(messages) == [1, 2]
        assert resumed["recovered"]

    async def test_a_client_that_asks_for_nothing_gets_nothing_old(self, nodes, connect):
        user = new_user()
        receipt = await store(nodes[0], {"user": user})
        client = await connect(nodes[1], user=user)
        assert await client.rest() == []
        assert (await store(nodes[2], {"user": user}, "new"))["outcome"] == "delivered"
        message = await client.next("note")
        assert (message["data"], message["prev"]) == ("new", receipt["id"])
        await client.send("resume", {"since": ""})
        messages, resumed = await read(client)
        assert data_of(messages) == [1, "new"]
        assert resumed == {"recovered": True, "count": 2, "last_id": messages[-1]["id"]}

    async def test_devices_go_on_by_themselves_each_with_what_is_for_it(self, nodes, connect):
        user = new_user()
        sign = {kind: unique(kind) for kind in ("web", "app")}
        clients = {
            kind: await connect(nodes[0], sign[kind], user={**user, "fromType": kind}) for kind in sign
        }
        first = await store(nodes[1], {"user": user}, 0)
        assert first["counts"] == {"delivered": 2}
        second = await store(nodes[1], {"user": {**user, "fromType": "web"}}, 1)
        assert only(second)["outcome"] == "delivered"
        await clients["web"].close()
        for number in range(2, 20):
            to = [{"user": user}, {"user": {**user, "fromType": "app"}}, {"conn": sign["web"]}][number % 3]
            await store(nodes[number % 2], to, number)
        app = [message for message in await clients["app"].rest() if message["type"] == "note"]
        assert_chained(app)
        assert data_of(app) == [0, *(number for number in range(2, 20) if number % 3 < 2)]
        web = await connect(nodes[2], sign["web"], query={"since": second["id"]})
        messages, resumed = await read(web)
        assert resumed["recovered"]
        assert_chained(messages, second["id"])
        own = [number for number in range(2, 20) if number % 3 == 2]
        assert [number for number in data_of(messages) if number in own] == own
        assert sorted(data_of(messages)) == [number for number in range(2, 20) if number % 3 != 1]

    async def test_a_letter_that_is_unknown_gives_what_there_is(self, nodes, connect):
        to = {"conn": unique()}
        await store(nodes[0], to)
        client = await connect(nodes[1], to["conn"], query={"since": unique("foreign")})
        messages, resumed = await read(client)
        assert data_of(messages) == [1]
        assert resumed == {"recovered": False, "count": 1, "last_id": messages[0]["id"]}

    async def test_a_message_that_has_expired_is_missing_and_that_is_said(self, nodes, connect):
        to = {"conn": unique()}
        first = await store(nodes[0], to, 0)
        await store(nodes[0], to, 1, ttl_s=0.001)
        await store(nodes[0], to, 2)
        client = await connect(nodes[1], to["conn"], query={"since": first["id"]})
        messages, resumed = await read(client)
        assert data_of(messages) == [2]
        assert not resumed["recovered"]


class TestLive:
    async def test_pushes_that_come_while_others_are_read_are_merged_in_order(self, nodes, connect):
        user = new_user()
        first = await store(nodes[0], {"user": user}, 0)

        def body(number):
            return push_body({"user": user}, type="note", data=number, offline="store")

        await call(nodes[0], "POST", "/api/v1/push/batch", {"pushes": [*map(body, range(1, 301))]})
        enough = asyncio.Event()

        async def go_on():
            numbers = count(301)
            while not enough.is_set():
                sent = next(numbers)
                await call(nodes[sent % 3], "POST", "/api/v1/push", body(sent))
            return sent

        messages = []
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(go_on())
            for node in (*nodes, nodes[0]):
                since = messages[-1]["id"] if messages else first["id"]
                client = await connect(node, unique(), query={"since": since})
                await client.send("user_info", user)
                told = {}
                # Either may come first, and letters before both.
                while not {"user_bound", "resumed"} <= told.keys():
                    message = await client.next()
                    if message["type"] == "note":
                        messages.append(message)
                    else:
                        told[message["type"]] = message["data"]
                assert told["resumed"]["recovered"]
                messages += [await client.next("note") for _ in range(10)]
                await client.close()
            enough.set()
        last = sending.result()
        client = await connect(nodes[1], unique(), user=user, query={"since": messages[-1]["id"]})
        messages += (await read(client))[0]
        assert data_of(messages) == list(range(1, last + 1))
        assert_chained(messages, first["id"])

    async def test_order_with_pushes_that_are_not_stored(self, cluster, publisher, connect):
        client = await connect(cluster.nodes[0], unique())
        pushes = [
            publisher.push(Conn(client.conn), "note", number, offline="store" if number % 3 else "fail")
            for number in range(60)
        ]
        receipts = await asyncio.gather(*pushes)
        assert {receipt.outcome for receipt in receipts} == {"delivered"}
        assert data_of(await client.rest()) == list(range(60))

    async def test_acks_and_replies(self, cluster, publisher, connect):
        client = await connect(cluster.nodes[0], unique())
        asked = asyncio.create_task(
            publisher.push(Conn(client.conn), "ask", 1, offline="store", wait="reply", timeout_s=20)
        )
        message = await client.next("ask")
        await client.send("reply", {"id": message["id"], "data": {"is": "here"}})
        receipt = await asked
        assert (receipt.outcome, receipt.deliveries[0].reply) == ("acked", {"is": "here"})
        nobody = await publisher.push(Conn(unique()), "ask", 1, offline="store", wait="ack")
        assert nobody.outcome == "stored"

    async def test_a_copy_is_stored_and_delivered_once(self, nodes, connect):
        user, push_id = new_user(), unique("p")
        for _ in range(2):
            assert (await store(nodes[0], {"user": user}, id=push_id))["outcome"] == "stored"
        client = await connect(nodes[1], user=user, query={"since": ""})
        messages, _ = await read(client)
        assert [message["id"] for message in messages] == [push_id]
        for node in nodes:
            assert (await store(node, {"user": user}, id=push_id))["outcome"] == "delivered"
        assert await client.rest() == []
        assert (await call(nodes[0], "GET", f"{MAILBOX}?userId={user['userId']}")).json["size"] == 1

    async def test_several_targets_are_told_of_each_by_itself(self, nodes, connect):
        here, away, user = await connect(nodes[0], unique()), unique(), new_user()
        receipt = await store(nodes[1], {"conns": [here.conn, away]})
        assert receipt["counts"] == {"delivered": 1, "stored": 1}
        assert receipt["outcome"] == "partial"
        users = await store(nodes[1], {"users": [user, new_user()]})
        assert users["counts"] == {"stored": 2}


class TestSlowClients:
    async def test_a_client_that_does_not_read_goes_on_from_the_mailbox(self, make_cluster, connect):
        own = make_cluster(2, max_queue_bytes=65536, mailbox_bytes=64 << 20)
        to, count = {"conn": unique()}, 400
        first = await store(own.nodes[0], to, "first")
        bodies = [
            push_body(to, type="note", data={"number": number, "blob": "x" * 40_000}, offline="store")
            for number in range(count)
        ]
        for start in range(0, count, 50):
            await call(own.nodes[0], "POST", "/api/v1/push/batch", {"pushes": bodies[start : start + 50]})
        client = await connect(own.nodes[1], to["conn"], query={"since": first["id"]}, max_queue=1)

        async def begun():
            return (await samples(own.nodes[1]))["sanic_ws_replayed_total",]

        await eventually(begun, "the node to have begun")
        live = await store(own.nodes[0], to, {"number": count}, timeout_ms=200)
        assert live["outcome"] == "stored"
        messages, resumed = await read(client)
        if len(messages) == count:
            messages.append(await client.next("note"))
        assert [message["data"]["number"] for message in messages] == list(range(count + 1))
        assert_chained(messages, first["id"])
        assert resumed["recovered"]


class TestFaults:
    async def test_a_node_that_is_killed(self, make_cluster, connect):
        own = make_cluster(2)
        to = {"conn": unique()}
        client = await connect(own.nodes[0], to["conn"])
        receipts = [await store(own.nodes[1], to, number) for number in range(5)]
        got = [await client.next("note") for _ in range(5)]
        own.nodes[0].kill()
        receipts = [await store(own.nodes[1], to, number, timeout_ms=500) for number in range(5, 10)]
        assert {receipt["outcome"] for receipt in receipts} == {"stored"}
        client = await connect(own.nodes[1], to["conn"], query={"since": got[-1]["id"]})
        messages, resumed = await read(client)
        assert data_of(messages) == list(range(5, 10))
        assert resumed["recovered"]

    async def test_redis_that_comes_back_empty_is_no_secret(self, make_cluster, own_redis, connect):
        own = make_cluster(1, own_redis=own_redis)
        (node,) = own.nodes
        to = {"conn": unique()}
        client = await connect(node, to["conn"])
        first = await store(node, to, 0)
        await client.next("note")
        own_redis.kill()
        away = await call(node, "POST", "/api/v1/push", push_body(to, offline="store", timeout_ms=1000))
        assert away.json["outcome"] in ("unknown", "unavailable")

        async def certain():
            answer = await call(node, "POST", "/api/v1/push", push_body(to, offline="store", timeout_ms=1000))
            return (answer.status, answer.json["outcome"]) == (503, "unavailable")

        await eventually(certain, "the node to know that Redis is away")
        await client.send("resume", {"since": first["id"]})
        assert (await client.next("error"))["data"]["code"] == "mailbox_unavailable"
        own_redis.start()
        messages, resumed = await read(client)
        assert (messages, resumed) == ([], {"recovered": False, "count": 0, "last_id": None})
        await store(node, to, "new")
        assert (await client.next("note"))["data"] == "new"

    async def test_what_no_replica_has_is_not_said_to_be_stored(self, make_cluster, connect):
        own = make_cluster(1, mailbox_wait_replicas=1)
        (node,) = own.nodes
        to = {"conn": unique()}
        client = await connect(node, to["conn"])
        assert (await store(node, to))["outcome"] == "delivered"
        await client.close()
        answer = await call(node, "POST", "/api/v1/push", push_body(to, offline="store"))
        assert (answer.status, answer.json["outcome"]) == (504, "unknown")


class TestIdentity:
    async def test_since_waits_for_a_token(self, connect):
        with secured() as node:
            user = {"user": {"userId": "u1"}}
            for number in range(3):
                body = push_body(user, type="note", data=number, offline="store")
                receipt = (await call(node, "POST", "/api/v1/push", body, key=KEY)).json
                assert receipt["outcome"] == "stored"
            client = await connect(node, query={"since": ""})
            await authenticate(client, signer.token(userId="u1"))
            messages, resumed = await read(client)
            assert data_of(messages) == [0, 1, 2]
            assert resumed["recovered"]
            again = await connect(
                node, query={"since": messages[0]["id"]}, **bearer(signer.token(userId="u1"))
            )
            assert data_of((await read(again))[0]) == [1, 2]
            other = await connect(
                node, query={"since": messages[0]["id"]}, **bearer(signer.token(userId="u2"))
            )
            assert await read(other) == ([], {"recovered": False, "count": 0, "last_id": None})

    async def test_mailboxes_are_for_keys_that_reach_the_user(self):
        keys = f"backend:{KEY},reader:reader-key:read,few:few-key:read+admin:user=u2*"
        with secured(api_keys=keys) as node:
            path = f"{MAILBOX}?userId=u1"
            assert (await call(node, "GET", path)).status == 401
            assert (await call(node, "GET", path, key="reader-key")).status == 200
            assert (await call(node, "DELETE", path, key="reader-key")).status == 403
            assert (await call(node, "GET", path, key="few-key")).error["field"] == "userId"
            assert (await call(node, "DELETE", path, key="few-key")).status == 403


class TestMailbox:
    async def test_is_described_and_cleared(self, nodes, connect):
        user = new_user(tenantId=7)
        path = f"{MAILBOX}?userId={user['userId']}&tenantId=7"
        empty = {"user": {"userId": user["userId"], "tenantId": "7"}, "size": 0, "bytes": 0}
        assert (await call(nodes[0], "GET", path)).json == {**empty, "first": None, "last": None}
        receipts = [await store(nodes[1], {"user": user}, number) for number in range(3)]
        found = (await call(nodes[0], "GET", path)).json
        assert (found["size"], found["first"], found["last"]) == (3, receipts[0]["id"], receipts[2]["id"])
        assert found["bytes"] > 100
        assert (await call(nodes[2], "DELETE", path)).json["cleared"]
        assert not (await call(nodes[2], "DELETE", path)).json["cleared"]
        assert (await call(nodes[0], "GET", path)).json["size"] == 0
        client = await connect(nodes[0], user=user, query={"since": receipts[0]["id"]})
        assert await read(client) == ([], {"recovered": False, "count": 0, "last_id": None})

    @pytest.mark.parametrize("query", ["", "userId=0", "userId=1&fromType=web", "userId=1&userId=2"])
    async def test_what_names_no_mailbox_is_an_error(self, nodes, query):
        assert (await call(nodes[0], "GET", f"{MAILBOX}?{query}")).status == 400

    async def test_holds_no_more_than_is_set(self, make_cluster, connect):
        own = make_cluster(1, mailbox_messages=5)
        (node,) = own.nodes
        to = {"conn": unique()}
        receipts = [await store(node, to, number) for number in range(8)]
        client = await connect(node, to["conn"], query={"since": receipts[0]["id"]})
        messages, resumed = await read(client)
        assert data_of(messages) == [3, 4, 5, 6, 7]
        assert not resumed["recovered"]


class TestPublishers:
    async def test_from_python(self, cluster, publisher):
        receipt = await publisher.push(User(unique("u")), "note", 1, offline="store", ttl_s=60)
        assert receipt.outcome == "stored"
        with SyncPublisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as sync:
            receipt = await asyncio.to_thread(
                sync.push, User(unique("u"), tenant_id=7), "note", 1, offline="store"
            )
        assert receipt.outcome == "stored"

    async def test_over_amqp(self, cluster):
        back_end = await BackEnd.open(cluster.rabbit.url, cluster.prefix)
        try:
            body = push_body({"user": new_user()}, offline="store", ttl_s=60)
            receipt = await back_end.call(body)
            assert receipt["outcome"] == "stored"
            error = await back_end.call(push_body({"all": True}, offline="store"))
            assert error["error"]["field"] == "offline"
        finally:
            await back_end.close()

    async def test_from_the_command_line(self, cluster):
        user = unique("u")
        ended = await run_command("push", "--user", user, "--store", "--ttl", "60", env=cluster.env)
        assert (ended.code, json.loads(ended.out)["outcome"]) == (0, "stored")
        ended = await run_command("push", "--user", user, "--store", "--url", cluster.nodes[0].url)
        assert (ended.code, json.loads(ended.out)["outcome"]) == (0, "stored")
        answer = await call(cluster.nodes[0], "GET", f"{MAILBOX}?userId={user}")
        assert answer.json["size"] == 2
        url = cluster.nodes[1].ws_url
        ended = await run_command("listen", "--url", url, "--user", user, "--since", "", "--count", "5")
        kinds = [json.loads(line)["type"] for line in ended.out.splitlines()]
        assert sorted(kinds) == ["connected", "message", "message", "resumed", "user_bound"]

    async def test_a_publisher_that_ends_while_it_stores_knows_what_became_of_it(self, cluster):
        async with Publisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as publisher:
            pushing = asyncio.create_task(
                publisher.push(User(unique("u")), "note", 1, offline="store", timeout_s=5)
            )
            await asyncio.sleep(0)
        assert (await pushing).outcome in ("stored", "unknown")


class TestOutbox:
    async def test_what_transactions_left_is_stored_once_and_in_order(self, cluster, connect, tmp_path):
        path, user = tmp_path / "outbox.db", unique("u")
        rows = [(number + 1, user, "note", json.dumps(number)) for number in range(20)]
        with closing(sqlite3.connect(path)) as database:
            await self._fill(database, rows)
            process = await asyncio.create_subprocess_exec(
                sys.executable, EXAMPLES / "outbox.py", str(path), env={**os.environ, **cluster.env}
            )
            try:
                await self._emptied(database)
                await self._fill(database, rows[5:])  # as after a crash before they were deleted
                await self._emptied(database)
            finally:
                process.kill()
                await process.wait()
        client = await connect(cluster.nodes[0], user={"userId": user}, query={"since": ""})
        messages, _ = await read(client)
        assert data_of(messages) == list(range(20))

    async def _fill(self, database, rows):
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, user TEXT, type TEXT, data TEXT)"
            )
            database.executemany("INSERT INTO outbox VALUES (?, ?, ?, ?)", rows)

    async def _emptied(self, database):
        await eventually(
            lambda: database.execute("SELECT count(*) FROM outbox").fetchone() == (0,),
            "the outbox to be empty",
        )


class TestBadInput:
    @pytest.mark.parametrize("data", [None, {}, {"since": 5}, {"since": "x" * 65}, "id"])
    async def test_resume_without_an_id_is_an_error(self, nodes, connect, data):
        client = await connect(nodes[0], unique())
        assert await error_code(client, "resume", data) == "invalid_message"

    async def test_since_that_is_none_is_refused(self, nodes):
        for query in (f"since={'x' * 65}", "since=a&since=b"):
            answer = await call(
                nodes[0], "GET", f"/ws?{query}", headers={**UPGRADE, "Sec-WebSocket-Key": "a" * 22 + "=="}
            )
            assert (answer.status, answer.error["field"]) == (400, "since")


UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


async def test_counters(nodes, connect):
    before = [await samples(node) for node in nodes]
    to = {"conn": unique()}
    first = await store(nodes[0], to, 0)
    await store(nodes[0], to, 1)
    client = await connect(nodes[1], to["conn"], query={"since": first["id"]})
    await read(client)
    after = [await samples(node) for node in nodes]
    assert after[0]["sanic_ws_stored_total",] - before[0]["sanic_ws_stored_total",] == 2
    for name in (("sanic_ws_replayed_total",), ("sanic_ws_recoveries_total", "true")):
        assert after[1][name] - before[1][name] == 1
    assert after[1]["sanic_ws_gaps_total",] == before[1]["sanic_ws_gaps_total",]
