"""A connection between a fake transport and a fake owner; the client's side is the one of websockets."""

from __future__ import annotations

import pytest
from websockets.frames import Close, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.frames import text_frame
from sanic_ws.core.meter import Excess, Meter, Rates
from sanic_ws.websocket.connection import Connection

MAX_MESSAGE = 1000


class FakeTransport:
    def __init__(self):
        self.written = bytearray()
        self.closing = self.aborted = self.half_closed = False
        self.reading = True
        self.limits: tuple[int, int] | None = None

    def write(self, data):
        self.written += data

    def close(self):
        self.closing = True

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.closing = self.half_closed = True

    def abort(self):
        self.closing = self.aborted = True

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def set_write_buffer_limits(self, high, low):
        self.limits = (high, low)


class FakeOwner:
    def __init__(self):
        self.messages: list[str | bytes] = []
        self.told: list[object] = []
        self.closes: list[int] = []

    def received(self, connection, message):
        self.messages.append(message)

    def flooded(self, connection, excess):
        self.told.append(excess)
        if excess is Excess.CLOSE:
            connection.fail(CloseCode.POLICY, "sends too much")

    def closing(self, code):
        self.closes.append(code)

    def leaving(self, connection):
        self.told.append("leaving")

    def lost(self, connection):
        self.told.append("lost")

    def stuck(self, connection, *, paused):
        self.told.append(("stuck", paused))

    def slow(self, connection, *, waits):
        self.told.append(("slow", waits))


class Peers:
    """A connection and its client."""

    def __init__(self):
        self.transport = FakeTransport()
        self.owner = FakeOwner()
        self.connection = Connection("c", "1", self.owner, MAX_MESSAGE, 4096)
        self.connection.connection_made(self.transport)
        self.client = Protocol(CLIENT, state=OPEN)

    def send(self) -> None:
        """Hand over what the client has written."""
        for data in self.client.data_to_send():
            if data:
                self.connection.data_received(data)

    def frames(self):
        """Return what the client got."""
        self.client.receive_data(bytes(self.transport.written))
        self.transport.written.clear()
        return self.client.events_received()

    def close_code(self) -> int:
        (frame,) = [frame for frame in self.frames() if frame.opcode is Opcode.CLOSE]
        return Close.parse(frame.data).code


@pytest.fixture
def peers():
    return Peers()


def masked(head: bytes, payload: bytes = b"") -> bytes:
    """Build a client's frame by hand, with a mask of zeros."""
    return head[:1] + bytes([len(payload) | 0x80]) + bytes(4) + payload


# Messages


def test_text_message_comes_as_text(peers):
    peers.client.send_text("hällo".encode())
    peers.send()
    assert peers.owner.messages == ["hällo"]


def test_binary_message_comes_as_bytes(peers):
    peers.client.send_binary(b"\xff\x00")
    peers.send()
    assert peers.owner.messages == [b"\xff\x00"]
    assert isinstance(peers.owner.messages[0], bytes)


def test_empty_messages_are_messages(peers):
    peers.client.send_text(b"")
    peers.client.send_binary(b"")
    peers.send()
    assert peers.owner.messages == ["", b""]


def test_bytes_may_come_one_by_one(peers):
    for byte in masked(b"\x81", b"hello"):
        peers.connection.data_received(bytes([byte]))
    assert peers.owner.messages == ["hello"]


def test_many_messages_may_come_at_once(peers):
    peers.connection.data_received(b"".join(masked(b"\x81", bytes([c])) for c in b"abc"))
    assert peers.owner.messages == ["a", "b", "c"]


def test_fragments_are_one_message(peers):
    peers.client.send_text(b"one ", fin=False)
    peers.client.send_continuation(b"two ", fin=False)
    peers.client.send_continuation(b"three", fin=True)
    peers.send()
    assert peers.owner.messages == ["one two three"]


def test_binary_fragments_are_one_message_of_bytes(peers):
    peers.client.send_binary(b"\x00", fin=False)
    peers.client.send_continuation(b"\xff", fin=True)
    peers.send()
    assert peers.owner.messages == [b"\x00\xff"]


def test_character_may_be_cut_by_fragments(peers):
    peers.client.send_text("ä".encode()[:1], fin=False)
    peers.client.send_continuation("ä".encode()[1:], fin=True)
    peers.send()
    assert peers.owner.messages == ["ä"]


def test_ping_between_fragments_is_answered_and_harms_nothing(peers):
    peers.client.send_text(b"a", fin=False)
    peers.client.send_ping(b"p")
    peers.client.send_continuation(b"b", fin=True)
    peers.send()
    (pong,) = peers.frames()
    assert (pong.opcode, pong.data, peers.owner.messages) == (Opcode.PONG, b"p", ["ab"])


def test_fragmented_message_is_followed_by_a_whole_one(peers):
    peers.client.send_text(b"a", fin=False)
    peers.client.send_continuation(b"", fin=True)
    peers.client.send_text(b"b")
    peers.send()
    assert peers.owner.messages == ["a", "b"]


def test_pong_is_a_sign_of_life_and_no_message(peers):
    peers.connection.silent_beats = 3
    peers.client.send_pong(b"")
    peers.send()
    assert (peers.connection.silent_beats, peers.owner.messages) == (0, [])


# What the client does wrong


@pytest.mark.parametrize(
    "frames",
    [
        masked(b"\x81", b"\xff"),
        masked(b"\x81", b"\xed\xa0\x80"),
        masked(b"\x01", b"\xc3") + masked(b"\x80", b"("),
        masked(b"\x81", b"\xc3"),
    ],
)
def test_text_that_is_not_utf_8_closes_with_1007(peers, frames):
    peers.connection.data_received(frames)
    assert peers.close_code() == 1007
    assert (peers.owner.messages, peers.owner.told) == ([], ["leaving"])


def test_message_of_the_greatest_length_comes(peers):
    peers.client.send_text(b"x" * MAX_MESSAGE)
    peers.send()
    assert peers.owner.messages == ["x" * MAX_MESSAGE]


def test_message_that_is_too_long_closes_with_1009(peers):
    peers.client.send_text(b"x" * (MAX_MESSAGE + 1))
    peers.send()
    assert peers.close_code() == 1009
    assert peers.owner.messages == []


def test_fragments_that_are_too_long_together_close_with_1009(peers):
    for number in range(4):
        frame = Opcode.TEXT if number == 0 else Opcode.CONT
        peers.connection.data_received(masked(bytes([frame]), b"x" * 100))
    for _ in range(20):
        peers.connection.data_received(masked(b"\x00", b"x" * 100))
    assert peers.close_code() == 1009
    assert peers.owner.told == ["leaving"]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x01a",
        masked(b"\x80", b"a"),
        masked(b"\x00", b"a"),
        masked(b"\x83", b"a"),
        masked(b"\xc1", b"a"),
        masked(b"\x09", b"a"),
        b"\x89\xfe\x00\x7e" + bytes(4) + bytes(126),
        masked(b"\x01", b"a") + masked(b"\x81", b"b"),
        masked(b"\x88", b"\x03"),
        masked(b"\x88", b"\x00\x00"),
        masked(b"\x88", b"\x03\xed"),
    ],
    ids=[
        "not masked",
        "nothing to continue",
        "nothing to continue, not the end",
        "unknown opcode",
        "reserved bit",
        "fragmented ping",
        "long ping",
        "message within a message",
        "close with half a code",
        "close code 0",
        "close code 1005",
    ],
)
def test_broken_protocol_closes_with_1002(peers, frame):
    peers.connection.data_received(frame)
    assert peers.close_code() == 1002
    assert peers.owner.told == ["leaving"]


def test_nothing_is_read_after_a_failure(peers):
    peers.connection.data_received(masked(b"\x83", b"a") + masked(b"\x81", b"late"))
    peers.connection.data_received(masked(b"\x81", b"later"))
    assert (peers.owner.messages, peers.owner.told) == ([], ["leaving"])


def test_nothing_is_read_after_bad_utf_8(peers):
    peers.connection.data_received(masked(b"\x81", b"\xff") + masked(b"\x81", b"late"))
    peers.connection.data_received(masked(b"\x81", b"later"))
    assert (peers.owner.messages, peers.owner.told) == ([], ["leaving"])


# Output


def test_frame_is_written_as_it_is(peers):
    assert peers.connection.write(text_frame(b"hello"))
    assert bytes(peers.transport.written) == text_frame(b"hello")


def test_bound_of_the_queue_is_the_transports(peers):
    assert peers.transport.limits == (4096, 1024)


def test_nothing_is_written_before_there_is_a_transport():
    connection = Connection("c", "1", FakeOwner(), MAX_MESSAGE, 4096)
    assert not connection.write(b"x")
    connection.ping()
    connection.close(4403)
    assert connection.left


def test_ping_is_an_empty_ping(peers):
    peers.connection.ping()
    (frame,) = peers.frames()
    assert (frame.opcode, frame.data) == (Opcode.PING, b"")


def test_client_that_does_not_read_gets_no_more_and_is_not_read(peers):
    peers.connection.pause_writing()
    assert not peers.connection.write(b"x")
    peers.connection.ping()
    assert (bytes(peers.transport.written), peers.transport.reading) == (b"", False)
    assert peers.owner.told == [("stuck", True)]


def test_client_that_reads_again_goes_on(peers):
    peers.connection.pause_writing()
    peers.connection.resume_writing()
    assert peers.connection.write(b"x")
    assert peers.transport.reading
    assert peers.owner.told == [("stuck", True), ("stuck", False)]


def test_closing_transport_is_not_read_again(peers):
    peers.connection.pause_writing()
    peers.transport.closing = True
    peers.connection.resume_writing()
    assert not peers.transport.reading


# The end


def test_close_sends_code_and_reason_and_leaves(peers):
    peers.connection.close(4403, "kicked")
    (frame,) = peers.frames()
    assert Close.parse(frame.data) == Close(4403, "kicked")
    assert (peers.connection.left, peers.owner.told, peers.transport.closing) == (True, ["leaving"], False)


def test_nothing_is_written_after_close(peers):
    peers.connection.close(4403)
    peers.transport.written.clear()
    assert not peers.connection.write(b"x")
    peers.connection.ping()
    assert bytes(peers.transport.written) == b""


def test_closing_twice_is_closing_once(peers):
    peers.connection.close(4403)
    peers.connection.close(4409)
    assert len(peers.frames()) == 1
    assert peers.owner.told == ["leaving"]


def test_socket_closes_when_the_client_has_answered_the_close(peers):
    peers.connection.close(4403)
    peers.frames()
    peers.send()
    assert peers.transport.closing


def test_no_message_comes_after_close(peers):
    peers.connection.close(4403)
    peers.client.send_text(b"late")
    peers.send()
    assert peers.owner.messages == []


def test_clients_close_is_answered_and_the_socket_closed(peers):
    peers.client.send_close(1000, "bye")
    peers.send()
    assert peers.close_code() == 1000
    assert (peers.owner.told, peers.transport.closing) == (["leaving"], True)


def test_messages_before_a_close_still_come(peers):
    peers.client.send_text(b"last")
    peers.client.send_close(1000)
    peers.send()
    assert peers.owner.messages == ["last"]


def test_end_of_input_closes(peers):
    assert peers.connection.eof_received() is False
    assert (peers.connection.left, peers.owner.told) == (True, ["leaving"])


def test_lost_socket_leaves_first(peers):
    peers.connection.connection_lost(None)
    assert peers.owner.told == ["leaving", "lost"]
    assert not peers.connection.write(b"x")


def test_lost_socket_after_close_leaves_once(peers):
    peers.connection.close(1012)
    peers.connection.connection_lost(ConnectionResetError())
    assert peers.owner.told == ["leaving", "lost"]
    peers.connection.close(4403)
    peers.connection.abort()


def test_abort_drops_the_socket(peers):
    peers.connection.abort()
    assert (peers.transport.aborted, peers.owner.told) == (True, ["leaving"])


def test_abort_without_a_transport_leaves():
    owner = FakeOwner()
    connection = Connection("c", "1", owner, MAX_MESSAGE, 4096)
    connection.abort()
    assert (connection.left, owner.told) == (True, ["leaving"])


def test_close_from_within_a_message_is_safe(peers):
    peers.owner.received = lambda connection, message: connection.close(1008)
    peers.client.send_text(b"a")
    peers.client.send_text(b"b")
    peers.send()
    assert peers.close_code() == 1008
    assert peers.owner.told == ["leaving"]


def test_abort_from_within_a_message_is_safe(peers):
    peers.owner.received = lambda connection, message: connection.abort()
    peers.connection.data_received(masked(b"\x81", b"a") + masked(b"\x81", b"b"))
    assert peers.owner.told == ["leaving"]


def test_pong_comes_before_the_answer_to_a_later_message(peers):
    peers.owner.received = lambda connection, message: connection.write(text_frame(b"echo"))
    peers.connection.data_received(masked(b"\x89", b"p") + masked(b"\x81", b"a"))
    assert [frame.opcode for frame in peers.frames()] == [Opcode.PONG, Opcode.TEXT]


def test_close_may_come_within_a_message(peers):
    peers.connection.data_received(masked(b"\x01", b"a") + masked(b"\x88", b"\x03\xe8"))
    assert peers.close_code() == 1000
    assert (peers.owner.messages, peers.transport.closing, peers.transport.half_closed) == ([], True, False)


def test_what_came_before_the_client_stopped_reading_is_answered_after(peers):
    peers.owner.received = lambda connection, message: connection.pause_writing()
    peers.connection.data_received(b"".join(masked(b"\x81", bytes([c])) for c in b"abc"))
    peers.owner.received = lambda connection, message: peers.owner.messages.append(message)
    peers.connection.data_received(masked(b"\x81", b"d"))
    assert peers.owner.messages == []
    peers.connection.resume_writing()
    assert peers.owner.messages == ["b", "c", "d"]


def test_answer_to_a_close_is_read_though_the_client_had_stopped_reading(peers):
    peers.connection.pause_writing()
    peers.connection.close(4408)
    peers.connection.data_received(masked(b"\x81", b"late") + masked(b"\x88", b"\x11\x38"))
    assert (peers.transport.closing, peers.owner.messages) == (True, [])


def test_nothing_is_held_between_messages(peers):
    peers.client.send_text(b"a", fin=False)
    peers.client.send_continuation(b"b", fin=True)
    peers.client.send_ping(b"")
    peers.send()
    assert peers.connection._incoming is None


def test_pings_of_a_client_that_does_not_read_make_nothing_grow(peers):
    peers.connection.pause_writing()
    for _ in range(50):
        peers.client.send_ping(b"p" * 100)
    peers.send()
    peers.connection.resume_writing()
    assert len(peers.transport.written) <= 50 * 102


@pytest.mark.parametrize("size", [1, 7, 64])
def test_long_fragmented_message_comes_whole_however_it_is_cut(peers, size):
    data = masked(b"\x01", b"a" * 100) + masked(b"\x00", b"b" * 100) + masked(b"\x80", b"c" * 100)
    for start in range(0, len(data), size):
        peers.connection.data_received(data[start : start + size])
    assert peers.owner.messages == ["a" * 100 + "b" * 100 + "c" * 100]


@pytest.mark.parametrize(
    ("sent", "half_closed"), [(b"\xc1\x80\0\0\0\0", True), (b"\x88\x82\0\0\0\0\x03\xe8", False)]
)
def test_socket_is_closed_at_once_only_after_the_client_has_said_goodbye(sent, half_closed):
    transport = FakeTransport()
    connection = Connection("c", "1", FakeOwner(), 1 << 20, 1 << 20)
    connection.connection_made(transport)
    connection.data_received(sent)
    assert transport.half_closed is half_closed


# More than a client may send


@pytest.fixture
def limited(peers, monkeypatch):
    """May send 4 messages or control frames at once; the clock stands still."""
    monkeypatch.setattr("sanic_ws.websocket.connection.time.monotonic", lambda: 1000.0)
    peers.connection.meter = Meter(Rates(2, 1_000_000, MAX_MESSAGE))
    return peers


def of_bytes(peers, bytes_per_s):
    peers.connection.meter = Meter(Rates(0, bytes_per_s, MAX_MESSAGE))


def test_message_over_the_limit_is_dropped_and_the_owner_told(limited):
    limited.connection.data_received(b"".join(masked(b"\x81", bytes([c])) for c in b"abcdef"))
    assert limited.owner.messages == ["a", "b", "c", "d"]
    assert limited.owner.told == [Excess.TELL, Excess.DROP]


def test_messages_in_fragments_count_alike(limited):
    for c in b"abcdef":
        limited.connection.data_received(masked(b"\x01", bytes([c])) + masked(b"\x80"))
    assert limited.owner.messages == ["a", "b", "c", "d"]


def test_pings_over_the_limit_are_not_answered(limited):
    limited.connection.data_received(b"".join(masked(b"\x89", bytes([c])) for c in b"abcdef"))
    assert [frame.data for frame in limited.frames()] == [b"a", b"b", b"c", b"d"]


def test_pongs_count_too(limited):
    limited.connection.data_received(masked(b"\x8a") * 5 + masked(b"\x81", b"a"))
    assert (limited.owner.messages, limited.owner.told[0]) == ([], Excess.TELL)


def test_flood_ends_with_1008_and_nothing_is_read_after_it(limited):
    for _ in range(100):
        limited.connection.data_received(masked(b"\x81", b"a"))
    assert limited.close_code() == 1008
    assert limited.transport.half_closed
    assert limited.owner.messages == ["a"] * 4
    assert limited.owner.told[-2:] == [Excess.CLOSE, "leaving"]
    assert limited.connection._incoming is None


@pytest.mark.parametrize("piece", [masked(b"\x89"), masked(b"\x8a"), masked(b"\x01") + masked(b"\x80")])
def test_flood_of_anything_in_one_read_ends_with_1008(limited, piece):
    limited.connection.data_received(piece * 100)
    assert limited.close_code() == 1008
    assert limited.owner.told.count(Excess.CLOSE) == 1


def test_clients_close_is_answered_though_it_sent_too_much(limited):
    limited.connection.data_received(masked(b"\x81", b"a") * 10 + masked(b"\x88", b"\x03\xe8"))
    assert limited.close_code() == 1000
    assert limited.transport.closing


def test_bytes_count_whole_and_cut(limited):
    of_bytes(limited, 1000)
    message = masked(b"\x82", b"x" * 100)
    limited.connection.data_received(message * 10)
    for start in range(0, len(message), 40):
        limited.connection.data_received(message[start : start + 40])
    assert len(limited.owner.messages) == 11
    limited.connection.data_received(message * 10)
    assert 11 < len(limited.owner.messages) < 20


@pytest.mark.parametrize("size", [300, 2000])
def test_message_of_the_greatest_length_comes_in_whatever_pieces(limited, size):
    of_bytes(limited, 10)
    limited.client.send_text(b"x" * MAX_MESSAGE)
    data = b"".join(limited.client.data_to_send())
    for start in range(0, len(data), size):
        limited.connection.data_received(data[start : start + size])
    assert limited.owner.messages == ["x" * MAX_MESSAGE]


@pytest.mark.parametrize("cut", [False, True])
def test_endless_empty_fragments_end_with_1008(limited, cut):
    of_bytes(limited, 1 << 14)
    limited.connection.data_received(masked(b"\x01"))
    for _ in range(2000):
        if cut:
            limited.connection.data_received(masked(b"\x00")[:1])
            limited.connection.data_received(masked(b"\x00")[1:])
        else:
            limited.connection.data_received(masked(b"\x00") * 10)
    assert limited.close_code() == 1008


def test_closed_client_that_floods_is_read_no_more(limited):
    limited.connection.close(4403)
    limited.connection.data_received(masked(b"\x89") * 100)
    assert limited.transport.half_closed
    assert limited.close_code() == 4403


def test_without_a_limit_nothing_is_counted(peers):
    peers.connection.data_received(masked(b"\x81", b"a") * 10_000)
    assert (len(peers.owner.messages), peers.owner.told) == (10_000, [])
