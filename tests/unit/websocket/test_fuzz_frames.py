"""Whatever frames a client sends, cut anywhere, they mean what they mean to `websockets`; junk harms nobody.

``FUZZ_EXAMPLES=10000`` looks longer.
"""

from __future__ import annotations

import codecs
import os
import zlib
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from sanic_ws.core.frames import payload_start, split_frames
from sanic_ws.websocket.compressed import CompressedConnection
from sanic_ws.websocket.connection import Connection
from tests.conformance.raw import frame

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
quick = settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
MAX_MESSAGE = 400

payloads = st.one_of(
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
    st.sampled_from([b"", b"x" * 125, b"x" * 126, b"y" * 127, b"z" * MAX_MESSAGE, b"z" * (MAX_MESSAGE + 1)]),
    st.sampled_from(["ä€𤭢".encode()[:n] for n in range(10)]),
)
closes = st.one_of(
    st.builds(
        lambda code, reason: code.to_bytes(2) + reason,
        st.sampled_from([0, 999, 1000, 1001, 1004, 1005, 1012, 2999, 3000, 4999, 5000]),
        payloads.map(lambda payload: payload[:123]),
    ),
    st.binary(max_size=3),
)
masks = st.binary(min_size=4, max_size=4)


def of_opcodes(*opcodes: int):
    return st.sampled_from(opcodes)


good = st.one_of(
    st.builds(frame, of_opcodes(1, 2), payloads, mask=masks),
    st.builds(frame, of_opcodes(1, 2), payloads, mask=masks, fin=st.just(False)),
    st.builds(frame, st.just(0), payloads, mask=masks, fin=st.booleans()),
    st.builds(frame, of_opcodes(9, 10), payloads.map(lambda payload: payload[:125]), mask=masks),
)
bad = st.one_of(
    st.builds(
        frame,
        st.integers(0, 15),
        payloads,
        mask=masks | st.none(),
        fin=st.booleans(),
        rsv=st.sampled_from([0, 0, 1, 2, 4, 7]),
    ),
    st.builds(frame, st.just(8), closes, mask=masks),
)
sequences = st.builds(
    lambda first, middle, last: [*first, *middle, *last],
    st.lists(good, max_size=8),
    st.lists(bad, max_size=1),
    st.lists(good, max_size=3),
)


@dataclass
class Heard:
    """What a connection made of its input."""

    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    code: int | None = None


class Transport:
    """Takes what is written; after every third write it is full until the test lets it go on."""

    def __init__(self, *, fills_up: bool = False):
        self.written: list[bytes] = []
        self.connection: Connection | None = None
        self.fills_up = fills_up
        self.full = self.reading = False

    def write(self, data):
        self.written.append(bytes(data))
        if self.fills_up and not self.full and len(self.written) % 3 == 0:
            self.full = True
            self.connection.pause_writing()

    def let_go_on(self):
        while self.full:
            self.full = False
            self.connection.resume_writing()

    def set_write_buffer_limits(self, high, low): ...
    def pause_reading(self): ...
    def resume_reading(self): ...
    def write_eof(self): ...
    def close(self): ...

    def can_write_eof(self):
        return True

    def is_closing(self):
        return False


class Owner:
    """Echoes, so that what is written fills the transport."""

    def __init__(self):
        self.messages: list[str | bytes] = []

    def received(self, connection, message):
        self.messages.append(message)
        connection.write(b"\x82\x00")

    def closing(self, code): ...
    def leaving(self, connection): ...
    def lost(self, connection): ...
    def stuck(self, connection, *, paused): ...


def hear(pieces: list[bytes], *, fills_up: bool = False, compressed: bool = False) -> Heard:
    owner, transport = Owner(), Transport(fills_up=fills_up)
    options = ("c", "1", owner, MAX_MESSAGE, 1 << 20)
    connection = CompressedConnection(*options, 12) if compressed else Connection(*options)
    transport.connection = connection
    connection.connection_made(transport)
    for piece in pieces:
        connection.data_received(piece)
        transport.let_go_on()
    heard = Heard(owner.messages)
    for written in split_frames(b"".join(transport.written)):
        payload = written[payload_start(written) :]
        if written[0] == 0x8A:
            heard.pongs.append(payload)
        elif written[0] == 0x88:
            assert heard.code is None, "closed twice"
            heard.code = Close.parse(payload).code
    return heard


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places; taken modulo their length."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def expected(frames: list[bytes]) -> Heard:
    """Ask `websockets`, frame by frame; what it does later or elsewise than it may be done is done here.

    It would hold control frames against the bound of messages, looks at text at its end, and takes no close
    within a message.
    """
    heard, protocol = Heard(), ServerProtocol(state=OPEN, max_size=None)
    message, utf8 = bytearray(), None
    for sent in frames:
        protocol.receive_data(sent)
        if protocol.close_rcvd is not None and utf8 is not None:
            heard.code = protocol.close_rcvd.code
        elif protocol.close_sent is not None:
            heard.code = protocol.close_sent.code
        for event in protocol.events_received():
            if event.opcode is Opcode.PING:
                heard.pongs.append(event.data)
            if event.opcode in CONTROL:
                continue
            if event.opcode is not Opcode.CONT:
                is_text, message = event.opcode is Opcode.TEXT, bytearray()
                utf8 = codecs.getincrementaldecoder("utf-8")("strict" if is_text else "replace")
            message += event.data
            heard.code = 1009 if len(message) > MAX_MESSAGE else wrong_text(utf8, event)
            if event.fin and heard.code is None:
                heard.messages.append(message.decode() if is_text else bytes(message))
                utf8 = None
        if heard.code is not None:
            break
    return heard


CONTROL = frozenset((Opcode.PING, Opcode.PONG, Opcode.CLOSE))


def wrong_text(utf8: codecs.IncrementalDecoder, event: Frame) -> int | None:
    """Return the code for text that is not UTF-8."""
    try:
        utf8.decode(event.data, final=event.fin)
    except UnicodeDecodeError:
        return 1007
    return None


@quick
@given(sequences, st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_frames_mean_the_same_to_websockets(frames, places, fills_up):
    heard = hear(cut(b"".join(frames), places), fills_up=fills_up)
    assert heard == expected(frames)


@quick
@given(sequences)
def test_frames_may_come_octet_by_octet(frames):
    data = b"".join(frames)
    assert hear([bytes([octet]) for octet in data]) == hear([data])


@quick
@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=8), st.booleans(), st.booleans())
def test_junk_is_heard_the_same_however_it_is_cut(data, places, fills_up, compressed):
    whole = hear([data], compressed=compressed)
    assert hear(cut(data, places), fills_up=fills_up, compressed=compressed) == whole


@quick
@given(
    st.lists(st.tuples(st.text(max_size=300), st.integers(0, 9), st.integers(1, 60)), max_size=4),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.booleans(),
)
def test_compressed_messages_come_whole_or_are_too_big(messages, places, fills_up):
    data, wanted = [], Heard()
    for text, level, size in messages:
        deflate = zlib.compressobj(level, wbits=-12)
        packed = (deflate.compress(text.encode("utf-8", "replace")) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
        parts = [packed[start : start + size] for start in range(0, len(packed), size)]
        for n, part in enumerate(parts):
            data.append(frame(0 if n else 1, part, fin=n == len(parts) - 1, rsv=0 if n else 4))
        if wanted.code is None and len(text.encode("utf-8", "replace")) <= MAX_MESSAGE:
            wanted.messages.append(text.encode("utf-8", "replace").decode())
        else:
            wanted.code = 1009
    assert hear(cut(b"".join(data), places), fills_up=fills_up, compressed=True) == wanted


@quick
@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 10_000), max_size=6))
def test_compressed_junk_never_raises_and_is_heard_the_same_however_it_is_cut(data, places):
    sent = frame(2, data, rsv=4)
    whole = hear([sent], compressed=True)
    assert hear(cut(sent, places), compressed=True) == whole
    assert whole.code in {None, 1002, 1009}
    assert len(whole.messages) == (whole.code is None)


@pytest.mark.parametrize("code", [1000, 4999])
def test_what_websockets_is_asked_is_what_it_says(code):
    close = Close(code, "").serialize()
    assert expected([frame(1, b"a", fin=False), frame(8, close), frame(0, b"b")]) == Heard([], [], code)
