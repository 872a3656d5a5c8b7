"""What every broker promises: one suite for the one in memory and the one in RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aio_pika
import pytest

from sanic_ws.broker import Broker, Headers
from sanic_ws.broker.memory import MemoryBroker
from sanic_ws.broker.rabbitmq import RabbitBroker
from sanic_ws.errors import BrokerError, BrokerUnavailable, Unroutable
from tests.integration.peers import WAIT_S, eventually, unique
from tests.servers import RabbitServer, free_port

TTL_MS = 60_000
ANSWER_S = 5.0

MakeBroker = Callable[[], Broker]


JUNK = b"junk"
"""The one body that parties cannot read."""


class Party:
    """A broker with what came to it; with a node's id it has a queue."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.batches: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
        self.replies: asyncio.Queue[bytes] = asyncio.Queue()
        self.headers: list[Headers | None] = []

    async def open(self, node: str | None = None) -> None:
        take = None if node is None else self.take_batch
        await self.broker.open(self.take_reply, take, node)
        assert await self.broker.wait_connected(WAIT_S)

    def take_batch(self, body: bytes, address: str, headers: Headers | None) -> bool:
        if body == JUNK:
            return False
        self.headers.append(headers)
        self.batches.put_nowait((body, address))
        return True

    def take_reply(self, body: bytes) -> bool:
        if body == JUNK:
            return False
        self.replies.put_nowait(body)
        return True

    async def next_batch(self) -> tuple[bytes, str]:
        return await asyncio.wait_for(self.batches.get(), WAIT_S)

    async def next_reply(self) -> bytes:
        return await asyncio.wait_for(self.replies.get(), WAIT_S)


async def sent(party: Party, node: str, body: bytes) -> bool:
    """Try to send; say whether it worked."""
    try:
        await asyncio.wait_for(party.broker.send(node, body, TTL_MS), WAIT_S)
    except BrokerError:
        return False
    return True


@pytest.fixture
def prefix() -> str:
    return unique()


@pytest.fixture(params=["memory", "rabbitmq"])
def make_broker(request: pytest.FixtureRequest, prefix: str) -> MakeBroker:
    """Make brokers that talk to each other and to nobody else."""
    if request.param == "memory":
        return lambda: MemoryBroker("memory://", prefix)
    url = request.getfixturevalue("rabbit").url
    return lambda: RabbitBroker(url, prefix)


@pytest.fixture
def read_dead(request: pytest.FixtureRequest, make_broker: MakeBroker, prefix: str) -> Callable[[], Any]:
    """Return a function that waits for the next body that was set aside."""

    async def from_rabbitmq() -> bytes:
        async with await aio_pika.connect(request.getfixturevalue("rabbit").url) as connection:
            queue = await (await connection.channel()).get_queue(f"{prefix}.dead")
            message = await eventually(lambda: queue.get(no_ack=True, fail=False), "something set aside")
            return message.body

    async def from_memory() -> bytes:
        dead = make_broker()._bus.dead
        await eventually(lambda: dead, "something set aside")
        return dead.popleft()

    return from_memory if isinstance(make_broker(), MemoryBroker) else from_rabbitmq


Join = Callable[..., Any]


@pytest.fixture
async def join(make_broker: MakeBroker) -> AsyncIterator[Join]:
    """Open parties; close them at the end."""
    async for opened in joining(make_broker):
        yield opened


async def joining(make_broker: MakeBroker) -> AsyncIterator[Join]:
    parties: list[Party] = []

    async def join(node: str | None = None) -> Party:
        parties.append(Party(make_broker()))
        await parties[-1].open(node)
        return parties[-1]

    yield join
    await asyncio.gather(*(party.broker.close() for party in parties))


class TestBetweenNodes:
    async def test_batch_reaches_the_node_and_the_reply_comes_back(self, join):
        node, sender = await join("node-a"), await join()
        await sender.broker.send("node-a", b"\0batch\xff", TTL_MS)
        body, address = await node.next_batch()
        assert body == b"\0batch\xff"
        await node.broker.answer(address, b"\0reply\xff")
        assert await sender.next_reply() == b"\0reply\xff"

    async def test_headers_of_traces_go_along(self, join):
        node, sender = await join("node-a"), await join()
        headers = {"traceparents": "00-1-2-01 0,1;00-3-4-01 2"}
        await sender.broker.send("node-a", b"1", TTL_MS, headers)
        await sender.broker.broadcast(b"2", TTL_MS, headers)
        await sender.broker.send("node-a", b"3", TTL_MS)
        assert [(await node.next_batch())[0] for _ in range(3)] == [b"1", b"2", b"3"]
        assert node.headers == [headers, headers, None]

    async def test_reply_goes_to_the_sender_alone(self, join):
        node, one, other = await join("node-a"), await join(), await join()
        await one.broker.send("node-a", b"one", TTL_MS)
        await other.broker.send("node-a", b"other", TTL_MS)
        for _ in range(2):
            body, address = await node.next_batch()
            await node.broker.answer(address, body)
        assert await one.next_reply() == b"one"
        assert await other.next_reply() == b"other"
        assert one.replies.empty()
        assert other.replies.empty()

    async def test_batch_reaches_no_other_node(self, join):
        a, b, sender = await join("node-a"), await join("node-b"), await join()
        await sender.broker.send("node-a", b"for a", TTL_MS)
        await sender.broker.send("node-b", b"for b", TTL_MS)
        assert (await a.next_batch())[0] == b"for a"
        assert (await b.next_batch())[0] == b"for b"

    async def test_node_can_send_to_itself(self, join):
        node = await join("node-a")
        await node.broker.send("node-a", b"x", TTL_MS)
        body, address = await node.next_batch()
        await node.broker.answer(address, body)
        assert await node.next_reply() == b"x"

    async def test_order_is_kept_over_a_thousand_batches(self, join):
        node, sender = await join("node-a"), await join()
        bodies = [b"%d" % n for n in range(1000)]
        await asyncio.gather(*(sender.broker.send("node-a", body, TTL_MS) for body in bodies))
        assert [(await node.next_batch())[0] for _ in bodies] == bodies

    async def test_order_is_kept_between_both_routes(self, join):
        node, sender = await join("node-a"), await join()
        bodies = [b"%d" % n for n in range(100)]
        for n, body in enumerate(bodies):
            if n % 2:
                await sender.broker.broadcast(body, TTL_MS)
            else:
                await sender.broker.send("node-a", body, TTL_MS)
        assert [(await node.next_batch())[0] for _ in bodies] == bodies

    async def test_large_batch_arrives_whole(self, join):
        node, sender = await join("node-a"), await join()
        body = bytes(range(256)) * 20_000
        await sender.broker.send("node-a", body, TTL_MS)
        assert (await node.next_batch())[0] == body

    async def test_unknown_node_is_unroutable(self, join):
        await join("node-a")
        sender = await join()
        with pytest.raises(Unroutable):
            await sender.broker.send("node-x", b"x", TTL_MS)
        assert await sent(sender, "node-a", b"x")

    async def test_node_that_has_closed_is_unroutable(self, join):
        node, sender = await join("node-a"), await join()
        await node.broker.close()

        async def gone():
            return not await sent(sender, "node-a", b"x")

        await eventually(gone, "the end of the node's queue")
        with pytest.raises(Unroutable):
            await sender.broker.send("node-a", b"x", TTL_MS)

    async def test_one_unroutable_batch_does_not_harm_those_beside_it(self, join):
        node, sender = await join("node-a"), await join()
        targets = ["node-a", "node-x"] * 50
        results = await asyncio.gather(
            *(sender.broker.send(to, to.encode(), TTL_MS) for to in targets), return_exceptions=True
        )
        assert [type(r) for r in results] == [type(None), Unroutable] * 50
        assert {(await node.next_batch())[0] for _ in range(50)} == {b"node-a"}

    async def test_answer_to_nobody_is_lost_silently(self, join):
        node = await join("node-a")
        await node.broker.answer("nobody", b"x")
        assert await sent(node, "node-a", b"still works")


class TestBroadcast:
    async def test_reaches_all_nodes_with_the_senders_address(self, join):
        nodes = [await join(name) for name in ("node-a", "node-b", "node-c")]
        sender = await join()
        await sender.broker.broadcast(b"all", TTL_MS)
        for node in nodes:
            body, address = await node.next_batch()
            assert body == b"all"
            await node.broker.answer(address, b"yes")
        assert [await sender.next_reply() for _ in nodes] == [b"yes"] * 3

    async def test_reaches_the_sender_too_if_it_is_a_node(self, join):
        node = await join("node-a")
        await node.broker.broadcast(b"all", TTL_MS)
        assert (await node.next_batch())[0] == b"all"

    async def test_with_nobody_there_is_unroutable(self, join):
        sender = await join()
        with pytest.raises(Unroutable):
            await sender.broker.broadcast(b"x", TTL_MS)


class TestImpatience:
    async def test_who_gives_up_just_when_a_batch_comes_back_breaks_nothing(self, join):
        node, sender = await join("node-a"), await join()

        for _ in range(20):
            sending = [sender.broker.send("nobody", b"x" * 1000, 1 + number % 50) for number in range(500)]
            said = await asyncio.gather(*sending, return_exceptions=True)
            assert all(isinstance(one, BrokerError) for one in said), set(map(repr, said))
            assert sender.broker.connected
        await sender.broker.send("node-a", b"after", TTL_MS)
        assert (await node.next_batch())[0] == b"after"


class TestLeaving:
    async def test_what_was_sent_before_is_handed_over_and_can_be_answered(self, join):
        node, sender = await join("node-a"), await join()
        bodies = [b"%d" % n for n in range(200)]
        await asyncio.gather(*(sender.broker.send("node-a", body, TTL_MS) for body in bodies))
        await node.broker.leave()
        taken = [node.batches.get_nowait() for _ in bodies]
        assert [body for body, _ in taken] == bodies
        await asyncio.gather(*(node.broker.answer(address, body) for body, address in taken))
        assert {await sender.next_reply() for _ in bodies} == set(bodies)

    async def test_what_is_sent_after_comes_back(self, join):
        node, other, sender = await join("node-a"), await join("node-b"), await join()
        await node.broker.leave()
        with pytest.raises(Unroutable):
            await sender.broker.send("node-a", b"x", TTL_MS)
        await sender.broker.broadcast(b"all", TTL_MS)
        assert (await other.next_batch())[0] == b"all"
        assert node.batches.empty()

    async def test_what_is_for_all_still_comes_from_who_found_the_node_there_just_before(self, join):
        node, sender = await join("node-a"), await join()
        leaving = asyncio.create_task(node.broker.leave(last_calls_s=1.0))

        async def gone() -> bool:
            return not await sent(sender, "node-a", b"one")

        await eventually(gone, "the node to be gone")
        await sender.broker.broadcast(b"all", TTL_MS)
        await leaving
        bodies = [node.batches.get_nowait()[0] for _ in range(node.batches.qsize())]
        assert bodies[-1] == b"all"
        with pytest.raises(Unroutable):
            await sender.broker.broadcast(b"late", TTL_MS)

    async def test_leaving_twice_or_without_a_queue_is_no_error(self, join, make_broker):
        node, sender = await join("node-a"), await join()
        await node.broker.leave()
        await node.broker.leave()
        await sender.broker.leave()
        await make_broker().leave()


class TestJunk:
    async def test_is_set_aside_and_harms_nobody(self, join, read_dead):
        node, sender = await join("node-a"), await join()
        for body in (b"before", JUNK, b"after"):
            await sender.broker.send("node-a", body, TTL_MS)
        assert [(await node.next_batch())[0] for _ in range(2)] == [b"before", b"after"]
        assert await read_dead() == JUNK

    async def test_among_the_replies_too(self, join, read_dead):
        node, sender = await join("node-a"), await join()
        await sender.broker.send("node-a", b"x", TTL_MS)
        _, address = await node.next_batch()
        for body in (JUNK, b"after"):
            await node.broker.answer(address, body)
        assert await sender.next_reply() == b"after"
        assert await read_dead() == JUNK

    async def test_empty_bodies_are_the_brokers_own(self, join):
        node, sender = await join("node-a"), await join()
        for body in (b"", b"after"):
            await sender.broker.send("node-a", body, TTL_MS)
        assert (await node.next_batch())[0] == b"after"


class TestClosed:
    async def test_is_unavailable_before_it_is_opened(self, make_broker):
        broker = make_broker()
        assert not broker.connected
        with pytest.raises(BrokerUnavailable):
            await broker.send("node-a", b"x", TTL_MS)

    async def test_is_unavailable_after_it_was_closed(self, join):
        await join("node-a")
        party = await join()
        assert party.broker.connected
        await party.broker.close()
        assert not party.broker.connected
        with pytest.raises(BrokerUnavailable):
            await party.broker.send("node-a", b"x", TTL_MS)
        with pytest.raises(BrokerUnavailable):
            await party.broker.broadcast(b"x", TTL_MS)
        await party.broker.answer("nobody", b"x")

    async def test_closing_twice_or_unopened_is_no_error(self, join, make_broker):
        party = await join("node-a")
        await party.broker.close()
        await party.broker.close()
        await make_broker().close()


@pytest.fixture
async def rejoin(own_rabbit: RabbitServer) -> AsyncIterator[Join]:
    prefix = unique()
    async for opened in joining(lambda: RabbitBroker(own_rabbit.url, prefix)):
        yield opened


async def talk(node: Party, sender: Party, body: bytes) -> None:
    """Send until it works and is answered: what is on a connection that is about to be closed is lost."""

    async def answered() -> bool:
        if not await sent(sender, "node-a", body):
            return False
        try:
            async with asyncio.timeout(ANSWER_S):
                while (got := await node.next_batch())[0] != body:
                    pass
                await node.broker.answer(got[1], body)
                while await sender.next_reply() != body:
                    pass
        except TimeoutError:
            return False
        return True

    await eventually(answered, "the brokers to be connected again")


class TestRabbitMQAlone:
    async def test_connects_again_with_a_new_queue_after_all_connections_were_closed(
        self, rejoin, own_rabbit
    ):
        node, sender = await rejoin("node-a"), await rejoin()
        await talk(node, sender, b"before")
        before = await node_queues(own_rabbit)
        await asyncio.to_thread(own_rabbit.ctl, "close_all_connections", "test")
        await talk(node, sender, b"after")
        after = await node_queues(own_rabbit)
        assert len(before) == len(after) == 1
        assert before != after

    async def test_works_again_after_the_server_was_killed(self, rejoin, own_rabbit):
        node, sender = await rejoin("node-a"), await rejoin()
        own_rabbit.kill()
        await eventually(lambda: not sender.broker.connected, "the loss to be noticed")
        with pytest.raises(BrokerUnavailable):
            await sender.broker.send("node-a", b"x", TTL_MS)
        await asyncio.to_thread(own_rabbit.start)
        await talk(node, sender, b"after")
        assert node.broker.connected
        assert sender.broker.connected

    async def test_that_hangs_does_not_hang_the_close(self, rejoin, own_rabbit):
        party = await rejoin("node-a")
        own_rabbit.pause()
        try:
            await asyncio.wait_for(party.broker.close(), WAIT_S)
        finally:
            own_rabbit.resume()
        assert not party.broker.connected

    async def test_that_does_not_hear_itself_connects_again(self, rejoin, monkeypatch):
        monkeypatch.setattr("sanic_ws.broker.rabbitmq.BEAT_S", 0.2)
        node, sender = await rejoin("node-a"), await rejoin()
        await talk(node, sender, b"before")
        link = node.broker._link
        # As if the broker had lost the binding: the connections are fine, and nothing comes.
        await link.consuming.queue_unbind(link.names.node_queue, link.names.direct, routing_key="node-a")
        await eventually(lambda: node.broker._link not in (link, None), "the node to connect again")
        await talk(node, sender, b"after")

    async def test_that_hears_itself_stays_connected(self, rejoin, monkeypatch):
        monkeypatch.setattr("sanic_ws.broker.rabbitmq.BEAT_S", 0.05)
        node, sender = await rejoin("node-a"), await rejoin()
        links = node.broker._link, sender.broker._link
        beats = 0

        async def beat(link, before=RabbitBroker._beat):
            nonlocal beats
            beats += 1
            return await before(node.broker, link)

        node.broker._beat = beat
        await eventually(lambda: beats >= 10, "ten beats")
        assert (node.broker._link, sender.broker._link) == links

    async def test_that_is_short_of_memory_is_unavailable_and_still_hears(self, rejoin, own_rabbit):
        node, sender = await rejoin("node-a"), await rejoin()
        await talk(node, sender, b"before")
        await asyncio.to_thread(own_rabbit.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            await eventually(lambda: sender.broker.blocked and node.broker.blocked, "the alarm to be noticed")
            with pytest.raises(BrokerUnavailable):
                await sender.broker.send("node-a", b"x", TTL_MS)
            await node.broker.answer("nobody", b"x")
            assert sender.broker.connected
        finally:
            await asyncio.to_thread(own_rabbit.ctl, "set_vm_memory_high_watermark", "0.4")
        await eventually(lambda: not sender.broker.blocked, "the end of the alarm")
        await talk(node, sender, b"after")

    async def test_nobody_at_the_address_is_unavailable_and_no_crash(self):
        broker = RabbitBroker(f"amqp://guest:guest@127.0.0.1:{free_port()}/", "t")
        await broker.open(lambda _: True)
        assert not await broker.wait_connected(0.1)
        with pytest.raises(BrokerUnavailable):
            await broker.send("node-a", b"x", TTL_MS)
        await broker.close()

    async def test_of_several_addresses_one_that_works_is_found(self, rabbit):
        dead = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
        party = Party(RabbitBroker(f"{dead},{rabbit.url}", unique()))
        await party.open("node-a")
        assert await sent(party, "node-a", b"x")
        await party.broker.close()


async def node_queues(rabbit: RabbitServer) -> set[str]:
    listed = await asyncio.to_thread(rabbit.ctl, "list_queues", "name")
    return {name for name in listed.split() if ".node.node-a." in name}
