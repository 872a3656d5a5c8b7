"""Pushes that clients confirm or answer, and copies of pushes, over three nodes."""

import asyncio
import base64

import pytest

from sanic_ws import Conn, Everyone, SyncPublisher, User
from tests.integration.peers import call, only, push, push_body, run_command, unique

PUSH = "/api/v1/push"
ROUTES = ["local", "direct", "fallback"]
LONG_MS = 30_000
DEEP = {"ä": [1, 2.5, None, True, "😀\u2028"], "": {"n": [[[[]]]]}}


@pytest.fixture(params=ROUTES)
async def asked(request, cluster, connect):
    """A client on the first node, the node that is asked to push to it, and the route that this takes."""
    client = await connect(cluster.nodes[0], unique())
    if request.param == "fallback":
        await cluster.forget(client.conn)
    return client, cluster.nodes[request.param != "local"], request.param


def start(coroutine):
    return asyncio.create_task(coroutine)


async def behind(clients, pushing):
    """Push once more: with that receipt it is known here, too, that what was pushed before was written."""
    await pushing
    for client in clients:
        await client.next("behind")


def types(messages):
    return [message["type"] for message in messages]


class TestAcks:
    async def test_client_that_confirms_makes_it_acked(self, asked):
        client, node, route = asked
        pushed = start(push(node, {"conn": client.conn}, wait="ack", timeout_ms=LONG_MS))
        message = await client.next("hello")
        await client.send("ack", {"id": message["id"]})
        receipt = await pushed
        assert (receipt["outcome"], receipt["counts"]) == ("acked", {"acked": 1})
        assert (only(receipt)["route"], only(receipt)["outcome"]) == (route, "acked")
        assert "reply" not in only(receipt)

    async def test_reply_comes_back_as_it_was_sent(self, asked):
        client, node, _ = asked
        pushed = start(push(node, {"conn": client.conn}, wait="reply", timeout_ms=LONG_MS))
        message = await client.next("hello")
        await client.send("ack", {"id": message["id"]})
        await client.send("reply", {"id": message["id"], "data": DEEP})
        receipt = await pushed
        assert (receipt["outcome"], only(receipt)["reply"]) == ("acked", DEEP)

    async def test_long_reply_comes_back(self, asked):
        client, node, _ = asked
        pushed = start(push(node, {"conn": client.conn}, wait="reply", timeout_ms=LONG_MS))
        text = "x" * 900_000
        await client.send("reply", {"id": (await client.next("hello"))["id"], "data": text})
        assert only(await pushed)["reply"] == text

    async def test_without_a_confirmation_it_is_delivered(self, asked):
        client, node, _ = asked
        receipt = await push(node, {"conn": client.conn}, wait="ack", timeout_ms=500)
        assert receipt["outcome"] == "delivered"
        message = await client.next("hello")
        await client.send("ack", {"id": message["id"]})
        assert await client.is_alive()

    async def test_confirmation_without_the_reply_is_acked_at_the_end(self, asked):
        client, node, _ = asked
        pushed = start(push(node, {"conn": client.conn}, wait="reply", timeout_ms=500))
        await client.send("ack", {"id": (await client.next("hello"))["id"]})
        receipt = await pushed
        assert receipt["outcome"] == "acked"
        assert "reply" not in only(receipt)

    async def test_later_pushes_do_not_wait_for_it(self, asked):
        client, node, _ = asked
        pushed = start(push(node, {"conn": client.conn}, wait="ack", timeout_ms=LONG_MS))
        message = await client.next("hello")
        later = await push(node, {"conn": client.conn}, type="later")
        assert (later["outcome"], pushed.done()) == ("delivered", False)
        await client.next("later")
        await client.send("ack", {"id": message["id"]})
        assert (await pushed)["outcome"] == "acked"

    async def test_nobody_there_is_offline(self, nodes):
        receipt = await push(nodes[0], {"conn": unique("nobody")}, wait="ack", timeout_ms=LONG_MS)
        assert receipt["outcome"] == "offline"

    async def test_only_the_session_that_got_it_can_confirm_it(self, asked, nodes, connect):
        client, node, _ = asked
        pushed = start(push(node, {"conn": client.conn}, wait="ack", timeout_ms=LONG_MS))
        message = await client.next("hello")
        other = await connect(nodes[0], unique())
        await other.send("ack", {"id": message["id"]})
        assert await other.is_alive()
        newer = await connect(nodes[0], client.conn)
        await newer.send("ack", {"id": message["id"]})
        # Nobody is left who could confirm it: it ends long before the time is over.
        assert (await pushed)["outcome"] == "delivered"

    async def test_owner_that_is_killed_leaves_it_delivered(self, make_cluster, connect):
        own = make_cluster(2)
        client = await connect(own.nodes[0], unique())
        pushed = start(push(own.nodes[1], {"conn": client.conn}, wait="ack", timeout_ms=1500))
        message = await client.next("hello")
        # What the owner answers comes in order: when this is answered, the first answer is there.
        await push(own.nodes[1], {"conn": client.conn})
        own.nodes[0].kill()
        receipt = await pushed
        assert (receipt["id"], receipt["outcome"]) == (message["id"], "delivered")

    @pytest.mark.parametrize("data", [None, [], {}, {"id": 5}, {"id": None}, "p"])
    @pytest.mark.parametrize("kind", ["ack", "reply"])
    async def test_answer_that_names_no_push_is_an_error(self, nodes, connect, kind, data):
        client = await connect(nodes[0], unique())
        await client.send(kind, data, "1")
        error = await client.next("error")
        assert (error["data"]["code"], error["id"]) == ("invalid_message", "1")

    async def test_answer_to_a_push_that_nobody_made_is_ignored(self, nodes, connect):
        client = await connect(nodes[0], unique())
        for push_id in ("none", "", "x" * 10_000, "\x00"):
            await client.send("ack", {"id": push_id})
            await client.send("reply", {"id": push_id, "data": 1})
        assert await client.is_alive()

    async def test_reply_that_json_cannot_say_is_an_error_and_another_one_counts(self, asked):
        client, node, _ = asked
        pushed = start(push(node, {"conn": client.conn}, wait="reply", timeout_ms=LONG_MS))
        push_id = (await client.next("hello"))["id"]
        await client.socket.send(f'{{"type":"reply","data":{{"id":"{push_id}","data":1e999}}}}')
        assert (await client.next("error"))["data"]["code"] == "invalid_json"
        await client.send("reply", {"id": push_id, "data": 1})
        assert only(await pushed)["reply"] == 1

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"to": {"all": True}, "type": "t", "wait": "ack"}, "wait"),
            ({"to": {"conn": "a"}, "raw": "x", "wait": "ack"}, "wait"),
            ({"to": {"conn": "a"}, "raw_base64": "eA==", "wait": "reply"}, "wait"),
            ({"to": {"conn": "a"}, "type": "t", "wait": "later"}, "wait"),
            ({"to": {"conn": "a"}, "type": "t", "wait_for": "first"}, "wait_for"),
        ],
    )
    async def test_what_cannot_be_waited_for_is_400(self, nodes, fields, field):
        answer = await call(nodes[0], "POST", PUSH, fields)
        assert (answer.status, answer.error["field"]) == (400, field)

    async def test_batch_tells_of_each(self, nodes, connect):
        clients = [await connect(node, unique()) for node in nodes]
        pushes = [push_body({"conn": c.conn}, wait="reply", timeout_ms=LONG_MS) for c in clients]
        pushes.append(push_body({"conn": clients[0].conn}))
        answered = start(call(nodes[0], "POST", f"{PUSH}/batch", {"pushes": pushes}))
        for number, client in enumerate(clients):
            message = await client.next("hello")
            await client.send("reply", {"id": message["id"], "data": number})
        receipts = (await answered).json["receipts"]
        assert [receipt["outcome"] for receipt in receipts] == ["acked"] * 3 + ["delivered"]
        assert [only(receipt)["reply"] for receipt in receipts[:3]] == [0, 1, 2]


class TestSeveralDevices:
    @pytest.fixture
    async def devices(self, nodes, connect):
        user = {"userId": unique("u"), "tenantId": 7}
        kinds = ("web", "app", "tv")
        return user, [
            await connect(node, unique(), user=user | {"fromType": kind})
            for node, kind in zip(nodes, kinds, strict=True)
        ]

    async def test_each_has_an_outcome_of_its_own(self, publisher, devices):
        user, (web, app, tv) = devices
        pushed = start(
            publisher.push(User(user["userId"], 7), "hello", {"n": 1}, wait="reply", timeout_s=1.5)
        )
        await web.send("reply", {"id": (await web.next("hello"))["id"], "data": "yes"})
        await app.send("ack", {"id": (await app.next("hello"))["id"]})
        await tv.next("hello")
        receipt = await pushed
        assert receipt.outcome == "partial"
        found = {d.conn: (d.outcome, d.replied, d.reply) for d in receipt.deliveries}
        assert found == {
            web.conn: ("acked", True, "yes"),
            app.conn: ("acked", False, None),
            tv.conn: ("delivered", False, None),
        }

    @pytest.mark.parametrize("at", [0, 2])
    async def test_first_answer_ends_it_and_the_others_are_cancelled(self, nodes, devices, at):
        user, clients = devices
        pushed = start(
            push(
                nodes[at], {"user": user}, wait="reply", wait_for="first", timeout_ms=LONG_MS, id=unique("id")
            )
        )
        ids = {(await client.next("hello"))["id"] for client in clients}
        (push_id,) = ids
        await behind(clients, push(nodes[at], {"user": user}, type="behind"))
        await clients[1].send("reply", {"id": push_id, "data": {"accepted": True}})
        receipt = await pushed
        assert (receipt["outcome"], receipt["counts"]) == ("partial", {"acked": 1, "delivered": 2})
        replies = {d["conn"]: d["reply"] for d in receipt["deliveries"] if "reply" in d}
        assert replies == {clients[1].conn: {"accepted": True}}
        for client in (clients[0], clients[2]):
            assert (await client.next("cancelled"))["data"] == {"id": push_id}
        assert await clients[1].is_alive()

    async def test_of_two_that_answer_at_once_one_wins_and_the_other_is_cancelled(self, publisher, devices):
        user, clients = devices
        target = User(user["userId"], 7)
        pushed = start(publisher.push(target, "hello", wait="ack", wait_for="first", timeout_s=30))
        push_id = {(await client.next("hello"))["id"] for client in clients}.pop()
        await behind(clients, publisher.push(target, "behind"))
        await asyncio.gather(*(client.send("ack", {"id": push_id}) for client in clients))
        receipt = await pushed
        (winner,) = [d.conn for d in receipt.deliveries if d.outcome == "acked"]
        for client in clients:
            if client.conn != winner:
                assert (await client.next("cancelled"))["data"] == {"id": push_id}
        assert [await c.is_alive() for c in clients] == [True] * 3

    async def test_devices_found_by_the_fallback_are_asked(self, cluster, devices):
        _, clients = devices
        conns = {"conns": [client.conn for client in clients]}
        for client in clients:
            await cluster.forget(client.conn)
        pushed = start(push(cluster.nodes[0], conns, wait="ack", wait_for="first", timeout_ms=LONG_MS))
        push_id = {(await client.next("hello"))["id"] for client in clients}.pop()
        await behind(clients, push(cluster.nodes[0], conns, type="behind"))
        await clients[2].send("ack", {"id": push_id})
        assert (await pushed)["counts"] == {"acked": 1, "delivered": 2}
        for client in clients[:2]:
            await client.next("cancelled")


class TestPublishers:
    async def test_sync_publisher_gets_the_reply(self, cluster, connect):
        client = await connect(cluster.nodes[1], unique())

        def ask():
            with SyncPublisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as publisher:
                return publisher.push(Conn(client.conn), "hello", wait="reply", timeout_s=30)

        asked = start(asyncio.to_thread(ask))
        await client.send("reply", {"id": (await client.next("hello"))["id"], "data": [1]})
        receipt = await asked
        assert (receipt.outcome, receipt.deliveries[0].reply) == ("acked", [1])

    async def test_command_line_prints_the_reply(self, cluster, connect):
        client = await connect(cluster.nodes[1], unique())
        arguments = ("push", "--conn", client.conn, "--wait", "reply", "--timeout", "30")
        for where in (("--url", cluster.nodes[0].url), ()):
            ended = start(run_command(*arguments, *where, env=cluster.env))
            await client.send("reply", {"id": (await client.next("message"))["id"], "data": "yes"})
            assert ((await ended).code, '"reply": "yes"' in (await ended).out) == (0, True)

    async def test_command_line_sends_raw_content(self, cluster, connect):
        client = await connect(cluster.nodes[1], unique())
        for where in (("--url", cluster.nodes[0].url), ()):
            for content, sent in (("--raw", "ä"), ("--raw-base64", "/wA=")):
                ended = await run_command(
                    "push", "--conn", client.conn, content, sent, *where, env=cluster.env
                )
                assert ended.code == 0, ended
                assert await client.next_frame() == ("ä" if content == "--raw" else b"\xff\0")


class TestRaw:
    async def test_limit_is_on_what_is_sent_not_on_how_it_is_written(self, make_cluster, connect):
        (node,) = make_cluster(1, max_message_bytes=1024).nodes
        client = await connect(node, unique())
        for raw in ("x" * 1024, b"\xff" * 1024):
            content = {"raw": raw} if isinstance(raw, str) else {"raw_base64": base64.b64encode(raw).decode()}
            await push(node, {"conn": client.conn}, **content)
            assert await client.next_frame() == raw
        for content in ({"raw": "x" * 1025}, {"raw_base64": base64.b64encode(b"x" * 1025).decode()}):
            answer = await call(node, "POST", PUSH, push_body({"conn": client.conn}, **content))
            assert (answer.status, answer.error["field"]) == (413, next(iter(content)))
        assert await client.is_alive()

    async def test_publisher_sends_text_and_bytes(self, publisher, nodes, connect):
        client = await connect(nodes[2], unique())
        for raw in ("not JSON ä😀", b"", bytes(range(256))):
            assert (await publisher.push(Conn(client.conn), raw=raw)).outcome == "delivered"
            assert await client.next_frame() == raw


class TestCopies:
    async def test_same_id_is_delivered_once_whichever_way_it_comes(self, cluster, publisher, connect):
        client, push_id = await connect(cluster.nodes[0], unique()), unique("id")
        receipts = [await push(node, {"conn": client.conn}, id=push_id) for node in cluster.nodes]
        direct = await publisher.push(Conn(client.conn), "hello", id=push_id)
        assert direct.to_json() == receipts[0]
        await cluster.forget(client.conn)
        await cluster.forget_receipts()
        fallback = await push(cluster.nodes[1], {"conn": client.conn}, id=push_id)
        assert [r["outcome"] for r in (*receipts, fallback)] == ["delivered"] * 4
        assert (direct.outcome, only(fallback)["route"]) == ("delivered", "fallback")
        assert types(await client.rest()) == ["hello"]

    async def test_copies_at_the_same_time_are_delivered_once(self, cluster, publisher, connect):
        user, push_id = {"userId": unique("u")}, unique("id")
        clients = [await connect(node, unique(), user=user | {"fromType": "web"}) for node in cluster.nodes]
        target = User(user["userId"])
        receipts = await asyncio.gather(
            *(push(node, {"user": user}, id=push_id) for node in cluster.nodes for _ in range(5))
        )
        for receipt in await asyncio.gather(*(publisher.push(target, "hello", id=push_id) for _ in range(5))):
            assert receipt.counts == {"delivered": 3}
        assert [r["counts"] for r in receipts] == [{"delivered": 3}] * 15
        for client in clients:
            assert types(await client.rest()) == ["hello"]

    async def test_copy_gets_the_firsts_reply(self, cluster, publisher, connect):
        client, push_id = await connect(cluster.nodes[0], unique()), unique("id")
        first = start(
            push(cluster.nodes[1], {"conn": client.conn}, id=push_id, wait="reply", timeout_ms=LONG_MS)
        )
        await client.next("hello")
        meanwhile = start(publisher.push(Conn(client.conn), "hello", id=push_id, wait="ack", timeout_s=30))
        # Both wait: a push behind the copy has been written.
        await publisher.push(Conn(client.conn), "behind")
        await client.next("behind")
        await client.send("reply", {"id": push_id, "data": {"n": 1}})
        assert only(await first)["reply"] == {"n": 1}
        assert (await meanwhile).outcome == "acked"
        for node in cluster.nodes:
            receipt = await push(node, {"conn": client.conn}, id=push_id, wait="reply", timeout_ms=LONG_MS)
            assert (receipt["outcome"], only(receipt)["reply"]) == ("acked", {"n": 1})
        assert await client.is_alive()

    async def test_copy_is_known_after_a_reconnect_to_the_same_node(self, nodes, connect):
        client, push_id = await connect(nodes[0], unique()), unique("id")
        await push(nodes[1], {"conn": client.conn}, id=push_id)
        await client.close()
        again = await connect(nodes[0], client.conn)
        assert (await push(nodes[2], {"conn": client.conn}, id=push_id))["outcome"] == "delivered"
        assert await again.is_alive()

    async def test_copy_of_what_was_offline_is_delivered(self, nodes, connect):
        sign, push_id = unique(), unique("id")
        assert (await push(nodes[0], {"conn": sign}, id=push_id))["outcome"] == "offline"
        client = await connect(nodes[1], sign)
        assert (await push(nodes[0], {"conn": sign}, id=push_id))["outcome"] == "delivered"
        assert types(await client.rest()) == ["hello"]

    async def test_push_to_all_is_delivered_once(self, cluster, publisher, connect):
        clients, push_id = [await connect(node, unique()) for node in cluster.nodes], unique("id")
        first = await push(cluster.nodes[0], {"all": True}, id=push_id)
        copies = [await push(node, {"all": True}, id=push_id) for node in cluster.nodes]
        assert [copy["counts"] for copy in copies] == [first["counts"]] * 3
        assert (await publisher.push(Everyone(), "hello", id=push_id)).counts == first["counts"]
        for client in clients:
            assert types(await client.rest()) == ["hello"]
