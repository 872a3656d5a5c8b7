"""What stands around the gateway in the tests: clients, publishers over HTTP, the command line, a cluster.

Nothing here uses the package, so that a fault of it cannot hide itself; what is heard is checked against its
AsyncAPI document as well.
"""

import asyncio
import http.client
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import redis.asyncio as aioredis
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed

from tests.leaks import look_through, note, note_settings, note_sign
from tests.servers import LOOPBACK, GatewayNode, RabbitServer, RedisServer, Server
from tests.spoken import check_spoken

WAIT_S = 30.0
"""How long anything is waited for before the test fails; nothing is expected to take that long."""


def unique(name: str = "t") -> str:
    """Return a connection id, user or prefix that no other test has."""
    return f"{name}-{secrets.token_hex(6)}"


async def eventually(
    holds: Callable[[], Any], what: str, timeout_s: float = WAIT_S, every_s: float = 0.02
) -> Any:
    """Poll until `holds()`, which may be a coroutine function, gives something true; return that."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = holds()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain: {what}"
        await asyncio.sleep(every_s)


class Client:
    """An independent WebSocket client; `connected` holds the data of its first frame."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.connected: dict[str, Any] = {}

    @classmethod
    async def open(
        cls, node: GatewayNode, sign: str | None = None, user: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """Connect, take the `connected` frame, and say who we are where `user` is given."""
        query = options.pop("query", {}) | ({} if sign is None else {"sign": sign})
        note_sign(query.get("sign", ""))
        note(query.get("token", ""))
        address = f"{node.ws_url}?{urlencode(query)}" if query else node.ws_url
        options = {"ping_interval": None, "max_size": None, "proxy": None, "close_timeout": 2} | options
        client = cls(await connect_websocket(address, **options))
        client.connected = (await client.next("connected"))["data"]
        note_sign(client.conn)
        if user is not None:
            await client.bind(**user)
        return client

    @property
    def conn(self) -> str:
        """The connection's id, as the node said it."""
        return self.connected["conn"]

    async def next_frame(self) -> str | bytes:
        """Return the next message as it came."""
        return await asyncio.wait_for(self.socket.recv(), WAIT_S)

    async def next(self, type: str | None = None) -> dict[str, Any]:  # noqa: A002 - the contract's name
        """Return the next message; it must be of this type, if one is given."""
        message = json.loads(await self.next_frame())
        if message["type"] == "error":
            look_through(json.dumps(message["data"], ensure_ascii=False), "an error over WebSocket")
        check_spoken(message, f"node.{message['type']}", "node.push")
        assert type is None or message["type"] == type, f"wanted {type!r}, got {message!r}"
        return message

    async def send(self, type: str, data: Any = None, id: str | None = None) -> None:  # noqa: A002
        """Send a message."""
        message = {"type": type, "data": data} | ({} if id is None else {"id": id})
        await self.socket.send(json.dumps(message))

    async def bind(self, **user: Any) -> dict[str, Any]:
        """Say who we are; return whom the node bound us to."""
        await self.send("user_info", user)
        return (await self.next("user_bound"))["data"]["user"]

    async def rest(self) -> list[dict[str, Any]]:
        """Return all that the node wrote before it answered the ping that this sends."""
        mark = unique("mark")
        await self.send("ping", mark)
        messages = []
        while (message := await self.next()) is not None:
            if message["type"] == "pong" and message["data"] == mark:
                return messages
            messages.append(message)
        raise AssertionError

    async def is_alive(self) -> bool:
        """Ask for a pong; nothing else may come before it."""
        return await self.rest() == []

    async def closed(self) -> tuple[int, str]:
        """Read until the node has closed; return the close code and reason."""
        with suppress(ConnectionClosed):
            while True:
                await self.next_frame()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""

    async def close(self) -> None:
        """Leave."""
        await self.socket.close()


@dataclass
class Answer:
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __post_init__(self) -> None:
        told = f"{self.headers}\n{self.body.decode(errors='replace')}"
        look_through(told, f"an answer {self.status}", signs=self.body.startswith(b'{"error"'))

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error; its form is the contract's."""
        assert set(self.json) == {"error"}, self.body
        error: dict[str, str] = self.json["error"]
        assert {"code", "message"} <= set(error) <= {"code", "message", "field"}, error
        assert all(isinstance(text, str) and text for text in error.values()), error
        return error


async def call(
    node: GatewayNode,
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Make an HTTP request; a body of bytes goes as it is, any other one as JSON."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} | dict(headers or {})
    if key is not None:
        note(key)
        sent["Authorization"] = f"Bearer {key}"
    return await asyncio.to_thread(_request, node.port, method, path, content, sent)


def _request(port: int, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=WAIT_S)
    try:
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


async def push(node: GatewayNode, to: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Push over HTTP and return the receipt of a push that was answered with 200."""
    answer = await call(node, "POST", "/api/v1/push", push_body(to, **fields))
    assert answer.status == http.client.OK, answer
    return answer.json


def push_body(to: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a push as JSON has it; of type `hello`, if nothing else is given."""
    content = {} if {"type", "raw", "raw_base64"} & set(fields) else {"type": "hello", "data": {"n": 1}}
    fields = {{"except_": "except"}.get(name, name): value for name, value in fields.items()}
    return {"to": dict(to), **content, **fields}


def only(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one delivery of a receipt."""
    (delivery,) = receipt["deliveries"]
    return delivery


async def connection_info(node: GatewayNode, conn: str) -> dict[str, Any] | None:
    """Return what the cluster knows of a connection, or None if nobody has it."""
    answer = await call(node, "GET", f"/api/v1/connections/{quote(conn, safe='')}")
    assert answer.status in (http.client.OK, http.client.NOT_FOUND), answer
    return answer.json if answer.status == http.client.OK else None


async def samples(node: GatewayNode) -> Counter[tuple[str, ...]]:
    """Return the value of every series of ``/metrics``, by its name and the values of its labels."""
    answer = await call(node, "GET", "/metrics")
    assert answer.status == http.client.OK, answer
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Counter(
        {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }
    )


async def node_ids(node: GatewayNode) -> list[str]:
    """Return the ids of the live nodes, as a node sees them."""
    answer = await call(node, "GET", "/api/v1/nodes")
    assert answer.status == http.client.OK, answer
    return [entry["node"] for entry in answer.json["nodes"]]


async def connections_of(node: GatewayNode) -> int:
    """Return how many connections a node holds."""
    return (await call(node, "GET", "/api/v1/stats")).json["connections"]


@dataclass
class Ended:
    """What a command that has ended left: exit code, standard output and error."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        look_through(f"{self.out}\n{self.err}", "the command line", signs=False)


COMMAND = str(Path(sys.executable).with_name("sanic-ws"))


async def start_command(*arguments: str, env: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
    """Start the command line with no settings but these."""
    note_settings(env or {})
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SANIC_WS_")}
    return await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        env={**inherited, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run_command(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = WAIT_S
) -> Ended:
    """Run the command line until it ends by itself."""
    process = await start_command(*arguments, env=env)
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@dataclass
class Cluster:
    """Some nodes on one Redis, one RabbitMQ and one prefix."""

    nodes: list[GatewayNode]
    redis: RedisServer
    rabbit: RabbitServer
    prefix: str

    @property
    def env(self) -> dict[str, str]:
        """What a publisher needs to know."""
        return {
            "SANIC_WS_REDIS_URL": self.redis.url,
            "SANIC_WS_AMQP_URL": self.rabbit.url,
            "SANIC_WS_PREFIX": self.prefix,
        }

    def owner_key(self, conn: str) -> str:
        """Return the key of a connection's registry entry."""
        return f"{self.prefix}:conn:{{{conn}}}"

    async def forget(self, conn: str) -> None:
        """Delete a connection's registry entry by hand."""
        async with aioredis.Redis.from_url(self.redis.url) as client:
            assert await client.delete(self.owner_key(conn)) == 1

    async def forget_receipts(self) -> None:
        """Delete the receipts that are kept for copies, by hand."""
        async with aioredis.Redis.from_url(self.redis.url) as client:
            keys = [key async for key in client.scan_iter(f"{self.prefix}:once:*")]
            assert await client.delete(*keys)

    async def pretend(self, conn: str, node_id: str) -> None:
        """Make the registry believe that a connection is on some node."""
        async with aioredis.Redis.from_url(self.redis.url) as client:
            await client.set(self.owner_key(conn), f"{node_id}\x1f1\x1f1\x1f")

    async def owner_node(self, conn: str) -> str:
        """Return the node that a connection's registry entry names; none if it is gone or absent."""
        async with aioredis.Redis.from_url(self.redis.url, decode_responses=True) as client:
            return (await client.get(self.owner_key(conn)) or "").split("\x1f")[0]

    async def keys_that_name(self, text: str) -> list[str]:
        """Return the gateway's keys that hold a text in their name or value."""
        async with aioredis.Redis.from_url(self.redis.url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(f"{self.prefix}:*")]
            return [key for key in keys if text in f"{key} {await _value(client, key)}"]


async def _value(client: aioredis.Redis, key: str) -> str:
    match await client.type(key):
        case "zset":
            return repr(await client.zrange(key, 0, -1))
        case "stream":
            return repr(await client.xrange(key))
    return await client.get(key) or ""


def describe_nodes(
    redis: RedisServer,
    rabbit: RabbitServer,
    prefix: str,
    names: Sequence[str],
    env: Mapping[str, str] | None = None,
) -> Cluster:
    """Return a cluster of `sanic-ws dev` nodes that is not started."""
    settings = {
        "SANIC_WS_REDIS_URL": redis.url,
        "SANIC_WS_AMQP_URL": rabbit.url,
        "SANIC_WS_PREFIX": prefix,
        "SANIC_WS_DRAIN_S": "0.1",
        **(env or {}),
    }
    nodes = [GatewayNode("dev", name=name, env=settings, identify=read_node_id) for name in names]
    return Cluster(nodes, redis, rabbit, prefix)


def read_node_id(node: GatewayNode) -> str:
    """Ask a node who it is."""
    answer = _request(node.port, "GET", "/api/v1/stats", None, {})
    return answer.json["node"]


def start_all(servers: Sequence[Server]) -> None:
    """Start servers side by side."""
    for server in servers:
        server.spawn()
    for server in servers:
        server.wait_ready()


def stop_all(servers: Sequence[Server]) -> None:
    """Stop servers side by side."""
    for server in servers:
        server.terminate()
    for server in servers:
        server.stop()
