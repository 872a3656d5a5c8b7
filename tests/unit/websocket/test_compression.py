from __future__ import annotations

import zlib

import pytest
from websockets.exceptions import InvalidHeader

from sanic_ws.core.frames import binary_frame, ping_frame, text_frame
from sanic_ws.websocket import compression
from sanic_ws.websocket.compressed import CompressedConnection, new_connection
from sanic_ws.websocket.compression import Compressor, agree, compressor
from sanic_ws.websocket.connection import Connection
from sanic_ws.websocket.handshake import Accepted
from tests.unit.websocket.test_connection import FakeOwner, FakeTransport

LONG = text_frame(b'{"type":"task_count"}' * 20)


class Settings:
    max_message_bytes = max_queue_bytes = 4096


def unfolded(frame: bytes) -> bytes:
    assert frame[0] & 0x40
    start = 2 if frame[1] < 126 else 4 if frame[1] == 126 else 10
    return zlib.decompressobj(-12).decompress(frame[start:] + b"\0\0\xff\xff")


def opened() -> tuple[Connection, FakeTransport]:
    connection = new_connection(Accepted(b"", 12), "c", "1", FakeOwner(), Settings())
    transport = FakeTransport()
    connection.connection_made(transport)
    return connection, transport


# What is agreed on: more of it in tests/conformance/test_compression.py


def test_no_offer_that_is_known_agrees_on_nothing():
    assert agree("x-other") == (0, "")


def test_window_is_the_smaller_one():
    assert agree("permessage-deflate; server_max_window_bits=10")[0] == 10
    assert agree("permessage-deflate; server_max_window_bits=15")[0] == compression.WINDOW_BITS


def test_offer_that_cannot_be_read_is_no_offer():
    with pytest.raises(InvalidHeader):
        agree("permessage-deflate;;")


# Frames


def test_long_frame_is_compressed_and_unfolds_to_the_same():
    translated = Compressor(12).translate(LONG)
    assert len(translated) < len(LONG) / 4
    assert unfolded(translated) == LONG[4:]
    assert translated[0] == 0xC1


@pytest.mark.parametrize("size", [400, 65535, 65536, 1_000_000])
def test_frame_of_any_length_is_compressed(size):
    frame = binary_frame(b"x" * size)
    assert unfolded(Compressor(12).translate(frame)) == b"x" * size


@pytest.mark.parametrize(
    "frame", [text_frame(b"short"), binary_frame(bytes(range(256))), ping_frame(b"x" * 125), b"\xff" * 200]
)
def test_what_would_gain_nothing_or_is_no_message_stays_as_it_is(frame):
    assert Compressor(12).translate(frame) is frame


def test_frames_that_were_joined_are_compressed_each():
    one = Compressor(12)
    joined = text_frame(b"a") + LONG + ping_frame() + LONG
    assert one.translate(joined) == text_frame(b"a") + one.translate(LONG) + ping_frame() + one.translate(
        LONG
    )


def test_bytes_that_are_no_whole_frames_stay_as_they_are():
    broken = LONG + b"\x81\x7f\x00"
    assert Compressor(12).translate(broken) == broken


def test_frame_that_comes_again_is_compressed_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        zlib, "compressobj", lambda *how, real=zlib.compressobj: made.append(how) or real(*how)
    )
    one = Compressor(12)
    again = bytes(bytearray(LONG))
    assert one.translate(LONG) is one.translate(again)
    assert len(made) == 1


def test_frames_that_are_kept_are_bounded(monkeypatch):
    monkeypatch.setattr(compression, "KEPT_BYTES", 3000)
    one = Compressor(12)
    frames = [binary_frame(b"%d" % number * 1000) for number in range(10)]
    for frame in frames:
        one.translate(frame)
    assert set(one._kept) < set(frames)
    assert sum(len(a) + len(b) for a, b in one._kept.items()) == one._kept_bytes <= 3000
    assert frames[-1] in one._kept


def test_frame_that_is_past_the_bound_alone_is_kept_for_its_push(monkeypatch):
    monkeypatch.setattr(compression, "KEPT_BYTES", 100)
    one = Compressor(12)
    assert one.translate(LONG) is one.translate(LONG)


def test_connections_with_the_same_window_share_a_compressor():
    assert compressor(12) is compressor(12)
    assert compressor(12) is not compressor(9)


# Connections


def test_connection_is_of_the_kind_that_was_agreed_on():
    plain = new_connection(Accepted(b""), "c", "1", FakeOwner(), Settings())
    assert (type(plain), plain.compressed) == (Connection, False)
    assert isinstance(
        new_connection(Accepted(b"", 9), "c", "1", FakeOwner(), Settings()), CompressedConnection
    )


def test_one_compressed_frame_is_written_to_all():
    (first, one), (second, two) = opened(), opened()
    assert first.write(LONG)
    assert second.write(bytes(bytearray(LONG)))
    assert one.written == two.written
    assert unfolded(bytes(one.written)) == LONG[4:]


def test_nothing_is_compressed_for_a_client_that_does_not_read(monkeypatch):
    connection, transport = opened()
    connection.pause_writing()
    monkeypatch.setattr(Compressor, "translate", None)
    assert not connection.write(LONG)
    assert bytes(transport.written) == b""


def test_control_frames_are_never_compressed():
    connection, transport = opened()
    connection.ping()
    connection.close(4403, "k" * 123)
    assert bytes(transport.written[:2]) == ping_frame()
    assert transport.written[2] == 0x88
