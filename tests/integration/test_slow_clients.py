"""Clients that read slowly, or not at all for a while, and pushes that may wait for them: three nodes."""

import asyncio
from collections import Counter

import pytest

from sanic_ws import Conn, Group, PushRequest, SyncPublisher, User
from tests.integration.peers import (
    Client,
    call,
    connection_info,
    eventually,
    only,
    push,
    push_body,
    run_command,
    unique,
)

KEYS = ("a", "b", "c")
LONG_S = 30.0
FILL = "x" * 200_000


class Sleeper:
    """A client that can stop reading."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.conn = client.conn

    @classmethod
    async def open(cls, node, **options):
        """Connect; the client's library does not pause and resume by itself."""
        return cls(await Client.open(node, unique(), max_queue=None, compression=None, **options))

    def stop_reading(self) -> None:
        """Take nothing from the socket any more."""
        self.client.socket.transport.pause_reading()

    def read_again(self) -> None:
        """Go on."""
        self.client.socket.transport.resume_reading()

    async def until(self, kind: str) -> list[dict]:
        """Return what comes before the message of this type, less what filled the buffers."""
        messages = []
        while (message := await self.client.next())["type"] != kind:
            messages.append(message)
        return [message for message in messages if message["type"] != "fill"]


@pytest.fixture
async def sleeper(nodes):
    sleeper = await Sleeper.open(nodes[0], user={"userId": unique("u"), "fromType": "web"})
    yield sleeper
    sleeper.read_again()
    await sleeper.client.close()


async def make_slow(publisher, sleeper, to=None):
    """Have a client stop reading, and push to it until a push has to wait for it."""
    sleeper.stop_reading()
    options = {"overflow": "coalesce", "coalesce_key": "fill", "timeout_s": 0.5}

    async def waits():
        receipt = await publisher.push(to or Conn(sleeper.conn), "fill", FILL, **options)
        return "delivered" not in receipt.counts

    await eventually(waits, "a push to wait", every_s=0)


def start(coroutine):
    return asyncio.create_task(coroutine)


async def test_only_the_newest_of_each_key_waits_and_every_receipt_is_true(publisher, sleeper):
    to = Conn(sleeper.conn)
    await make_slow(publisher, sleeper)
    requests = [
        PushRequest(to, "tick", n, overflow="coalesce", coalesce_key=KEYS[n % len(KEYS)], timeout_s=LONG_S)
        for n in range(1000)
    ]
    ticking = start(publisher.push_many(requests))
    await asyncio.sleep(0)
    assert (await publisher.push(to, "behind")).outcome == "delivered"
    assert not ticking.done()
    sleeper.read_again()
    got = [message["data"] for message in await sleeper.until("behind")]
    assert got == [997, 998, 999]
    receipts = await ticking
    assert [n for n, receipt in enumerate(receipts) if receipt.outcome == "delivered"] == got
    assert Counter(receipt.outcome for receipt in receipts) == {"overloaded": 997, "delivered": 3}


@pytest.mark.parametrize("where", [0, 1], ids=["local", "direct"])
async def test_over_http_a_push_that_waits_is_answered_when_it_is_written(nodes, publisher, sleeper, where):
    await make_slow(publisher, sleeper)
    options = {"overflow": "drop_oldest", "timeout_ms": int(LONG_S * 1000)}
    waits = start(push(nodes[where], {"conn": sleeper.conn}, type="late", **options))
    await eventually(lambda: behind_it(nodes[where], sleeper), "a push behind it")
    assert not waits.done()
    sleeper.read_again()
    receipt = await waits
    assert (receipt["outcome"], only(receipt)["route"]) == ("delivered", ("local", "direct")[where])


async def behind_it(node, sleeper):
    return (await push(node, {"conn": sleeper.conn}, type="behind"))["outcome"] == "delivered"


async def test_push_that_waits_longer_than_its_sender_is_unknown_and_comes(publisher, sleeper):
    await make_slow(publisher, sleeper)
    to = Conn(sleeper.conn)
    receipt = await publisher.push(to, "late", overflow="drop_oldest", timeout_s=0.2)
    await publisher.push(to, "behind")
    sleeper.read_again()
    assert receipt.outcome == "unknown"
    assert [message["type"] for message in await sleeper.until("behind")] == ["late"]


async def test_push_that_waits_longer_than_its_ttl_is_not_sent(publisher, sleeper):
    await make_slow(publisher, sleeper)
    to = Conn(sleeper.conn)
    # It is answered long before its sender stops waiting.
    late = await publisher.push(to, "late", overflow="drop_oldest", ttl_s=0.1, timeout_s=LONG_S)
    assert late.outcome == "overloaded"
    await publisher.push(to, "behind")
    sleeper.read_again()
    assert await sleeper.until("behind") == []


async def test_close_does_not_wait_and_what_waits_is_not_sent(nodes, publisher, sleeper):
    await make_slow(publisher, sleeper)
    to = Conn(sleeper.conn)
    waits = start(publisher.push(to, "late", overflow="drop_oldest", timeout_s=LONG_S))
    await asyncio.sleep(0)
    assert (await publisher.push(to, "behind")).outcome == "delivered"
    assert (await call(nodes[1], "DELETE", f"/api/v1/connections/{sleeper.conn}")).status == 200
    assert (await waits).outcome == "overloaded"
    sleeper.read_again()
    assert await sleeper.until("behind") == []
    assert (await sleeper.client.closed())[0] == 4403


async def test_connection_that_is_gone_has_not_got_what_waited(nodes, publisher, sleeper):
    await make_slow(publisher, sleeper)
    waits = start(publisher.push(Conn(sleeper.conn), "late", overflow="drop_oldest", timeout_s=LONG_S))
    await asyncio.sleep(0)
    await publisher.push(Conn(sleeper.conn), "behind")
    sleeper.client.socket.transport.abort()
    assert (await waits).outcome == "overloaded"

    async def gone():
        return await connection_info(nodes[1], sleeper.conn) is None

    await eventually(gone, "the connection to be gone")


async def test_push_that_waits_can_be_confirmed_once_it_is_there(nodes, publisher, sleeper):
    info = await connection_info(nodes[0], sleeper.conn)
    await make_slow(publisher, sleeper)
    asked = start(
        publisher.push(
            User(info["user"]["userId"]), "late", overflow="drop_oldest", wait="ack", timeout_s=LONG_S
        )
    )
    await asyncio.sleep(0)
    await publisher.push(Conn(sleeper.conn), "behind")
    sleeper.read_again()
    (message,) = await sleeper.until("behind")
    assert not asked.done()
    await sleeper.client.send("ack", {"id": message["id"]})
    assert (await asked).outcome == "acked"


async def test_copy_of_a_push_that_waits_is_delivered_once(publisher, sleeper):
    await make_slow(publisher, sleeper)
    to, push_id = Conn(sleeper.conn), unique("id")
    copies = [
        start(publisher.push(to, "late", id=push_id, overflow="drop_oldest", timeout_s=LONG_S))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    await publisher.push(to, "behind")
    sleeper.read_again()
    assert [message["type"] for message in await sleeper.until("behind")] == ["late"]
    assert [(await copy).outcome for copy in copies] == ["delivered"] * 3


async def test_copy_of_a_push_that_was_replaced_is_sent(publisher, sleeper):
    await make_slow(publisher, sleeper)
    to, push_id = Conn(sleeper.conn), unique("id")
    options = {"overflow": "coalesce", "coalesce_key": "k", "timeout_s": LONG_S}
    first = start(publisher.push(to, "first", id=push_id, **options))
    await asyncio.sleep(0)
    second = start(publisher.push(to, "second", **options))
    assert (await first).outcome == "overloaded"
    copy = start(publisher.push(to, "first", id=push_id, **options))
    assert (await second).outcome == "overloaded"
    await publisher.push(to, "behind")
    sleeper.read_again()
    assert [message["type"] for message in await sleeper.until("behind")] == ["first"]
    assert (await copy).outcome == "delivered"


async def test_of_a_group_who_is_waited_for_is_unknown(nodes, publisher, sleeper, connect):
    group = unique("g")
    quick = await connect(nodes[1], unique())
    for conn in (quick.conn, sleeper.conn):
        assert (await call(nodes[2], "PUT", f"/api/v1/groups/{group}/connections/{conn}")).status == 200
    await make_slow(publisher, sleeper)
    receipt = await publisher.push(Group(group), "news", overflow="coalesce", coalesce_key="k")
    assert receipt.counts == {"delivered": 1, "unknown": 1}
    await quick.next("news")
    await publisher.push(Conn(sleeper.conn), "behind")
    sleeper.read_again()
    assert [message["type"] for message in await sleeper.until("behind")] == ["news"]


async def test_client_that_reads_gets_everything(nodes, publisher, connect):
    client = await connect(nodes[0], unique())
    receipts = [
        await publisher.push(Conn(client.conn), "tick", n, overflow="coalesce", coalesce_key="k", ttl_s=5)
        for n in range(50)
    ]
    assert {receipt.outcome for receipt in receipts} == {"delivered"}
    assert [(await client.next("tick"))["data"] for _ in range(50)] == list(range(50))


async def test_from_the_command_line(nodes, connect):
    client = await connect(nodes[0], unique())
    arguments = ["push", "--url", nodes[1].url, "--conn", client.conn, "--overflow", "coalesce"]
    pushed = await run_command(*arguments, "--coalesce-key", "k", "--ttl", "5")
    assert pushed.code == 0
    await client.next("message")
    refused = await run_command(*arguments)
    assert (refused.code, "coalesce_key" in refused.err) == (2, True)


async def test_from_code_without_an_event_loop(cluster, connect):
    client = await connect(cluster.nodes[0], unique())

    def push_it():
        with SyncPublisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as publisher:
            options = {"overflow": "coalesce", "coalesce_key": "k", "ttl_s": 5}
            return publisher.push(Conn(client.conn), "tick", 1, **options)

    assert (await asyncio.to_thread(push_it)).outcome == "delivered"
    await client.next("tick")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"overflow": "drop_newest"}, "overflow"),
        ({"overflow": None}, "overflow"),
        ({"overflow": "coalesce"}, "coalesce_key"),
        ({"overflow": "coalesce", "coalesce_key": ""}, "coalesce_key"),
        ({"overflow": "coalesce", "coalesce_key": "k" * 129}, "coalesce_key"),
        ({"overflow": "coalesce", "coalesce_key": 7}, "coalesce_key"),
        ({"coalesce_key": "k"}, "coalesce_key"),
        ({"overflow": "drop_oldest", "coalesce_key": "k"}, "coalesce_key"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": -1}, "ttl_s"),
        ({"ttl_s": True}, "ttl_s"),
        ({"ttl_s": "5"}, "ttl_s"),
        ({"ttl_s": 2592001}, "ttl_s"),
    ],
    ids=repr,
)
async def test_what_is_wrong_is_named(nodes, fields, field):
    answer = await call(nodes[0], "POST", "/api/v1/push", push_body({"conn": "nobody"}, **fields))
    assert (answer.status, answer.error["field"]) == (400, field)
