"""Compressed messages (RFC 7692): Autobahn's groups 12 and 13, and what is agreed on and refused."""

import asyncio
import zlib
from pathlib import Path

import pytest

from tests.conformance.conftest import MAX_MESSAGE_BYTES
from tests.conformance.deflate import (
    DEFAULT_OFFER,
    NAME,
    Compressed,
    Deflate,
    groups_12_and_13,
    read_agreement,
)
from tests.conformance.raw import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    RawClient,
    fragments,
    frame,
    handshake,
)
from tests.conformance.test_protocol import closed_by_the_client, closed_by_the_node
from tests.servers import LOOPBACK

CASES = groups_12_and_13()
EXTENSIONS = "Sec-WebSocket-Extensions"
AGREED = EXTENSIONS.lower()
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


async def open_compressed(open_raw, node, offer: str = DEFAULT_OFFER, **options):
    client = await open_raw(node, headers={EXTENSIONS: offer}, **options)
    return client, Deflate(client.headers[AGREED])


def test_every_number_is_there_once():
    assert len({case.id for case in CASES}) == len(CASES) == 216


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_case(compressing_node, open_raw, case: Compressed):
    client, deflate = await open_compressed(open_raw, compressing_node, ", ".join(case.offers))
    for kind, payload in case.messages():
        await deflate.send(client, kind, payload, case.fragment)
        answer = await client.next()
        assert (answer.opcode, deflate.decompress(answer) == payload) == (kind, True)
    await closed_by_the_client(client)


# What is agreed on (section 7.1)

BOTH = {"server_no_context_takeover": None, "client_no_context_takeover": None}
BITS = {"server_max_window_bits": "12", "client_max_window_bits": "12"}


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        (NAME, BOTH | {"server_max_window_bits": "12"}),
        (f"{NAME}; client_max_window_bits", BOTH | BITS),
        (f"{NAME}; client_max_window_bits=10", BOTH | BITS | {"client_max_window_bits": "10"}),
        (f"{NAME}; client_max_window_bits=15", BOTH | BITS),
        (f"{NAME}; server_max_window_bits=9", BOTH | {"server_max_window_bits": "9"}),
        (f'{NAME}; server_max_window_bits="10"', BOTH | {"server_max_window_bits": "10"}),
        (f"{NAME}; server_max_window_bits=8, {NAME}", BOTH | {"server_max_window_bits": "12"}),
        (f"{NAME}; what_is_that, {NAME}", BOTH | {"server_max_window_bits": "12"}),
        (f"x-other; a=1, {NAME}", BOTH | {"server_max_window_bits": "12"}),
    ],
)
async def test_first_offer_that_can_be_met_is_agreed_on(compressing_node, open_raw, offer, agreed):
    client = await open_raw(compressing_node, headers={EXTENSIONS: offer})
    assert read_agreement(client.headers[AGREED]) == agreed


@pytest.mark.parametrize(
    "offer",
    [
        "x-other",
        "x-webkit-deflate-frame",
        f"{NAME}; server_max_window_bits=8",
        f"{NAME}; server_max_window_bits=16",
        f"{NAME}; server_max_window_bits=09",
        f"{NAME}; server_max_window_bits",
        f"{NAME}; client_max_window_bits=7",
        f"{NAME}; server_no_context_takeover=1",
        f"{NAME}; server_no_context_takeover; server_no_context_takeover",
        f"{NAME}; what_is_that",
    ],
)
async def test_offer_that_cannot_be_met_leaves_messages_plain(compressing_node, open_raw, offer):
    client = await open_raw(compressing_node, headers={EXTENSIONS: offer})
    assert AGREED not in client.headers
    await client.send(frame(TEXT, b"plain" * 100))
    assert await client.next() == (TEXT, b"plain" * 100, False)
    await client.send(frame(TEXT, b"plain", rsv=4))
    await closed_by_the_node(client, (1002,))


@pytest.mark.parametrize("offer", [";", f"{NAME};", f"{NAME}; =1", f"{NAME} {NAME}", '"', "é"])
async def test_header_that_cannot_be_read_is_400(compressing_node, offer):
    client = RawClient(*await asyncio.open_connection(LOOPBACK, compressing_node.port))
    client.writer.write(handshake("/echo", KEY, {EXTENSIONS: offer}))
    await client.read_answer()
    assert client.status == 400
    await client.close()


async def test_nothing_is_agreed_on_where_compression_is_off(echo_node, open_raw):
    client = await open_raw(echo_node, headers={EXTENSIONS: DEFAULT_OFFER})
    assert AGREED not in client.headers


# Messages (sections 6 and 7.2)


async def test_message_may_be_plain_all_the_same(compressing_node, open_raw):
    client, deflate = await open_compressed(open_raw, compressing_node)
    await client.send(frame(TEXT, b"plain"), *fragments(TEXT, b"in parts", 3))
    assert await client.next() == (TEXT, b"plain", False)
    assert await client.next() == (TEXT, b"in parts", False)
    await deflate.send(client, TEXT, b"compressed")
    assert deflate.decompress(await client.next()) == b"compressed"


async def test_short_and_dense_messages_come_plain_and_long_ones_compressed(compressing_node, open_raw):
    client, deflate = await open_compressed(open_raw, compressing_node)
    for payload, compressed in ((b"x" * 20, False), (b"x" * 2000, True), (bytes(range(256)), False)):
        await deflate.send(client, BINARY, payload)
        answer = await client.next()
        assert (answer.compressed, deflate.decompress(answer)) == (compressed, payload)


async def test_control_frames_between_compressed_fragments_are_plain(compressing_node, open_raw):
    client, deflate = await open_compressed(open_raw, compressing_node)
    first, *rest = fragments(TEXT, deflate.compress(b"hello" * 100), 4, rsv=4)
    await client.send(first, frame(PING, b"plain"), *rest)
    assert await client.next() == (PONG, b"plain", False)
    assert deflate.decompress(await client.next()) == b"hello" * 100


@pytest.mark.parametrize(
    "data",
    [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",  # section 7.2.3.1
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",  # 7.2.3.3: not compressed
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",  # 7.2.3.4: a final block
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",  # 7.2.3.5: two blocks
    ],
)
@pytest.mark.parametrize("chop", [None, 1])
async def test_examples_of_the_rfc_are_read(compressing_node, open_raw, data, chop):
    client, _ = await open_compressed(open_raw, compressing_node)
    await client.send(frame(TEXT, data, rsv=4), chop=chop)
    assert await client.next() == (TEXT, b"Hello", False)


async def test_context_of_the_message_before_is_not_used(compressing_node, open_raw):
    client, _ = await open_compressed(open_raw, compressing_node)
    await client.send(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4))
    assert (await client.next()).payload == b"Hello"
    await client.send(frame(TEXT, b"\xf2\x00\x11\x00\x00", rsv=4))  # section 7.2.3.2
    await closed_by_the_node(client, (1002,))


BAD = zlib.compressobj(wbits=-15)
NOT_UTF_8 = (BAD.compress(b"\xff" * 200) + BAD.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([frame(TEXT, b"\xff\xff\xff", rsv=4)], 1002),
        ([frame(TEXT, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00more", rsv=4)], 1002),
        ([frame(TEXT, b"\xf2\x48", fin=False, rsv=4), frame(CONTINUED, b"\xcd", rsv=4)], 1002),
        ([frame(TEXT, b"plain", fin=False), frame(CONTINUED, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4)], 1002),
        ([frame(PING, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4)], 1002),
        ([frame(CLOSE, b"\x03\xe8", rsv=4)], 1002),
        ([frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=6)], 1002),
        ([frame(TEXT, NOT_UTF_8, rsv=4)], 1007),
        ([frame(TEXT, NOT_UTF_8, rsv=4, fin=False)], 1007),
    ],
    ids=[
        "no deflate",
        "after the final block",
        "bit on a continuation",
        "bit on a plain message's continuation",
        "compressed ping",
        "compressed close",
        "another bit",
        "not UTF-8",
        "not UTF-8, and not the end",
    ],
)
async def test_broken_compression_fails_the_connection(compressing_node, open_raw, sent, code):
    client, _ = await open_compressed(open_raw, compressing_node)
    await client.send(*sent)
    await closed_by_the_node(client, (code,))


async def test_message_of_the_greatest_length_is_taken(compressing_node, open_raw):
    client, deflate = await open_compressed(open_raw, compressing_node)
    await deflate.send(client, BINARY, bytes(MAX_MESSAGE_BYTES))
    assert deflate.decompress(await client.next()) == bytes(MAX_MESSAGE_BYTES)


@pytest.mark.parametrize("fragment", [0, 4096])
async def test_bomb_is_refused_before_it_unfolds(compressing_node, open_raw, fragment):
    client, deflate = await open_compressed(open_raw, compressing_node)
    bomb = deflate.compress(bytes(20 * MAX_MESSAGE_BYTES))
    assert len(bomb) < MAX_MESSAGE_BYTES / 20
    before = peak_kb(compressing_node.pid)
    await client.send(*fragments(BINARY, bomb, fragment or len(bomb), rsv=4))
    await closed_by_the_node(client, (1009,))
    # The greatest message was there before, in several copies.
    assert peak_kb(compressing_node.pid) - before < 3 * MAX_MESSAGE_BYTES // 1024


def peak_kb(pid: int) -> int:
    """Return the most memory that a process has ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
