"""Nodes that ask clients who they are, and what stands around them."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.peers import Answer, Client, call, push_body, unique
from tests.leaks import note
from tests.servers import GatewayNode
from tests.tokens import SECRET, shared_secret

KEY = "the-key-of-the-back-end"
signer = shared_secret()


def secured(*arguments: str, name: str = "secured", **env: Any) -> GatewayNode:
    """Describe a `serve` node on embedded backends that takes tokens signed with a shared secret."""
    settings = {
        "redis_url": "memory://",
        "amqp_url": "memory://",
        "prefix": unique("own"),
        "api_keys": f"backend:{KEY}",
        "jwt_secret": SECRET,
        "drain_s": "0.1",
        "auth_timeout_s": "300",
        # All tests come from one address.
        "handshakes_per_s_per_address": "0",
    } | env
    given = {f"SANIC_WS_{key.upper()}": str(value) for key, value in settings.items() if value is not None}
    return GatewayNode("serve", *arguments, name=name, env=given)


def bearer(token: str) -> dict[str, Any]:
    """Return what makes a client send a token in its header."""
    note(token)
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


async def refusal(node: GatewayNode, sign: str | None = None, **options: Any) -> Answer:
    """Connect in vain; return the HTTP answer."""
    with pytest.raises(InvalidStatus) as caught:
        await Client.open(node, sign, **options)
    response = caught.value.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return Answer(response.status_code, headers, bytes(response.body))


async def turned_away(node: GatewayNode, sign: str | None = None, **options: Any) -> int:
    """Connect in vain; return the code of the close that comes in place of a first frame."""
    with pytest.raises(ConnectionClosed) as caught:
        await Client.open(node, sign, **options)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


async def authenticate(client: Client, token: str) -> dict[str, Any]:
    """Send a token; return whom the node bound us to."""
    await client.send("auth", {"token": token}, id="auth")
    bound = await client.next("user_bound")
    assert bound["id"] == "auth"
    return bound["data"]["user"]


async def error_code(client: Client, type: str, data: Any = None) -> str:  # noqa: A002
    """Send a message that ends in an error; return the code."""
    mark = unique("m")
    await client.send(type, data, id=mark)
    error = await client.next("error")
    assert error["id"] == mark
    return error["data"]["code"]


async def push_to(node: GatewayNode, to: Mapping[str, Any], **fields: Any) -> str:
    """Push with the back end's key; return the outcome."""
    answer = await call(node, "POST", "/api/v1/push", push_body(to, **fields), key=KEY)
    return answer.json["outcome"]


async def registered(node: GatewayNode, conn: str) -> dict[str, Any] | None:
    """Return what the node's registry knows of a connection, or None."""
    answer = await call(node, "GET", f"/api/v1/connections/{conn}", key=KEY)
    return answer.json if answer.status == 200 else None


async def raw_answer(node: GatewayNode, request: bytes) -> Answer:
    """Send bytes and read one HTTP answer; its body is JSON."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    try:
        writer.write(request)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 30)
        assert json.loads(body)
        return Answer(int(status.split()[1]), headers, body)
    finally:
        writer.close()
