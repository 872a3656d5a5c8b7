"""Back ends in any language: calls over AMQP and clients' messages, over three real nodes."""

import asyncio
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.back_end import BackEnd
from tests.integration.peers import (
    WAIT_S,
    Client,
    Cluster,
    call,
    describe_nodes,
    eventually,
    only,
    push_body,
    start_all,
    stop_all,
    unique,
)
from tests.node_packages import install
from tests.servers import GatewayNode, require

EXAMPLES = Path(__file__).with_name("examples")
AMQPLIB = "amqplib@2.3.1"


@pytest.fixture
async def back_end(cluster: Cluster) -> AsyncIterator[BackEnd]:
    opened = await BackEnd.open(cluster.rabbit.url, cluster.prefix)
    yield opened
    await opened.close()


class TestCalls:
    async def test_push_reaches_the_owner_whichever_node_took_the_call(self, nodes, connect, back_end):
        client = await connect(nodes[0], unique())
        calls = (back_end.call(push_body({"conn": client.conn}, data=n)) for n in range(30))
        receipts = await asyncio.gather(*calls)
        assert {receipt["outcome"] for receipt in receipts} == {"delivered"}
        assert {only(receipt)["node"] for receipt in receipts} == {nodes[0].node_id}
        # Nodes take turns, and one of three is the owner.
        assert {only(receipt)["route"] for receipt in receipts} == {"local", "direct"}
        assert sorted(m["data"] for m in await client.rest()) == list(range(30))

    async def test_receipt_is_the_same_as_over_http(self, nodes, connect, back_end):
        user = {"userId": unique("u"), "fromType": "web"}
        client = await connect(nodes[1], unique(), user=user)
        body = push_body({"user": user}, id="order-7")
        receipt = await back_end.call(body)
        over_http = (await call(nodes[0], "POST", "/api/v1/push", body)).json
        assert receipt.keys() == over_http.keys()
        assert only(receipt).keys() == only(over_http).keys()
        assert (receipt["id"], only(receipt)["conn"]) == ("order-7", client.conn)
        assert (await back_end.call(push_body({"conn": unique()})))["outcome"] == "offline"

    async def test_batch_is_answered_in_order(self, nodes, connect, back_end):
        client = await connect(nodes[2], unique())
        pushes = [push_body({"conn": client.conn}, data=n, id=f"p-{n}") for n in range(100)]
        receipts = (await back_end.call({"pushes": [*pushes, push_body({"conn": unique()})]}))["receipts"]
        assert [r["outcome"] for r in receipts] == ["delivered"] * 100 + ["offline"]
        assert [r["id"] for r in receipts[:100]] == [f"p-{n}" for n in range(100)]
        assert [m["data"] for m in await client.rest()] == list(range(100))

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            (b"", "invalid_json", None),
            (b"\x80\x04K\x01.", "invalid_json", None),
            (b'{"to":', "invalid_json", None),
            (b"[" * 2000, "invalid_json", None),
            (b"[]", "invalid_field", None),
            ({"to": {"conn": "c"}}, "invalid_field", "type"),
            ({"to": {"conn": "ä"}, "type": "t"}, "invalid_field", "to.conn"),
            ({"to": {"conn": "c"}, "type": "connected"}, "invalid_field", "type"),
            ({"to": {"conn": "c"}, "type": "t", "more": 1}, "invalid_field", "more"),
            ({"to": {"conn": "c"}, "raw": "x" * ((1 << 20) + 1)}, "too_large", "raw"),
            ({"pushes": 1}, "invalid_field", "pushes"),
            ({"pushes": [], "more": 1}, "invalid_field", "more"),
            ({"pushes": [{"to": {"conn": "c"}, "type": "t"}] * 1001}, "invalid_field", "pushes"),
            ({"pushes": [{"to": {"conn": "c"}, "type": "t"}, {}]}, "invalid_field", "pushes[1].to"),
        ],
    )
    async def test_what_breaks_the_contract_gets_an_error(self, back_end, body, code, field):
        answer = await back_end.call(body)
        assert set(answer) == {"error"}
        assert (answer["error"]["code"], answer["error"].get("field")) == (code, field)
        assert answer["error"]["message"]

    async def test_call_that_is_larger_than_a_node_takes_is_too_large(self, back_end):
        assert (await back_end.call(b" " * ((16 << 20) + 1)))["error"]["code"] == "too_large"

    async def test_without_reply_to_it_is_pushed_all_the_same(self, nodes, connect, back_end):
        client = await connect(nodes[0], unique())
        await back_end.send(push_body({"conn": client.conn}))
        await client.next("hello")

    async def test_error_that_nobody_waits_for_is_set_aside(self, make_cluster):
        own = make_cluster(1)
        back_end = await BackEnd.open(own.rabbit.url, own.prefix)
        await back_end.send(b"junk")
        dead = await back_end.channel.get_queue(f"{own.prefix}.dead")
        message = await eventually(lambda: dead.get(no_ack=True, fail=False), "it to be set aside")
        assert message.body == b"junk"
        await back_end.close()

    async def test_wait_none_is_answered_at_once(self, nodes, connect, back_end):
        client = await connect(nodes[0], unique())
        receipt = await back_end.call(push_body({"conn": client.conn}, wait="none"))
        assert receipt["outcome"] == "unknown"
        await client.next("hello")

    async def test_expiry_of_the_call_bounds_the_push(self, make_cluster, connect):
        own = make_cluster(2)
        _, owner = own.nodes
        client = await connect(owner, unique())
        back_end = await BackEnd.open(own.rabbit.url, own.prefix)
        owner.pause()
        body = push_body({"conn": client.conn}, timeout_ms=60_000)
        # Two calls, as the nodes take turns: the one that the frozen node took is answered once it goes on.
        waiting = [asyncio.create_task(back_end.call(body, expiration=1)) for _ in range(2)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
        assert [task.result()["outcome"] for task in done] == ["unknown"]
        owner.resume()
        await asyncio.gather(*waiting)
        await back_end.close()

    async def test_calls_that_a_killed_node_had_are_unknown_and_nothing_comes_twice(
        self, make_cluster, connect
    ):
        own = make_cluster(2)
        staying, killed = own.nodes
        client = await connect(staying, unique())
        back_end = await BackEnd.open(own.rabbit.url, own.prefix)
        killed.pause()
        calls = [
            asyncio.create_task(back_end.call(push_body({"conn": client.conn}, data=n))) for n in range(20)
        ]
        # The nodes take turns, and one of the two is frozen.
        await eventually(lambda: sum(task.done() for task in calls) == 10, "half of them to be answered")
        killed.kill()
        outcomes = [receipt["outcome"] for receipt in await asyncio.gather(*calls)]
        assert Counter(outcomes) == {"delivered": 10, "unknown": 10}
        delivered = [n for n, outcome in enumerate(outcomes) if outcome == "delivered"]
        assert [m["data"] for m in await client.rest()] == delivered
        await back_end.close()

    async def test_node_that_leaves_answers_what_it_took(self, make_cluster, connect):
        own = make_cluster(2)
        staying, leaving = own.nodes
        client = await connect(staying, unique())
        back_end = await BackEnd.open(own.rabbit.url, own.prefix)
        calls = []

        async def keep_calling() -> None:
            while leaving.running:
                body = push_body({"conn": client.conn}, data=len(calls))
                calls.append(asyncio.create_task(back_end.call(body)))
                await asyncio.wait([calls[-1]])

        calling = asyncio.create_task(keep_calling())
        await eventually(lambda: len(calls) > 20, "calls to be answered")
        assert await asyncio.to_thread(leaving.stop, keep_data=True) == 0
        await calling
        receipts = await asyncio.gather(*calls)
        assert {receipt["outcome"] for receipt in receipts} == {"delivered"}
        assert [m["data"] for m in await client.rest()] == list(range(len(calls)))
        leaving.stop()
        await back_end.close()

    async def test_node_that_leaves_takes_no_calls_while_its_clients_go(self, make_cluster, connect):
        own = make_cluster(2, drain_s=3)
        staying, leaving = own.nodes
        client, goes_first = await connect(staying, unique()), await connect(leaving, unique())
        back_end = await BackEnd.open(own.rabbit.url, own.prefix)
        leaving.terminate()
        await goes_first.next("reconnect")
        for _ in range(10):
            # By way of the node that leaves it would be direct.
            assert only(await back_end.call(push_body({"conn": client.conn})))["route"] == "local"
        assert leaving.running
        await back_end.close()


class TestInbound:
    async def test_message_comes_with_who_sent_it(self, nodes, connect, back_end):
        kind = unique("chat")
        inbox = await back_end.bind(f"{kind}.*")
        user = {"userId": "7", "tenantId": "1", "fromType": "web"}
        known, unknown = await connect(nodes[0], unique(), user=user), await connect(nodes[1], unique())
        await known.send(f"{kind}.send", {"text": "ä"}, "m-1")
        message = await inbox.next_message()
        assert (message.routing_key, message.content_type) == (f"{kind}.send", "application/json")
        body = json.loads(message.body)
        assert body.pop("time").endswith("Z")
        sent = {"type": f"{kind}.send", "data": {"text": "ä"}, "id": "m-1"}
        assert body == {"conn": known.conn, "user": user, **sent}
        await unknown.send(f"{kind}.send")
        body = await inbox.next()
        assert (body["conn"], body["user"], body["data"], body["id"]) == (unknown.conn, None, None, None)
        assert await known.is_alive()

    async def test_order_of_each_client_is_kept(self, cluster, connect, back_end, make_cluster):
        own = make_cluster(3, messages_per_s=0)
        back_end = await BackEnd.open(own.rabbit.url, own.prefix)
        inbox = await back_end.bind("#")
        clients = [await connect(node, unique()) for node in own.nodes]
        for n in range(200):
            for client in clients:
                await client.send(f"t.{n % 3}", n)
        got: dict[str, list[int]] = {client.conn: [] for client in clients}
        for _ in range(600):
            body = await inbox.next()
            got[body["conn"]].append(body["data"])
        assert list(got.values()) == [list(range(200))] * 3
        assert all([await client.is_alive() for client in clients])
        await back_end.close()

    async def test_with_nobody_bound_the_client_is_told(self, nodes, connect, back_end):
        client = await connect(nodes[0], unique())
        await back_end.bind("other")
        await client.send(unique("nobody"), 1, "m-1")
        error = await client.next("error")
        assert (error["data"]["code"], error["id"]) == ("unhandled_type", "m-1")

    @pytest.mark.parametrize("kind", ["connected", "join", "cancelled"])
    async def test_types_of_the_gateways_own_go_to_nobody(self, nodes, connect, back_end, kind):
        inbox = await back_end.bind(kind, "after")
        client = await connect(nodes[0], unique())
        await client.send(kind, {}, "m-1")
        assert (await client.next("error"))["data"]["code"]
        await client.send("after", 1)
        assert (await inbox.next())["type"] == "after"

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            (json.dumps({"type": "€" * 86, "id": "m-1"}), "invalid_message"),
            ('{"type":"t","data":1e999,"id":"m-1"}', "invalid_json"),
        ],
    )
    async def test_what_cannot_be_handed_out_is_told(self, nodes, connect, back_end, text, code):
        await back_end.bind("#")
        client = await connect(nodes[0], unique())
        await client.socket.send(text)
        error = await client.next("error")
        assert (error["data"]["code"], error["id"]) == (code, "m-1")
        assert await client.is_alive()

    async def test_with_the_broker_away_the_client_is_told(self, redis, own_rabbit, connect):
        own = describe_nodes(redis, own_rabbit, unique("own"), ["own1"])
        try:
            start_all(own.nodes)
            client = await connect(own.nodes[0], unique())
            own_rabbit.kill()

            async def refused() -> bool:
                await client.send("t", 1, "m-1")
                error = await client.next("error")
                assert error["id"] == "m-1"
                return error["data"]["code"] == "unavailable"

            await eventually(refused, "the loss to be noticed")
            assert await client.is_alive()
        finally:
            stop_all(own.nodes)


@pytest.fixture
def python_back_end() -> list[str]:
    return [sys.executable, str(EXAMPLES / "back_end.py")]


@pytest.fixture(scope="session")
def node_back_end(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("node")
    install(folder, AMQPLIB)
    return [require("node"), str(shutil.copy(EXAMPLES / "back_end.mjs", folder))]


class TestExamplesOfReadme:
    @pytest.mark.parametrize("language", ["python", "node"])
    async def test_back_end_hears_a_client_and_pushes_to_it(self, request, make_cluster, connect, language):
        command = request.getfixturevalue(f"{language}_back_end")
        own = make_cluster(3)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=own.env, stdout=pipe)
        try:
            user = {"userId": "7", "fromType": "web"}
            client = await connect(own.nodes[0], unique(), user=user)
            message = await eventually(lambda: answered(client), "the back end to listen")
            assert message["data"] == {"user": user, "type": "chat.send", "data": {"text": "hi"}}
            receipts = [json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT_S))]
            while only(receipts[-1])["conn"] != client.conn:
                # Its queue lasts, and may hold what a killed back end had not acked.
                receipts.append(json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT_S)))
            assert receipts[-1]["outcome"] == "delivered"
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()

    async def test_handler_gets_what_its_model_says(self):
        program = [sys.executable, str(EXAMPLES / "handlers.py")]
        with GatewayNode("dev", name="handlers", program=program) as node:
            client = await Client.open(node, unique())
            await client.send("chat.send", {"room": "a", "text": "hi"})
            assert (await client.next("chat.sent"))["data"] == {"room": "a", "length": 2}
            await client.send("chat.send", {"room": "a"}, "m-1")
            error = await client.next("error")
            assert (error["data"]["code"], error["data"]["field"]) == ("invalid_data", "data.text")
            await client.close()


async def answered(client: Client) -> dict | None:
    """Say something; return the back end's answer, or None while nobody is bound."""
    await client.send("chat.send", {"text": "hi"})
    message = await client.next()
    return None if message["type"] == "error" else message
