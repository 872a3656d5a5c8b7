from __future__ import annotations

import pytest
from websockets.frames import Close, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from sanic_ws.core.frames import binary_frame, close_frame, ping_frame, text_frame


def read(data: bytes):
    client = Protocol(CLIENT, state=OPEN)
    client.receive_data(data)
    (frame,) = client.events_received()
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_text_of_any_length_is_one_whole_frame(size):
    frame = read(text_frame(b"x" * size))
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, b"x" * size)


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
