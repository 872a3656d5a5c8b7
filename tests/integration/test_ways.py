"""Whatever a push asks for gets the same receipt by every way over three nodes, and its copies get it too."""

import asyncio

import pytest

from tests.integration.back_end import BackEnd
from tests.integration.peers import (
    Client,
    call,
    describe_nodes,
    eventually,
    only,
    start_all,
    stop_all,
    unique,
)
from tests.integration.ways import NAMES, chat_node, open_ways

LONG_MS = 30_000


@pytest.fixture(scope="module")
def three(redis, rabbit):
    """Two nodes, and a third one in an application with handlers."""
    cluster = describe_nodes(redis, rabbit, unique("ways"), ["way1", "way2"], {"SANIC_WS_LEASE_S": "300"})
    cluster.nodes.append(chat_node(cluster))
    try:
        start_all(cluster.nodes)
        yield cluster
    finally:
        stop_all(cluster.nodes)


@pytest.fixture(scope="module")
async def ways(three):
    async with open_ways(three, three.nodes[2]) as ways:
        yield ways


@pytest.fixture(params=NAMES)
def way(request, ways):
    return ways[request.param]


class Devices:
    """Two devices of one user and a client of nobody, on three nodes, all in one group."""

    def __init__(self, clients, user, group):
        self.web, self.app, self.alone = self.all = clients
        self.user, self.group = user, group


@pytest.fixture
async def devices(three, connect):
    user, group = {"userId": unique("u"), "tenantId": 7}, unique("g")
    kinds = [user | {"fromType": "web"}, user | {"fromType": "app"}, None]
    clients = [
        await connect(node, unique(), user=kind) for node, kind in zip(three.nodes, kinds, strict=True)
    ]
    for client in clients:
        await client.send("join", {"group": group})
        await client.next("joined")
    return Devices(clients, user, group)


async def say(client, kind, data=None):
    message = await client.next("hello")
    await client.send(kind, {"id": message["id"]} | ({} if data is None else {"data": data}))


CASES = {
    "what may give way": (
        lambda d: {
            "to": {"conns": [d.web.conn, d.alone.conn]},
            "overflow": "coalesce",
            "coalesce_key": "price",
            "ttl_s": 3.5,
        },
        {"web": "delivered", "alone": "delivered"},
    ),
    "connection": (lambda d: {"to": {"conn": d.web.conn}}, {"web": "delivered"}),
    "connections": (
        lambda d: {"to": {"conns": [d.web.conn, d.app.conn, d.alone.conn]}},
        {"web": "delivered", "app": "delivered", "alone": "delivered"},
    ),
    "user": (lambda d: {"to": {"user": d.user}}, {"web": "delivered", "app": "delivered"}),
    "users": (
        lambda d: {"to": {"users": [d.user, d.user | {"fromType": "app"}]}},
        {"web": "delivered", "app": "delivered"},
    ),
    "devices of a kind": (
        lambda d: {"to": {"user": d.user | {"fromType": "app"}}},
        {"app": "delivered"},
    ),
    "group": (lambda d: {"to": {"group": d.group}}, 3),
    "group except": (
        lambda d: {"to": {"group": d.group}, "except": [d.alone.conn, {"user": d.user}]},
        0,
    ),
    "group except a kind": (
        lambda d: {"to": {"group": d.group}, "except": [{"user": d.user | {"fromType": "web"}}]},
        2,
    ),
    "connections except a user": (
        lambda d: {
            "to": {"conns": [client.conn for client in d.all]},
            "except": [{"user": d.user | {"fromType": "web"}}],
        },
        {"app": "delivered", "alone": "delivered"},
    ),
    "connection except its user": (
        lambda d: {"to": {"conn": d.web.conn}, "except": [{"user": d.user}]},
        {},
    ),
    "user except a connection": (
        lambda d: {"to": {"user": d.user}, "except": [d.web.conn]},
        {"app": "delivered"},
    ),
    "ack": (lambda d: {"to": {"user": d.user}, "wait": "ack"}, {"web": "acked", "app": "acked"}),
    "reply": (lambda d: {"to": {"user": d.user}, "wait": "reply"}, {"web": "acked", "app": "acked"}),
    "first": (
        lambda d: {"to": {"user": d.user}, "wait": "reply", "wait_for": "first"},
        {"web": "acked", "app": "delivered"},
    ),
    "nobody": (lambda _: {"to": {"conn": "nobody-at-all"}}, {"nobody-at-all": "offline"}),
}


@pytest.mark.parametrize("case", CASES)
async def test_receipt_is_the_same_by_every_way(way, devices, case):
    describe, expected = CASES[case]
    body = {"type": "hello", "data": {"n": 1}, "timeout_ms": LONG_MS, **describe(devices)}
    pushing = asyncio.create_task(way([body]))
    if wait := body.get("wait"):
        asked = [devices.web] if "wait_for" in body else [devices.web, devices.app]
        for number, client in enumerate(asked):
            await say(client, wait, number if wait == "reply" else None)
    (receipt,) = await pushing
    if isinstance(expected, int):
        assert receipt["counts"] == ({"delivered": expected} if expected else {})
        assert "deliveries" not in receipt
        return
    conns = {"web": devices.web, "app": devices.app, "alone": devices.alone}
    got = {delivery["conn"]: delivery["outcome"] for delivery in receipt["deliveries"]}
    assert got == {conns[name].conn if name in conns else name: said for name, said in expected.items()}
    replies = [d["reply"] for d in receipt["deliveries"] if "reply" in d]
    assert sorted(replies) == ([] if wait != "reply" else [0] if "wait_for" in body else [0, 1])
    if "wait_for" in body:
        await devices.app.next("hello")
        assert (await devices.app.next("cancelled"))["data"] == {"id": receipt["id"]}


@pytest.mark.parametrize(
    ("content", "frame"),
    [({"raw": "not JSON ä"}, "not JSON ä"), ({"raw": ""}, ""), ({"raw_base64": "8AE="}, b"\xf0\x01")],
)
async def test_raw_content_is_sent_as_it_is_by_every_way(way, devices, content, frame):
    (receipt,) = await way([{"to": {"user": devices.user}, **content}])
    assert receipt["counts"] == {"delivered": 2}
    assert [await client.next_frame() for client in (devices.web, devices.app)] == [frame] * 2


async def test_several_pushes_get_receipts_in_their_order(way, devices):
    targets = [{"conn": devices.app.conn}, {"conn": "nobody-at-all"}, {"group": devices.group}]
    receipts = await way([{"to": to, "type": "hello", "id": unique("id")} for to in targets])
    assert [receipt["outcome"] for receipt in receipts] == ["delivered", "offline", "delivered"]
    assert receipts[2]["counts"] == {"delivered": 3}


async def test_what_back_ends_and_clients_do_is_counted(make_cluster, connect):
    (node,) = (own := make_cluster(1)).nodes
    back_end = await BackEnd.open(own.rabbit.url, own.prefix)
    client = await connect(node, unique())
    await back_end.bind("heard")
    for body in ({"to": {"conn": client.conn}, "type": "hello"}, b"junk"):
        await back_end.call(body)
    await back_end.send(b"junk")
    await client.next("hello")
    for kind in ("ack", "ack", "reply"):
        await client.send(kind, {"id": "none"})
    for kind in ("heard", "heard", "nobody", "€" * 86):
        await client.send(kind)
    assert {(await client.next("error"))["data"]["code"] for _ in range(2)} == {
        "unhandled_type",
        "invalid_message",
    }

    async def counted():
        stats = (await call(node, "GET", "/api/v1/stats")).json
        return [stats[name] for name in ("calls", "inbound", "answers")] == [
            {"taken": 3, "failed": 2, "set_aside": 1},
            {"published": 2, "refused": 2},
            {"acks": 2, "replies": 1},
        ]

    await eventually(counted, "all to be counted")
    await back_end.close()


async def moved(client, node) -> Client:
    """Have a client come back on another node, as it does after the one that it was on has gone."""
    await client.close()
    return await Client.open(node, client.conn)


async def types(client):
    return [message["type"] for message in await client.rest()]


class TestCopies:
    async def test_copy_by_any_way_gets_the_firsts_receipt_wherever_the_client_is(
        self, way, ways, three, connect
    ):
        client, push_id = await connect(three.nodes[0], unique()), unique("id")
        body = {"to": {"conn": client.conn}, "type": "hello", "id": push_id}
        (first,) = await way([body])
        assert only(first)["node"] == three.nodes[0].node_id
        assert await types(client) == ["hello"]
        again = await moved(client, three.nodes[1])
        copies = [await other([body]) for other in ways.values()]
        assert copies == [[first]] * len(NAMES)
        assert await types(again) == []
        await again.close()

    @pytest.mark.parametrize("kind", ["user", "group"])
    async def test_copy_for_several_is_not_delivered_to_one_that_has_moved(
        self, way, ways, three, devices, kind
    ):
        to = {"user": {"user": devices.user}, "group": {"group": devices.group}}[kind]
        body = {"to": to, "type": "hello", "id": unique("id")}
        (first,) = await way([body])
        assert first["outcome"] == "delivered"
        assert "hello" in await types(devices.app)
        again = await moved(devices.app, three.nodes[0])
        copies = [await other([body]) for other in ways.values()]
        assert copies == [[first]] * len(NAMES)
        assert await types(again) == []
        assert await types(devices.web) == ["hello"]
        await again.close()

    async def test_copies_by_all_ways_at_once_are_delivered_once(self, ways, three, devices):
        body = {"to": {"user": devices.user}, "type": "hello", "id": unique("id")}
        receipts = await asyncio.gather(*(way([body]) for way in ways.values() for _ in range(3)))
        assert [receipt["counts"] for (receipt,) in receipts] == [{"delivered": 2}] * 3 * len(NAMES)
        assert [await types(client) for client in devices.all] == [["hello"], ["hello"], []]

    async def test_copy_of_what_was_offline_is_delivered(self, way, three, connect):
        sign = unique()
        body = {"to": {"conn": sign}, "type": "hello", "id": unique("id")}
        assert [r["outcome"] for r in await way([body])] == ["offline"]
        client = await connect(three.nodes[1], sign)
        assert [r["outcome"] for r in await way([body])] == ["delivered"]
        assert await types(client) == ["hello"]

    async def test_copy_gets_the_reply_wherever_the_client_is(self, way, ways, three, connect):
        client = await connect(three.nodes[0], unique())
        body = {"to": {"conn": client.conn}, "type": "hello", "id": unique("id"), "wait": "reply"}
        pushing = asyncio.create_task(way([body | {"timeout_ms": LONG_MS}]))
        await say(client, "reply", {"ok": 1})
        (first,) = await pushing
        again = await moved(client, three.nodes[2])
        for other in ways.values():
            (copy,) = await other([body | {"timeout_ms": LONG_MS}])
            assert only(copy)["reply"] == {"ok": 1}
            assert copy == first
        assert await types(again) == []
        await again.close()
