"""What every broker promises back ends: one suite for the one in memory and the one in RabbitMQ."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError

from sanic_ws.broker import Broker, Call
from sanic_ws.broker import calls as calls_module
from sanic_ws.broker.memory import MemoryBroker
from sanic_ws.broker.rabbitmq import RabbitBroker
from sanic_ws.errors import BrokerUnavailable, QueueFull, Unroutable
from tests.integration import back_end as independent
from tests.integration.peers import WAIT_S, eventually, unique
from tests.rabbit_servers import add_limited_user
from tests.servers import RabbitServer

JUNK = b"junk"
TTL_MS = 60_000


class BackEnd(independent.BackEnd):
    """A back end that hears what the tests say in the place of nodes."""

    checks = False


class Taker:
    """A node's broker with the calls that came to it; it answers each with its own name and the body."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker = broker
        self.name = name
        self.calls: list[Call] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None:
        await self.broker.open(lambda _: True, lambda *_: True, self.name)
        assert await self.broker.wait_connected(WAIT_S)
        self.broker.back_ends.serve(self.answer)
        await eventually(self._serves, "calls to be taken")

    async def answer(self, call: Call) -> bytes | None:
        self.calls.append(call)
        await self.gate.wait()
        return None if call.body == JUNK else json.dumps([self.name, call.body.decode()]).encode()

    def _serves(self) -> bool:
        back_ends = self.broker.back_ends
        return not isinstance(self.broker, RabbitBroker) or back_ends._consumer is not None


class MemoryBackEnd:
    """A back end in this process."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._back_ends = broker.back_ends

    async def call(self, body: bytes, **properties: Any) -> Any:
        answer = await self._back_ends.call(Call(body, **properties))
        return None if answer is None else json.loads(answer)

    async def bind(self, *patterns: str) -> "MemoryBackEnd":
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        for pattern in patterns:
            self._back_ends.bind(pattern, lambda _, body: self._inbox.put_nowait(body))
        return self

    async def watch(self, *kinds: str) -> "MemoryBackEnd":
        self._inbox = asyncio.Queue()
        for kind in kinds:
            self._back_ends.watch(kind, lambda _, body: self._inbox.put_nowait(body))
        return self

    async def next(self) -> Any:
        return json.loads(await asyncio.wait_for(self._inbox.get(), WAIT_S))


@pytest.fixture
def prefix() -> str:
    return unique()


@pytest.fixture(params=["memory", "rabbitmq"])
def make_broker(request: pytest.FixtureRequest, prefix: str) -> Callable[[], Broker]:
    if request.param == "memory":
        return lambda: MemoryBroker("memory://", prefix)
    url = request.getfixturevalue("rabbit").url
    return lambda: RabbitBroker(url, prefix)


Join = Callable[..., Awaitable[Taker]]


async def joining(make_broker: Callable[[], Broker]) -> AsyncIterator[Join]:
    takers: list[Taker] = []

    async def join(name: str = "node-a") -> Taker:
        takers.append(Taker(make_broker(), name))
        await takers[-1].open()
        return takers[-1]

    yield join
    for taker in takers:
        taker.gate.set()
    await asyncio.gather(*(taker.broker.close() for taker in takers))


@pytest.fixture
async def join(make_broker: Callable[[], Broker]) -> AsyncIterator[Join]:
    """Open nodes; close them at the end."""
    async for opened in joining(make_broker):
        yield opened


@pytest.fixture
async def back_end(
    request: pytest.FixtureRequest, make_broker: Callable[[], Broker], prefix: str
) -> AsyncIterator[Any]:
    broker = make_broker()
    if isinstance(broker, MemoryBroker):
        yield MemoryBackEnd(broker)
        return
    opened = await BackEnd.open(request.getfixturevalue("rabbit").url, prefix)
    yield opened
    await opened.close()


class TestCalls:
    async def test_is_answered(self, join, back_end):
        node = await join()
        assert await back_end.call(b"hello") == ["node-a", "hello"]
        assert node.calls == [Call(b"hello")]

    async def test_many_are_answered_by_one_node_each(self, join, back_end):
        nodes = [await join(name) for name in ("node-a", "node-b")]
        answers = await asyncio.gather(*(back_end.call(b"%d" % n) for n in range(200)))
        assert [body for _, body in answers] == [str(n) for n in range(200)]
        assert {name for name, _ in answers} == {"node-a", "node-b"}
        assert sum(len(node.calls) for node in nodes) == 200

    async def test_that_nobody_can_read_is_set_aside_and_harms_nobody(self, request, join, back_end, prefix):
        node = await join()
        if isinstance(back_end, BackEnd):
            await back_end.send(JUNK)
            async with await aio_pika.connect(request.getfixturevalue("rabbit").url) as connection:
                dead = await (await connection.channel()).get_queue(f"{prefix}.dead")
                message = await eventually(lambda: dead.get(no_ack=True, fail=False), "it to be set aside")
                assert message.body == JUNK
        else:
            assert await back_end.call(JUNK) is None
            assert list(node.broker._bus.dead) == [JUNK]
        assert await back_end.call(b"after") == ["node-a", "after"]

    async def test_node_that_leaves_takes_no_more_and_answers_what_it_took(self, join, back_end):
        leaving = await join("leaving")
        leaving.gate.clear()
        under_way = asyncio.create_task(back_end.call(b"before"))
        await eventually(lambda: leaving.calls, "the call to be taken")
        staying = await join("staying")
        await leaving.broker.back_ends.leave()
        for n in range(20):
            assert (await back_end.call(b"%d" % n))[0] == "staying"
        leaving.gate.set()
        assert await under_way == ["leaving", "before"]
        assert len(leaving.calls) == 1
        assert not any(call.redelivered for call in staying.calls)

    async def test_closing_answers_what_is_under_way(self, join, back_end):
        node = await join()
        node.gate.clear()
        under_way = asyncio.create_task(back_end.call(b"before"))
        await eventually(lambda: node.calls, "the call to be taken")
        closing = asyncio.create_task(node.broker.close())
        await eventually(lambda: node.broker.back_ends._on_call is None, "it to take no more")
        node.gate.set()
        assert await under_way == ["node-a", "before"]
        await closing

    async def test_leaving_twice_or_unopened_is_no_error(self, join, make_broker):
        node = await join()
        await node.broker.back_ends.leave()
        await node.broker.back_ends.leave()
        await make_broker().back_ends.leave()


class TestEvents:
    async def test_reach_who_is_bound_to_their_kind_in_their_order(self, join, back_end):
        node = await join()
        inbox = await back_end.watch("user_online", "user_offline")
        for number, kind in enumerate(["user_online", "other", "user_offline"] * 100):
            await node.broker.back_ends.publish_event(kind, b"%d" % number)
        got = [await inbox.next() for _ in range(200)]
        assert got == [number for number in range(300) if number % 3 != 1]

    async def test_nobody_has_to_be_bound(self, join):
        node = await join()
        await node.broker.back_ends.publish_event("user_online", b"1")
        assert node.broker.connected

    async def test_before_it_is_connected_it_is_unavailable(self, make_broker):
        with pytest.raises(BrokerUnavailable):
            await make_broker().back_ends.publish_event("user_online", b"1")


class TestInbound:
    async def test_reaches_who_is_bound_to_its_type(self, join, back_end):
        node = await join()
        inbox = await back_end.bind("chat.*", "order.#")
        for kind in ("chat.send", "order", "order.new.now", "chat.send"):
            await node.broker.back_ends.publish_inbound(kind, json.dumps(kind).encode())
        assert [await inbox.next() for _ in range(4)] == ["chat.send", "order", "order.new.now", "chat.send"]

    @pytest.mark.parametrize("kind", ["chat", "chat.send.now", "news", "*", "#", "täglich", "chat.*.x", "\0"])
    async def test_with_nobody_bound_is_unroutable_and_harms_nobody(self, join, back_end, kind):
        node = await join()
        inbox = await back_end.bind("chat.*")
        with pytest.raises(Unroutable):
            await node.broker.back_ends.publish_inbound(kind, b"0")
        await node.broker.back_ends.publish_inbound("chat.send", b"1")
        assert await inbox.next() == 1

    async def test_type_is_taken_as_it_is(self, join, back_end):
        node = await join()
        longest = "€" * 85
        inbox = await back_end.bind(longest, "a.#.z")
        for kind in (longest, "a.z", "a.*.z", "a.#.z", "a.b.c.z"):
            await node.broker.back_ends.publish_inbound(kind, json.dumps(kind).encode())
        assert [await inbox.next() for _ in range(5)] == [longest, "a.z", "a.*.z", "a.#.z", "a.b.c.z"]

    async def test_order_is_kept(self, join, back_end):
        node = await join()
        inbox = await back_end.bind("#")
        publish = node.broker.back_ends.publish_inbound
        await asyncio.gather(*(publish(f"t{n % 3}", b"%d" % n) for n in range(1000)))
        assert [await inbox.next() for _ in range(1000)] == list(range(1000))

    async def test_before_opening_and_after_closing_is_unavailable(self, join, make_broker):
        node = await join()
        await node.broker.close()
        for broker in (node.broker, make_broker()):
            with pytest.raises(BrokerUnavailable):
                await broker.back_ends.publish_inbound("chat.send", b"0")


@pytest.fixture
async def rabbit_join(rabbit: RabbitServer, prefix: str) -> AsyncIterator[Join]:
    async for opened in joining(lambda: RabbitBroker(rabbit.url, prefix)):
        yield opened


@pytest.fixture
async def rabbit_back_end(rabbit: RabbitServer, prefix: str) -> AsyncIterator[BackEnd]:
    opened = await BackEnd.open(rabbit.url, prefix)
    yield opened
    await opened.close()


class TestRabbitMQAlone:
    async def test_answer_names_its_call_and_is_json(self, rabbit_join, rabbit_back_end):
        await rabbit_join()
        answer = await rabbit_back_end.call_message(b"hello")
        assert answer.content_type == "application/json"
        assert answer.reply_to is None

    async def test_call_without_correlation_id_is_answered_without(self, rabbit_join, rabbit_back_end):
        await rabbit_join()
        await rabbit_back_end.send(b"hello", reply_to=rabbit_back_end.reply_to)
        answer = await asyncio.wait_for(rabbit_back_end.answers.get(), WAIT_S)
        assert (answer.correlation_id, json.loads(answer.body)) == (None, ["node-a", "hello"])

    async def test_direct_reply_to_is_answered(self, rabbit, rabbit_join, prefix):
        await rabbit_join()
        async with await aio_pika.connect(rabbit.url) as connection:
            channel = await connection.channel()
            answers: asyncio.Queue[Any] = asyncio.Queue()
            pseudo = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
            await pseudo.consume(answers.put, no_ack=True)
            call = aio_pika.Message(b"hello", reply_to="amq.rabbitmq.reply-to", correlation_id="1")
            await channel.default_exchange.publish(call, f"{prefix}.rpc")
            answer = await asyncio.wait_for(answers.get(), WAIT_S)
            assert (answer.correlation_id, json.loads(answer.body)) == ("1", ["node-a", "hello"])

    async def test_call_whose_caller_is_gone_harms_nobody(self, rabbit_join, rabbit_back_end):
        node = await rabbit_join()
        for reply_to in ("gone", f"{rabbit_back_end.prefix}.gone"):
            await rabbit_back_end.send(b"hello", reply_to=reply_to)
        await eventually(lambda: len(node.calls) == 2, "both to be taken")
        assert await rabbit_back_end.call(b"after") == ["node-a", "after"]

    async def test_expiration_is_told_in_seconds(self, rabbit_join, rabbit_back_end):
        node = await rabbit_join()
        await rabbit_back_end.call(b"1", expiration=1.5)
        await rabbit_back_end.call(b"2", expiration=0)
        assert [call.expires_s for call in node.calls] == [1.5, None]

    async def test_that_a_lost_node_had_goes_to_another_and_says_so(
        self, rabbit, rabbit_join, rabbit_back_end
    ):
        lost = await rabbit_join("lost")
        lost.gate.clear()
        under_way = asyncio.create_task(rabbit_back_end.call(b"x"))
        await eventually(lambda: lost.calls, "the call to be taken")
        other = await rabbit_join("other")
        await lost.broker._link.connections[1].close()
        assert await under_way == ["other", "x"]
        assert [call.redelivered for call in (*lost.calls, *other.calls)] == [False, True]

    async def test_node_takes_only_so_many_at_a_time(self, rabbit_join, rabbit_back_end, monkeypatch):
        monkeypatch.setattr(calls_module, "PREFETCH", 3)
        full = await rabbit_join("full")
        full.gate.clear()
        calls = [asyncio.create_task(rabbit_back_end.call(b"%d" % n)) for n in range(5)]
        await eventually(lambda: len(full.calls) == 3, "three to be taken")
        await rabbit_join("other")
        await eventually(lambda: sum(call.done() for call in calls) == 2, "the rest to go elsewhere")
        full.gate.set()
        answers = await asyncio.gather(*calls)
        assert sorted(name for name, _ in answers) == ["full"] * 3 + ["other"] * 2
        assert len(full.calls) == 3

    async def test_call_that_was_answered_or_set_aside_is_done_with(
        self, rabbit_join, rabbit_back_end, monkeypatch
    ):
        monkeypatch.setattr(calls_module, "PREFETCH", 1)
        node = await rabbit_join()
        for n in range(5):
            await rabbit_back_end.send(JUNK)
            assert await rabbit_back_end.call(b"%d" % n) == ["node-a", str(n)]
        await node.broker.close()
        queue = await rabbit_back_end.channel.get_queue(f"{rabbit_back_end.prefix}.rpc")
        assert await queue.get(fail=False) is None

    async def test_queue_that_is_full_refuses(self, rabbit_join, rabbit_back_end, monkeypatch):
        monkeypatch.setattr(calls_module, "QUEUE_MESSAGES", 3)
        node = await rabbit_join()
        await node.broker.back_ends.leave()
        sends = (rabbit_back_end.send(b"x") for _ in range(10))
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(result) for result in results].count(DeliveryError) == 7

    async def test_queue_of_a_back_end_that_is_full_is_said_so(self, rabbit_join, rabbit_back_end):
        node = await rabbit_join()
        await rabbit_back_end.bind("#", **{"x-max-length": 1, "x-overflow": "reject-publish"})
        publishes = (node.broker.back_ends.publish_inbound("t", b"x") for _ in range(10))
        results = await asyncio.gather(*publishes, return_exceptions=True)
        assert [type(result) for result in results].count(QueueFull) == 9

    async def test_calls_are_taken_again_after_the_queue_was_deleted(self, rabbit_join, rabbit_back_end):
        node = await rabbit_join()
        before = node.broker.back_ends._consumer
        await rabbit_back_end.channel.queue_delete(f"{rabbit_back_end.prefix}.rpc")
        await eventually(lambda: node.broker.back_ends._consumer is not before, "a new consumer")
        assert await rabbit_back_end.call(b"hello") == ["node-a", "hello"]
        assert node.broker.connected

    async def test_queue_of_another_kind_takes_nothing_else_down(
        self, rabbit, rabbit_back_end, prefix, caplog
    ):
        caplog.set_level(logging.WARNING, logger="sanic_ws.broker")
        await rabbit_back_end.channel.declare_queue(f"{prefix}.rpc", durable=True)
        broker = RabbitBroker(rabbit.url, prefix)
        await broker.open(lambda _: True, lambda *_: True, "node-a")
        broker.back_ends.serve(Taker(broker, "node-a").answer)
        try:
            await eventually(lambda: "calls of back ends are not taken for now" in caplog.text, "a warning")
            assert "PRECONDITION_FAILED" in caplog.text
            await broker.send("node-a", b"x", TTL_MS)
        finally:
            await broker.close()

    async def test_both_work_again_after_all_connections_were_closed(self, own_rabbit, prefix):
        async for join in joining(lambda: RabbitBroker(own_rabbit.url, prefix)):
            node = await join()
            before = node.broker._link
            await asyncio.to_thread(own_rabbit.ctl, "close_all_connections", "test")
            await eventually(partial(is_connected_anew, node, before), "it to be connected again")
            back_end = await BackEnd.open(own_rabbit.url, prefix)
            assert await back_end.call(b"hello") == ["node-a", "hello"]
            inbox = await back_end.bind("t")
            await node.broker.back_ends.publish_inbound("t", b"1")
            assert await inbox.next() == 1
            await back_end.close()


def is_connected_anew(node: Taker, before: Any) -> bool:
    return node.broker._link not in (None, before)


class TestLimitedUser:
    """A user who may touch nothing but the prefix may not write to the broker's own exchange."""

    @pytest.fixture
    async def limited_url(self, rabbit: RabbitServer, prefix: str) -> str:
        return await asyncio.to_thread(add_limited_user, rabbit, prefix)

    @pytest.fixture
    async def limited_join(self, limited_url: str, prefix: str) -> AsyncIterator[Join]:
        async for opened in joining(lambda: RabbitBroker(limited_url, prefix)):
            yield opened

    async def test_answers_in_a_bound_queue_and_takes_calls_that_came_through_direct(
        self, limited_join, limited_url, prefix
    ):
        await limited_join()
        back_end = await BackEnd.open(limited_url, prefix, f"{prefix}.reply.{unique()}", bound=True)
        assert await back_end.call(b"hello", exchange=f"{prefix}.direct") == ["node-a", "hello"]
        await back_end.close()

    async def test_that_cannot_answer_says_why_once_and_goes_on(
        self, limited_join, limited_url, prefix, rabbit_back_end, caplog
    ):
        caplog.set_level(logging.WARNING, logger="sanic_ws.broker")
        node = await limited_join()
        link = node.broker._link
        for _ in range(3):
            await rabbit_back_end.send(b"lost", reply_to=rabbit_back_end.reply_to)
        await eventually(lambda: "amq.default" in caplog.text, "a warning")
        bound = await BackEnd.open(limited_url, prefix, f"{prefix}.reply.{unique()}", bound=True)
        assert await bound.call(b"after", exchange=f"{prefix}.direct") == ["node-a", "after"]
        await bound.close()
        assert rabbit_back_end.answers.empty()
        assert node.broker._link is link
        assert caplog.text.count("amq.default") == 1
