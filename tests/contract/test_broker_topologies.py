"""The broker's promises over TLS, as a user who may not do all, and with a server of several down."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from sanic_ws import Conn, Publisher, User
from sanic_ws.broker.rabbitmq import RabbitBroker
from sanic_ws.core.outcomes import Outcome, Route
from sanic_ws.errors import BrokerUnavailable, Unroutable
from tests.contract.test_broker import TTL_MS, Join, joining, sent, talk
from tests.integration.peers import Client, eventually, read_node_id, unique
from tests.rabbit_servers import TlsRabbitServer, add_limited_user
from tests.servers import GatewayNode, RedisServer, free_port, require


@pytest.fixture(scope="module")
def tls_rabbit() -> Iterator[TlsRabbitServer]:
    require("rabbitmq-server")
    with TlsRabbitServer() as server:
        yield server


def over_tls(request: pytest.FixtureRequest, prefix: str) -> str:
    return request.getfixturevalue("tls_rabbit").url


def as_limited_user(request: pytest.FixtureRequest, prefix: str) -> str:
    return add_limited_user(request.getfixturevalue("rabbit"), prefix)


def over_tls_as_limited_user(request: pytest.FixtureRequest, prefix: str) -> str:
    return add_limited_user(request.getfixturevalue("tls_rabbit"), prefix)


def first_server_down(request: pytest.FixtureRequest, prefix: str) -> str:
    return f"{nobody()},{request.getfixturevalue('rabbit').url}"


def last_server_down(request: pytest.FixtureRequest, prefix: str) -> str:
    return f"{request.getfixturevalue('rabbit').url}, {nobody()}"


def nobody() -> str:
    """Return an address at which nobody listens."""
    return f"amqp://guest:guest@127.0.0.1:{free_port()}/"


TOPOLOGIES = [over_tls, as_limited_user, over_tls_as_limited_user, first_server_down, last_server_down]


@pytest.fixture(params=TOPOLOGIES, ids=lambda topology: topology.__name__.replace("_", "-"))
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """Open parties on a topology; close them at the end."""
    prefix = unique()
    url = await asyncio.to_thread(request.param, request, prefix)
    async for opened in joining(lambda: RabbitBroker(url, prefix)):
        yield opened


class TestPromisesHold:
    async def test_batch_reaches_the_node_and_the_reply_comes_back(self, join):
        node, sender = await join("node-a"), await join()
        await sender.broker.send("node-a", b"\0batch\xff", TTL_MS)
        body, address = await node.next_batch()
        assert body == b"\0batch\xff"
        await node.broker.answer(address, b"\0reply\xff")
        assert await sender.next_reply() == b"\0reply\xff"

    async def test_broadcast_reaches_all_nodes_and_each_can_answer(self, join):
        nodes, sender = [await join(name) for name in ("node-a", "node-b")], await join()
        await sender.broker.broadcast(b"all", TTL_MS)
        for node in nodes:
            body, address = await node.next_batch()
            assert body == b"all"
            await node.broker.answer(address, b"yes")
        assert [await sender.next_reply() for _ in nodes] == [b"yes"] * 2

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

    async def test_unknown_node_is_unroutable_and_harms_nothing_else(self, join):
        node, sender = await join("node-a"), await join()
        with pytest.raises(Unroutable):
            await sender.broker.send("node-x", b"x", TTL_MS)
        await sender.broker.send("node-a", b"still works", TTL_MS)
        assert (await node.next_batch())[0] == b"still works"

    async def test_broadcast_with_nobody_there_is_unroutable(self, join):
        sender = await join()
        with pytest.raises(Unroutable):
            await sender.broker.broadcast(b"x", TTL_MS)

    async def test_node_that_has_closed_is_unroutable(self, join):
        node, sender = await join("node-a"), await join()
        await node.broker.close()

        async def gone() -> bool:
            return not await sent(sender, "node-a", b"x")

        await eventually(gone, "the end of the node's queue")
        with pytest.raises(Unroutable):
            await sender.broker.send("node-a", b"x", TTL_MS)


class TestRefused:
    """What a broker may not do it does not do, and says why."""

    @pytest.fixture
    async def refused(self, caplog: pytest.LogCaptureFixture):
        caplog.set_level(logging.WARNING, logger="sanic_ws.broker")

        async def is_refused(url: str, prefix: str, reason: str) -> None:
            broker = RabbitBroker(url, prefix)
            await broker.open(lambda _: True)
            try:
                await eventually(lambda: reason in caplog.text, f"{reason!r} in the log")
                assert not broker.connected
                with pytest.raises(BrokerUnavailable):
                    await broker.send("node-a", b"x", TTL_MS)
            finally:
                await broker.close()

        return is_refused

    async def test_server_whose_authority_is_not_trusted(self, refused, tls_rabbit):
        await refused(tls_rabbit.url.partition("?")[0], unique(), "certificate verify failed")

    async def test_limited_user_under_another_prefix(self, refused, rabbit):
        url = await asyncio.to_thread(add_limited_user, rabbit, unique())
        await refused(url, unique("other"), "ACCESS_REFUSED")


async def test_lost_connections_are_rebuilt_over_tls_as_limited_user(tls_rabbit):
    prefix = unique()
    url = await asyncio.to_thread(add_limited_user, tls_rabbit, prefix)
    async for join in joining(lambda: RabbitBroker(url, prefix)):
        node, sender = await join("node-a"), await join()
        await asyncio.to_thread(tls_rabbit.ctl, "close_all_connections", "test")
        await talk(node, sender, b"after")


@pytest.fixture
async def limited_node(redis: RedisServer, tls_rabbit: TlsRabbitServer) -> AsyncIterator[GatewayNode]:
    """A node that reaches RabbitMQ over TLS as a limited user."""
    prefix = unique()
    env = {
        "SANIC_WS_REDIS_URL": redis.url,
        "SANIC_WS_AMQP_URL": await asyncio.to_thread(add_limited_user, tls_rabbit, prefix),
        "SANIC_WS_PREFIX": prefix,
        "SANIC_WS_DRAIN_S": "0.1",
    }
    node = GatewayNode("dev", name="limited", env=env, identify=read_node_id)
    await asyncio.to_thread(node.start)
    yield node
    await asyncio.to_thread(node.stop)


async def test_publisher_reaches_a_client_over_tls_as_limited_user(limited_node):
    env = limited_node._env
    client = await Client.open(limited_node, unique(), {"userId": 1001, "tenantId": 7})
    urls = env["SANIC_WS_REDIS_URL"], env["SANIC_WS_AMQP_URL"], env["SANIC_WS_PREFIX"]
    async with Publisher(*urls) as publisher:
        for target in (Conn(client.conn), User(1001, tenant_id=7)):
            receipt = await publisher.push(target, "hello", {"to": str(target)})
            assert [(d.conn, d.node, d.route, d.outcome) for d in receipt.deliveries] == [
                (client.conn, limited_node.node_id, Route.DIRECT, Outcome.DELIVERED)
            ]
            assert (await client.next("hello"))["data"] == {"to": str(target)}
        missed = await publisher.push(Conn(unique()), "hello")
        assert missed.outcome is Outcome.OFFLINE
    await client.close()
