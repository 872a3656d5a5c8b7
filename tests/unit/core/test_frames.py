from __future__ import annotations

import pytest
from websockets.frames import Close, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from sanic_ws.core.frames import (
    binary_frame,
    close_frame,
    compressed_frame,
    payload_bytes,
    payload_start,
    ping_frame,
    pong_frame,
    repeated_close_frame,
    split_frames,
    text_frame,
)


def read(data: bytes):
    client = Protocol(CLIENT, state=OPEN)
    client.receive_data(data)
    (frame,) = client.events_received()
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_text_of_any_length_is_one_whole_frame(size):
    frame = read(text_frame(b"x" * size))
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, b"x" * size)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("frame", [text_frame, binary_frame])
def test_length_of_the_payload_is_known(frame, size):
    assert payload_bytes(frame(b"x" * size)) == size


@pytest.mark.parametrize(("size", "head"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_length_takes_the_fewest_bytes(size, head):
    assert len(binary_frame(b"x" * size)) == head + size


def test_binary_frame_is_binary():
    frame = read(binary_frame(b"\xff\x00"))
    assert (frame.opcode, frame.data) == (Opcode.BINARY, b"\xff\x00")


def test_ping_carries_its_payload():
    assert (read(ping_frame(b"p")).opcode, read(ping_frame(b"p")).data) == (Opcode.PING, b"p")
    assert ping_frame() == b"\x89\x00"


def test_close_carries_code_and_reason():
    assert Close.parse(read(close_frame(4403, "kicked")).data) == Close(4403, "kicked")


def test_reason_is_cut_to_what_fits_a_control_frame():
    assert len(read(close_frame(4403, "x" * 200)).data) == 125


def test_cut_reason_is_still_utf_8():
    Close.parse(read(close_frame(4403, "€" * 50)).data)
    assert Close.parse(read(close_frame(4403, "ab" + "€" * 50)).data).reason == "ab" + "€" * 40


def test_pong_carries_the_pings_payload():
    assert (read(pong_frame(b"p")).opcode, read(pong_frame(b"p")).data) == (Opcode.PONG, b"p")


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye"])
def test_close_is_answered_with_the_same(payload):
    assert (read(repeated_close_frame(payload)).opcode, read(repeated_close_frame(payload)).data) == (
        Opcode.CLOSE,
        payload,
    )


def test_compressed_frame_has_its_bit_set():
    assert compressed_frame(text_frame(b"long"), b"x") == b"\xc1\x01x"


FRAMES = [text_frame(b""), binary_frame(b"x" * 126), ping_frame(), text_frame(b"x" * 65536), text_frame(b"a")]


@pytest.mark.parametrize("frames", [[], FRAMES, FRAMES[:1], FRAMES[3:]])
def test_frames_that_were_joined_are_cut_apart(frames):
    assert split_frames(b"".join(frames)) == frames


@pytest.mark.parametrize("frame", FRAMES)
def test_payload_starts_behind_the_head(frame):
    joined = b"\x81\x00" + frame
    assert joined[payload_start(joined, 2) :] == read(frame).data


@pytest.mark.parametrize("cut", [1, 3, 12, 65538])
def test_bytes_that_are_no_whole_frames_are_none(cut):
    assert split_frames(b"\x81\x00" + text_frame(b"x" * 65536)[:cut]) == []
