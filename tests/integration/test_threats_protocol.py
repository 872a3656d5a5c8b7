"""Rows 9, 10, 11 and 15 of the list of threats: what is sent, and that nobody else has to suffer for it."""

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.raw import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    RawClient,
    close_payload,
    fragments,
    frame,
    handshake,
)
from tests.conformance.test_protocol import closed_by_the_node
from tests.integration.peers import WAIT_S, connections_of, eventually, push, unique
from tests.servers import LOOPBACK, GatewayNode

MAX_BYTES = 1 << 16
HEADER_S = 0.5
FLOOD_GROWTH_KB = 5 * 1024
SETTINGS = {
    "SANIC_WS_MAX_MESSAGE_BYTES": str(MAX_BYTES),
    "SANIC_WS_HEADER_TIMEOUT_S": str(HEADER_S),
    # Row 13 is elsewhere; here a flood is to go as far as it can.
    "SANIC_WS_MESSAGES_PER_S": "0",
    "SANIC_WS_BYTES_PER_S": "0",
    "SANIC_WS_DRAIN_S": "0.1",
}


@pytest.fixture(scope="module")
def node():
    with GatewayNode("dev", name="threatened", env=SETTINGS) as started:
        yield started
        logged = started.log.read_text()
    assert "Traceback" not in logged, logged


@pytest.fixture
async def other(node, connect):
    """Somebody else, who is served all the while."""
    client = await connect(node, unique("other"))
    yield client
    assert await client.is_alive()
    assert (await push(node, {"conn": client.conn}))["outcome"] == "delivered"
    await client.next("hello")


async def open_raw(node, **options) -> RawClient:
    client = await RawClient.open(node.port, f"/ws?sign={unique()}", **options)
    assert json.loads((await client.next()).payload)["type"] == "connected"
    return client


# Row 9

BROKEN = {
    "not masked": ([frame(TEXT, b"hello", mask=None)], 1002),
    "reserved bit 1": ([frame(TEXT, b"hello", rsv=4)], 1002),
    "reserved bit 2": ([frame(TEXT, b"hello", rsv=2)], 1002),
    "reserved bit 3": ([frame(TEXT, b"hello", rsv=1)], 1002),
    "reserved opcode": ([frame(3, b"hello")], 1002),
    "reserved control opcode": ([frame(11)], 1002),
    "fragmented ping": ([frame(PING, b"a", fin=False), frame(CONTINUED, b"b")], 1002),
    "fragmented close": ([frame(CLOSE, close_payload(1000), fin=False)], 1002),
    "long ping": ([frame(PING, b"x" * 126)], 1002),
    "bad UTF-8": ([frame(TEXT, b"\xff")], 1007),
    "bad UTF-8 in a fragment, the end never comes": ([frame(TEXT, b"\xff", fin=False)], 1007),
    "surrogate": ([frame(TEXT, b"\xed\xa0\x80")], 1007),
    "too long in one frame": ([frame(BINARY, b"x" * (MAX_BYTES + 1))], 1009),
    "too long in many": (fragments(BINARY, b"x" * (MAX_BYTES + 1), 1000), 1009),
    "too long, announced only": ([b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"], 1009),
    "a length with its highest bit": ([b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"], 1009),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_9_broken_frames_close_with_their_code(node, other, what):
    sent, code = BROKEN[what]
    client = await open_raw(node)
    await client.send(*sent)
    await closed_by_the_node(client, (code,))
    await client.close()


# Row 10


async def test_10_pings_of_a_client_that_does_not_read_end_its_connection_and_fill_nothing(node, other):
    before = await connections_of(node)
    flooding = socket.socket()
    flooding.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    flooding.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(flooding, (LOOPBACK, node.port))
    await loop.sock_sendall(flooding, handshake(f"/ws?sign={unique()}", b"dGhlIHNhbXBsZSBub25jZQ=="))
    await eventually(lambda: has_connections(node, before + 1), "the client to be connected")
    most = peak_kb(node)
    pings = frame(PING, b"x" * 125) * 500
    with suppress(ConnectionError):
        while True:
            await asyncio.wait_for(loop.sock_sendall(flooding, pings), WAIT_S)
    assert peak_kb(node) - most < FLOOD_GROWTH_KB
    await eventually(lambda: has_connections(node, before), "the client to be gone")
    flooding.close()


async def has_connections(node, number) -> bool:
    return await connections_of(node) == number


def peak_kb(node) -> int:
    """Return the most memory that a node has ever had."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


# Row 11; silence where a first `auth` is needed is in test_authentication.py


@pytest.mark.parametrize(
    "begin",
    [handshake("/ws", b"dGhlIHNhbXBsZSBub25jZQ==")[:-2], b"POST /api/v1/push HTTP/1.1\r\nHost: x\r\n", b"G"],
)
async def test_11_head_that_comes_byte_by_byte_is_cut_off(node, other, begin):
    reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
    writer.write(begin + b"X-Slow: ")
    answer = asyncio.create_task(reader.read())
    sent = 0
    with suppress(ConnectionError):
        while not answer.done():
            writer.write(b"x")
            sent += 1
            await asyncio.wait([answer], timeout=HEADER_S / 10)
            assert sent < WAIT_S / HEADER_S * 10
    assert sent > 5
    head, _, body = (await answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    writer.close()


async def test_11_silence_from_the_start_is_cut_off(node, other):
    reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
    assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
    writer.close()


async def test_11_connection_that_has_made_a_request_may_be_silent_for_longer(node, other):
    reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    # As long as it takes for one that was silent from the start.
    await test_11_silence_from_the_start_is_cut_off(node, other)
    writer.write(request)
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)).count(b"HTTP/1.1 200") == 1
    writer.close()


# Row 15


@pytest.mark.parametrize("cut", [None, 3, 10])
async def test_15_frame_in_the_packet_of_the_request_is_processed(node, other, cut):
    early = frame(TEXT, b'{"type":"ping","data":"early"}') + frame(PING, b"too")
    client = await open_raw(node, more=early[:cut])
    if cut is not None:
        await client.send(early[cut:])
    assert json.loads((await client.next()).payload)["data"] == "early"
    assert await client.next() == (PONG, b"too", False)
    await client.close()
