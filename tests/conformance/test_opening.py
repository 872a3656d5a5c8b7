"""The opening handshake (RFC 6455, section 4.2): subprotocols, and what comes with the request."""

import asyncio

import pytest

from tests.conformance.raw import CLOSE, PONG, TEXT, RawClient, close_payload, fragments, frame, handshake
from tests.servers import LOOPBACK

PROTOCOL = "sec-websocket-protocol"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("v1.example", "v1.example"),
        ("v3.example, v1.example, v2.example", "v1.example"),
        ("v2.example,v1.example", "v2.example"),
        ("v1.example\r\nSec-WebSocket-Protocol: v2.example", "v1.example"),
        ("other\r\nSec-WebSocket-Protocol: v2.example", "v2.example"),
    ],
)
async def test_first_subprotocol_offered_that_is_known_is_chosen(echo_node, open_raw, offered, chosen):
    client = await open_raw(echo_node, headers={PROTOCOL: offered})
    assert client.headers[PROTOCOL] == chosen


@pytest.mark.parametrize("offered", ["other", "V1.example", "v1.example2", "v1", "other, another"])
async def test_nothing_in_common_is_answered_without_a_subprotocol(echo_node, open_raw, offered):
    client = await open_raw(echo_node, headers={PROTOCOL: offered})
    assert PROTOCOL not in client.headers
    await client.send(frame(TEXT, b"all the same"))
    assert await client.next() == (TEXT, b"all the same", False)


async def test_no_subprotocol_is_chosen_where_none_is_offered(echo_node, open_raw):
    assert PROTOCOL not in (await open_raw(echo_node)).headers


@pytest.mark.parametrize("offered", ["v1.example;", "v1 example", '"v1.example"', "é"])
async def test_subprotocols_that_cannot_be_read_are_400(echo_node, offered):
    client = RawClient(*await asyncio.open_connection(LOOPBACK, echo_node.port))
    client.writer.write(handshake("/echo", KEY, {PROTOCOL: offered}))
    await client.read_answer()
    assert client.status == 400
    await client.close()


async def test_key_of_the_rfc_has_the_answer_of_the_rfc(echo_node):
    client = RawClient(*await asyncio.open_connection(LOOPBACK, echo_node.port))
    client.writer.write(handshake("/echo", KEY))
    await client.read_answer()
    assert client.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    await client.close()


async def test_names_and_tokens_may_be_of_any_case(echo_node):
    client = RawClient(*await asyncio.open_connection(LOOPBACK, echo_node.port))
    request = handshake("/echo", KEY).replace(b"Upgrade: websocket", b"uPGRADE: WebSocket")
    client.writer.write(request.replace(b"Connection: Upgrade", b"CONNECTION: keep-alive, upgrade"))
    await client.read_answer()
    assert client.status == 101
    await client.close()


@pytest.mark.parametrize("cut", [0, 1, 5, 9])
async def test_frames_that_come_with_the_request_are_read(echo_node, open_raw, cut):
    first, *rest = fragments(TEXT, b"in the same packet", 9)
    client = await open_raw(echo_node, more=first[: cut or None])
    await client.send(first[cut:] if cut else b"", *rest, frame(9))
    assert await client.next() == (TEXT, b"in the same packet", False)
    assert await client.next() == (PONG, b"", False)


async def test_close_that_comes_with_the_request_is_answered(echo_node, open_raw):
    client = await open_raw(echo_node, more=frame(CLOSE, close_payload(1000)))
    assert await client.next() == (CLOSE, close_payload(1000), False)
    assert await client.ended() == b""
