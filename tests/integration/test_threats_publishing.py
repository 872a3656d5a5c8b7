"""Rows 8 and 16 of the list of threats: what is no push, and what is no message between nodes."""

import asyncio
import json
import os
import pickle
import select
import socket
from contextlib import suppress
from pathlib import Path

import aio_pika
import pytest

from tests.faults.poison import BATCHES, REPLIES
from tests.integration.peers import WAIT_S, call, eventually, push, push_body, unique
from tests.integration.secured import KEY, push_to, raw_answer, secured
from tests.servers import LOOPBACK

PUSH = "/api/v1/push"
BATCH = "/api/v1/push/batch"
OK = {"conn": "nobody-at-all"}
MB = 1 << 20
GROWTH = 8 * MB
"""How much larger a node may be after thousands of refusals: its allocator's business."""
MAX_BODY = 16 * MB
MAX_MESSAGE = 1 << 16


@pytest.fixture(scope="module")
def node():
    with secured(jwt_secret=None, trust_client_identity=True, max_message_bytes=MAX_MESSAGE) as started:
        yield started
        log = started.log.read_text()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log


@pytest.fixture
async def other(node, connect):
    """Somebody else, who is served all the while."""
    client = await connect(node, unique("other"))
    yield client
    assert await push_to(node, {"conn": client.conn}) == "delivered"
    await client.next("hello")


@pytest.fixture
async def flat(node):
    """Memory stays flat."""
    before = await memory_bytes(node)
    yield
    assert await memory_bytes(node) - before < GROWTH


async def memory_bytes(node) -> int:
    return (await call(node, "GET", "/api/v1/stats", key=KEY)).json["process"]["memory_bytes"]


def head(*lines: str, path: str = PUSH, key: str | None = KEY) -> bytes:
    authorization = [] if key is None else [f"Authorization: Bearer {key}"]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *authorization, *lines, "", ""]).encode()


async def flood(node, first: bytes, more: bytes) -> bytes:
    """Send `more` without end behind `first`, until there is an answer; return that."""
    return await asyncio.to_thread(_flood, node.port, first, more)


def _flood(port: int, first: bytes, more: bytes) -> bytes:
    with socket.create_connection((LOOPBACK, port), WAIT_S) as connection:
        # Who floods may be cut off before reading the answer, which is there all the same.
        with suppress(ConnectionError):
            connection.sendall(first)
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(more)
        return connection.recv(65536)


# 8: bodies that are no pushes

NESTED = [b"[" * depth + b"]" * depth for depth in (2000, 100_000)]
NOT_JSON = {
    "nothing": b"",
    "half": b"{",
    "a word": b"hello",
    "more behind it": b'{"to":{"conn":"a"},"type":"x"} x',
    "bad UTF-8": b'{"to":{"conn":"a"},"type":"x","data":"\xff"}',
    "half a surrogate": b'{"to":{"conn":"a"},"type":"x","data":"\\ud800"}',
    **{
        f"{value[:12].decode()}…{len(value)}": b'{"to":{"conn":"a"},"type":"x","data":' + value + b"}"
        for value in (b"NaN", b"-Infinity", b"01", b"9" * 5000, *NESTED)
    },
    "only brackets": b"[" * MB,
    "only braces": b'{"a":' * 200_000,
    "a pickle": pickle.dumps({"to": OK, "type": "x"}),
}


@pytest.mark.parametrize("path", [PUSH, BATCH])
@pytest.mark.parametrize("what", NOT_JSON)
async def test_8_what_is_not_strict_json_is_400(node, other, flat, path, what):
    for _ in range(20):
        answer = await call(node, "POST", path, NOT_JSON[what], key=KEY)
        assert answer.status == 400, answer
        # Lines that are not JSON are a bad NDJSON, and named.
        assert answer.error["code"] == "invalid_json" or answer.error["field"] == "pushes[0]"
        assert len(answer.body) < 300


@pytest.mark.parametrize("number", ["1e999", "-1e999", '["x", {"y": 1e400}]'])
async def test_8_number_that_no_text_can_say_again_is_400(node, other, number):
    content = f'{{"to":{{"conn":"{other.conn}"}},"type":"x","data":{number}}}'
    for path, body, field in (
        (PUSH, content, "data"),
        (BATCH, f'{{"pushes":[{json.dumps(push_body(OK))},{content}]}}', "pushes[1].data"),
    ):
        answer = await call(node, "POST", path, body.encode(), key=KEY)
        assert (answer.status, answer.error["field"]) == (400, field)
    assert await other.is_alive()


@pytest.mark.parametrize(
    "kind", ["connected", "user_bound", "error", "reconnect", "resumed", "pong", "cancelled"]
)
async def test_8_type_of_the_gateways_own_is_400(node, other, kind):
    answer = await call(node, "POST", PUSH, push_body({"conn": other.conn}, type=kind), key=KEY)
    assert (answer.status, answer.error["field"]) == (400, "type")
    pushes = {"pushes": [push_body({"conn": other.conn}), push_body({"conn": other.conn}, type=kind)]}
    answer = await call(node, "POST", BATCH, pushes, key=KEY)
    assert (answer.status, answer.error["field"]) == (400, "pushes[1].type")
    assert await other.is_alive()


@pytest.mark.parametrize("content", [{"type": "x", "data": "x"}, {"raw": "x"}, {"raw_base64": "eHh4"}])
async def test_8_message_that_is_too_big_is_413(node, other, flat, content):
    name, text = list(content.items())[-1]
    body = push_body({"conn": other.conn}, **content | {name: text * 2 * MAX_MESSAGE})
    batch = {"pushes": [push_body({"conn": other.conn}), body]}
    for path, sent, field in ((PUSH, body, name), (BATCH, batch, f"pushes[1].{name}")):
        answer = await call(node, "POST", path, sent, key=KEY)
        assert (answer.status, answer.error["code"], answer.error["field"]) == (413, "too_large", field)
    assert await other.is_alive()


@pytest.mark.parametrize("size", [MAX_BODY + 1, 1 << 40, 10**30])
async def test_8_body_that_is_announced_too_big_is_413_at_once(node, other, flat, size):
    answer = await raw_answer(node, head(f"Content-Length: {size}"))
    assert (answer.status, answer.error["code"]) == (413, "too_large")


async def test_8_chunks_without_end_are_413(node, other):
    """What has come so far is held, and no more than what a body may have."""
    before = await memory_bytes(node)
    chunk = b"%x\r\n" % (1 << 16) + bytes(1 << 16) + b"\r\n"
    most = 0
    for _ in range(3):
        assert b" 413 " in await flood(node, head("Transfer-Encoding: chunked"), chunk)
        most = max(most, await memory_bytes(node) - before)
    assert most < 2 * MAX_BODY + GROWTH


@pytest.mark.parametrize(
    "endless",
    [b"0", b"1;x=" + b"y" * 1000, b"f" * 1000, b"\r\n", bytes(1000)],
    ids=lambda sent: repr(sent[:6]),
)
async def test_8_length_of_a_chunk_without_end_is_400(node, other, flat, endless):
    first = head("Transfer-Encoding: chunked")
    for _ in range(5):
        assert b" 400 " in await flood(node, first, endless)


async def test_8_whoever_has_no_key_fills_nothing(node, other, flat):
    """The answer does not wait for the body, and of what comes nothing is held."""
    for key in (None, "wrong-key-that-nobody-has"):
        for path in (PUSH, BATCH):
            answer = await raw_answer(node, head(f"Content-Length: {MAX_BODY}", path=path, key=key))
            assert answer.status == 401
    waiting = []
    for _ in range(20):
        _, writer = await asyncio.open_connection(LOOPBACK, node.port)
        writer.write(head(f"Content-Length: {MAX_BODY}", key=None) + bytes(MAX_BODY // 2))
        await writer.drain()
        waiting.append(writer)
    assert await other.is_alive()
    for writer in waiting:
        writer.close()


@pytest.mark.parametrize(
    "length", ["-5", "+5", "5_0", "5.0", "0x5", "x", "", "5, 5", "5\r\nContent-Length: 6"]
)
async def test_8_length_that_is_none_is_400(node, other, length):
    answer = await raw_answer(node, head(f"Content-Length: {length}") + b"{}")
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_8_length_beside_chunks_is_400(node, other):
    """Two readers of one request must not see two (RFC 9112, section 6.3)."""
    answer = await raw_answer(node, head("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_8_body_longer_than_its_length_is_not_read(node, other):
    body = json.dumps(push_body({"conn": other.conn})).encode()
    answer = await raw_answer(node, head(f"Content-Length: {len(body) - 1}") + body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    assert await other.is_alive()


async def test_8_body_shorter_than_its_length_is_waited_for_and_pushes_nothing(node, other):
    body = json.dumps(push_body({"conn": other.conn})).encode()
    reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
    writer.write(head(f"Content-Length: {len(body) + 1}") + body)
    writer.write_eof()
    assert b" 200 " not in await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    assert await other.is_alive()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/v1/stats", "/api/v1/connections/{conn}"])
async def test_8_body_that_nobody_asked_for_is_dropped_and_not_logged(node, other, flat, path):
    size = node.log.stat().st_size
    answer = await call(node, "GET", path.format(conn=other.conn), bytes(MAX_BODY), key=KEY)
    assert answer.status == 200
    assert node.log.stat().st_size == size


# 16: what is no message of ours, on every queue that there is


class Exploit:
    """Something that makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.open, (str(self.file), os.O_CREAT | os.O_WRONLY)


async def queues(rabbit, prefix) -> dict[str, int]:
    """Return how many messages are in each queue of a prefix."""
    listed = await asyncio.to_thread(rabbit.ctl, "list_queues", "name", "messages")
    rows = [line.split() for line in listed.splitlines()]
    return {name: int(messages) for name, messages in rows if name.startswith(f"{prefix}.")}


async def test_16_pickles_and_junk_on_every_queue_are_set_aside_and_never_evaluated(
    make_cluster, connect, tmp_path
):
    """Behind them nodes and publishers go on, and the set aside is theirs who look into it."""
    from sanic_ws import Conn, Publisher

    cluster = make_cluster(2)
    one, two = cluster.nodes
    files = [tmp_path / f"made-by-protocol-{protocol}" for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    pickles = [pickle.dumps(Exploit(file), protocol) for protocol, file in enumerate(files)]
    client = await connect(one, unique())
    async with Publisher(cluster.redis.url, cluster.rabbit.url, cluster.prefix) as publisher:
        before = await queues(cluster.rabbit, cluster.prefix)
        dead = f"{cluster.prefix}.dead"
        read = [name for name in before if name != dead]
        assert len(read) == 2 * len(cluster.nodes) + 2, (
            "a queue and replies of each node, the publisher's, and calls"
        )
        sent = 0
        async with await aio_pika.connect(cluster.rabbit.url) as connection:
            channel = await connection.channel()
            for name in [*read, dead]:
                for body in [*pickles, *BATCHES, *REPLIES]:
                    for content_type in (None, "application/x-python-serialize"):
                        message = aio_pika.Message(body, content_type=content_type, reply_to=dead)
                        await channel.default_exchange.publish(message, name)
                        sent += 1
            expected = min(sent, 1000)
            await eventually(lambda: holds(cluster.rabbit, cluster.prefix, dead, expected), "all set aside")
        assert set(await queues(cluster.rabbit, cluster.prefix)) == set(before), "consumers alive"
        assert (await publisher.push(Conn(client.conn), "hello")).outcome == "delivered"
        assert (await push(two, {"conn": client.conn}))["outcome"] == "delivered"
        assert [(await client.next())["type"] for _ in range(2)] == ["hello", "hello"]
    assert not any(file.exists() for file in files)
    await asyncio.to_thread(pickle.loads, pickles[-1])
    assert files[-1].exists(), "the pickles do what they are meant to"
    for node in cluster.nodes:
        logged = node.log.read_text()
        assert "set aside" in logged
        assert "Traceback" not in logged, logged
        assert "made-by-protocol" not in logged


async def holds(rabbit, prefix, queue, expected) -> bool:
    return (await queues(rabbit, prefix))[queue] >= expected
