"""The client of Python's `websockets` against a node, with compression and without."""

import asyncio

import pytest
from websockets.asyncio.client import connect

from tests.conformance.raw import WAIT_S

TEXT, BINARY = "täglich grüßt €𤭢", bytes(range(256))
OPTIONS = {"proxy": None, "max_size": None, "ping_interval": None}


@pytest.fixture(params=["echo_node", "compressing_node"])
async def client(request):
    node = request.getfixturevalue(request.param)
    async with connect(f"ws://127.0.0.1:{node.port}/echo", **OPTIONS) as opened:
        agreed = "Sec-WebSocket-Extensions" in opened.response.headers
        assert agreed is (request.param == "compressing_node")
        yield opened


async def echoed(client, sent, wanted=None):
    await client.send(sent)
    assert await asyncio.wait_for(client.recv(), WAIT_S) == (sent if wanted is None else wanted)


@pytest.mark.parametrize("sent", ["", "a", TEXT, TEXT * 10_000, b"", BINARY, BINARY * 10_000])
async def test_message_comes_back(client, sent):
    await echoed(client, sent)


@pytest.mark.parametrize("parts", [[TEXT] * 50, [BINARY] * 50, ["a", "", "b"], [b"", b""]])
async def test_fragments_come_back_as_one_message(client, parts):
    await echoed(client, parts, type(parts[0])().join(parts))


async def test_large_message_comes_back(client):
    await echoed(client, BINARY * (16 << 12))


async def test_many_messages_come_back_in_their_order(client):
    for number in range(300):
        await client.send(str(number))
    assert [await asyncio.wait_for(client.recv(), WAIT_S) for _ in range(300)] == [str(n) for n in range(300)]


async def test_pings_are_answered_before_the_messages_after_them(client):
    pongs = [await client.ping(str(number)) for number in range(20)]
    await echoed(client, TEXT)
    assert all(pong.done() for pong in pongs)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (3000, "x"), (4999, "ä" * 61)])
async def test_close_is_answered_with_the_same(client, code, reason):
    await client.close(code, reason)
    assert (client.close_code, client.close_reason) == (code, reason)
