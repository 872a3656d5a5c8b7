"""Servers and clients that the tests share; each test uses ids of its own."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sanic_ws import Publisher
from tests import leaks
from tests.integration.peers import Client, Cluster, describe_nodes, start_all, stop_all, unique
from tests.nursery import Nursery
from tests.servers import GatewayNode, RabbitServer, RedisServer, require

# Whoever is started in the background ignores Ctrl-C, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

Connect = Callable[..., Awaitable[Client]]
MakeCluster = Callable[..., Cluster]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `tests/faults/test_random.py` and `tests/browser` are told."""
    parser.addoption("--faults", type=int, default=1, metavar="SEED", help="of the random faults")
    parser.addoption("--faults-seconds", type=int, default=60, help="how long there are random faults")
    parser.addoption("--picture", action="store_true", help="take README's picture of the console anew")
    parser.addoption("--screenshots", type=Path, metavar="FOLDER", help="where to keep how pages look")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test after which a secret was found in what a node has said until then."""
    yield
    found = leaks.take()
    assert not found, "\n".join(found)


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[None]:
    """Fork nodes from a process that has loaded them already."""
    GatewayNode.nursery = made = Nursery()
    yield
    GatewayNode.nursery = None
    made.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[RedisServer, RabbitServer]]:
    require("redis-server")
    require("rabbitmq-server")
    redis, rabbit = RedisServer(), RabbitServer()
    try:
        start_all([redis, rabbit])
        yield redis, rabbit
    finally:
        stop_all([redis, rabbit])


@pytest.fixture(scope="session")
def redis(servers: tuple[RedisServer, RabbitServer]) -> RedisServer:
    """The Redis that tests share: they do not flush it."""
    return servers[0]


@pytest.fixture(scope="session")
def rabbit(servers: tuple[RedisServer, RabbitServer]) -> RabbitServer:
    """The RabbitMQ that tests share: they do not break it."""
    return servers[1]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may break."""
    require("redis-server")
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def breakable_rabbit_of_the_session() -> Iterator[RabbitServer]:
    require("rabbitmq-server")
    with RabbitServer() as server:
        yield server


@pytest.fixture
def own_rabbit(breakable_rabbit_of_the_session: RabbitServer) -> RabbitServer:
    """A RabbitMQ that the test may break; it runs when the test begins."""
    if not breakable_rabbit_of_the_session.running:
        breakable_rabbit_of_the_session.kill()
        breakable_rabbit_of_the_session.start()
    return breakable_rabbit_of_the_session


@pytest.fixture(scope="session")
def cluster(redis: RedisServer, rabbit: RabbitServer) -> Iterator[Cluster]:
    """Three nodes that the tests share and do not break.

    Their lease is long, so that none asserts an entry again between a test's deleting it and its push.
    """
    shared = describe_nodes(redis, rabbit, "shared", ["node1", "node2", "node3"], {"SANIC_WS_LEASE_S": "300"})
    try:
        start_all(shared.nodes)
        yield shared
        logs = [node.log.read_text() for node in shared.nodes]
    finally:
        stop_all(shared.nodes)
    for log in logs:
        assert "Traceback" not in log, log


@pytest.fixture
def nodes(cluster: Cluster) -> list[GatewayNode]:
    return cluster.nodes


@pytest.fixture
def make_cluster(redis: RedisServer, rabbit: RabbitServer) -> Iterator[MakeCluster]:
    """Start nodes of the test's own, under a prefix of their own."""
    with ExitStack() as stack:

        def make(
            count: int, *, own_redis: RedisServer | None = None, names: list[str] | None = None, **env: Any
        ) -> Cluster:
            settings = {f"SANIC_WS_{name.upper()}": str(value) for name, value in env.items()}
            names = names or [f"own{number}" for number in range(1, count + 1)]
            made = describe_nodes(own_redis or redis, rabbit, unique("own"), names, settings)
            stack.callback(stop_all, made.nodes)
            start_all(made.nodes)
            return made

        yield make


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open clients; those that are still open at the end are closed."""
    opened: list[Client] = []

    async def open_client(node: GatewayNode, *arguments: Any, **options: Any) -> Client:
        opened.append(await Client.open(node, *arguments, **options))
        return opened[-1]

    yield open_client
    await asyncio.gather(*(client.close() for client in opened))


@pytest.fixture(scope="session")
async def publisher(cluster: Cluster) -> AsyncIterator[Publisher]:
    async with Publisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as opened:
        yield opened
