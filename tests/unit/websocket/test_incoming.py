"""What the conformance suite and the fuzzing cannot see: when something is refused, and what is held."""

from __future__ import annotations

import zlib

import pytest

from sanic_ws.core.meter import PIECE_BYTES
from sanic_ws.websocket.incoming import BINARY, CLOSE, PING, TEXT, BrokenProtocol, Incoming
from tests.conformance.raw import frame, masked

HEAD = b"\x81\xfe\x01\x00\x01\x02\x03\x04"
"""Of a text of 256 bytes."""


def fed(*pieces: bytes, compressed: bool = False, max_message_bytes: int = 1000) -> Incoming:
    incoming = Incoming(max_message_bytes, compressed=compressed)
    for piece in pieces:
        incoming.feed(piece)
    return incoming


def refused(incoming: Incoming) -> int:
    with pytest.raises(BrokenProtocol) as caught:
        incoming.next()
    return caught.value.code


def test_messages_and_control_frames_come_in_their_order():
    incoming = fed(frame(PING, b"a"), frame(TEXT, b"b", fin=False), frame(PING, b"c"), frame(0, b"d"))
    assert [incoming.next() for _ in range(4)] == [(PING, b"a"), (PING, b"c"), (TEXT, "bd"), None]


def test_it_is_idle_between_messages_only():
    incoming = fed()
    assert incoming.idle
    for piece in (b"\x81", b"\x81\1\2\3\4", b"\x60", frame(TEXT, fin=False), frame(PING)):
        incoming.feed(piece)
        incoming.next()
        assert incoming.idle is (piece == b"\x60")
    incoming.feed(frame(0))
    assert (incoming.next(), incoming.idle) == ((TEXT, ""), True)


def test_too_long_a_message_is_refused_at_its_head():
    assert refused(fed(b"\x82\xfe\x03\xe9\1\2\3\4")) == 1009
    assert refused(fed(b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\2\3\4")) == 1009
    assert refused(fed(frame(BINARY, b"x" * 600, fin=False), frame(0, b"x" * 401)[:8])) == 1009


@pytest.mark.parametrize(
    "head", [b"\x83\x80", b"\xf1\x80", b"\x81\x00", b"\x89\xfe", b"\x09\x80", b"\x80\x80"]
)
def test_broken_frame_is_refused_at_its_first_two_bytes(head):
    assert refused(fed(head)) == 1002


def test_text_that_is_not_utf_8_is_refused_before_the_frame_is_here():
    incoming = fed(HEAD + masked(b"fine", b"\1\2\3\4"))
    assert incoming.next() is None
    incoming.feed(masked(b"\xff", b"\1\2\3\4"))
    assert refused(incoming) == 1007


def test_text_that_ends_within_a_character_is_refused():
    assert refused(fed(frame(TEXT, b"\xc3"))) == 1007


def test_close_is_taken_if_it_is_valid():
    assert fed(frame(CLOSE)).next() == (CLOSE, b"")
    assert fed(frame(CLOSE, b"\x03\xe8bye")).next() == (CLOSE, b"\x03\xe8bye")
    assert refused(fed(frame(CLOSE, b"\x03"))) == 1002
    assert refused(fed(frame(CLOSE, b"\x03\xe8\xff"))) == 1007


def test_bomb_is_refused_at_the_bound_though_its_end_never_comes():
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(bytes(10_000_000)) + deflate.flush()
    incoming = fed(frame(BINARY, bomb, rsv=4)[:100], compressed=True)
    assert refused(incoming) == 1009
    assert len(incoming._message) <= 1000


def test_data_after_the_final_block_are_not_gathered():
    deflate = zlib.compressobj(wbits=-15)
    ended = deflate.compress(b"hello") + deflate.flush()
    incoming = fed(frame(BINARY, ended, rsv=4, fin=False), frame(0, b"junk", fin=False), compressed=True)
    assert refused(incoming) == 1002


def test_compressed_message_of_the_greatest_length_is_taken():
    deflate = zlib.compressobj(wbits=-15)
    data = (deflate.compress(b"x" * 1000) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert fed(frame(BINARY, data, rsv=4), compressed=True).next() == (BINARY, b"x" * 1000)
    assert refused(fed(frame(BINARY, data, rsv=4), compressed=True, max_message_bytes=999)) == 1009


def test_it_weighs_what_it_read():
    incoming = fed(frame(TEXT, b"hello"), frame(PING, b"abc"))
    assert (incoming.next(), incoming.weigh()) == ((TEXT, "hello"), 5)
    assert (incoming.next(), incoming.weigh()) == ((PING, b"abc"), 3)
    assert (incoming.next(), incoming.weigh()) == (None, 0)


def test_tiny_fragment_weighs_more_than_its_bytes():
    incoming = fed(frame(TEXT, b"a", fin=False), frame(0, b"b" * 500, fin=False), frame(0, b"c"))
    incoming.next()
    assert incoming.weigh() == PIECE_BYTES + 501


def test_part_of_a_message_weighs_what_is_here():
    incoming = fed(frame(BINARY, b"x" * 100)[:40])
    assert (incoming.next(), incoming.weigh()) == (None, 34)


def test_compressed_message_weighs_what_it_unfolds_to():
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(b"x" * 900) + packer.flush(zlib.Z_SYNC_FLUSH)
    incoming = fed(frame(TEXT, packed[:-4], rsv=4), compressed=True)
    incoming.next()
    assert len(packed) < 100
    assert 900 <= incoming.weigh() < 910
