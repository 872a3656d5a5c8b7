"""Nodes that the conformance tests share."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.conformance.raw import RawClient
from tests.servers import GatewayNode

Open = Callable[..., Awaitable[RawClient]]
MAX_MESSAGE_BYTES = 17 << 20
SETTINGS = {
    "SANIC_WS_MAX_MESSAGE_BYTES": str(MAX_MESSAGE_BYTES),
    "SANIC_WS_DRAIN_S": "0.1",
    "SANIC_WS_SUBPROTOCOLS": "v2.example, v1.example",
}


@pytest.fixture(scope="session")
def echo_node() -> Iterator[GatewayNode]:
    with GatewayNode("dev", "--echo", "/echo", name="echo", env=SETTINGS) as node:
        yield node
        logged = node.log.read_text()
    assert "Traceback" not in logged, logged


@pytest.fixture(scope="session")
def compressing_node() -> Iterator[GatewayNode]:
    settings = SETTINGS | {"SANIC_WS_COMPRESSION": "true"}
    with GatewayNode("dev", "--echo", "/echo", name="compressing", env=settings) as node:
        yield node
        logged = node.log.read_text()
    assert "Traceback" not in logged, logged


@pytest.fixture
async def open_raw() -> AsyncIterator[Open]:
    """Open raw clients; those that are still open at the end are dropped."""
    opened: list[RawClient] = []

    async def open_client(node: GatewayNode, **options: Any) -> RawClient:
        opened.append(await RawClient.open(node.port, **options))
        return opened[-1]

    yield open_client
    for client in opened:
        await client.close()
