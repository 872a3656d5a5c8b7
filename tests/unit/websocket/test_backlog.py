"""A connection whose client reads slowly, between a fake owner and a transport with asyncio's water marks."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.frames import ping_frame, pong_frame
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.waiting import LATE_BYTES, Late
from sanic_ws.websocket.backlog import SLOW_BYTES, slow_bytes
from sanic_ws.websocket.compressed import CompressedConnection
from sanic_ws.websocket.connection import Connection

MAX_QUEUE = 40_000
SLOW = slow_bytes(MAX_QUEUE)
CLOSE, PING = 0x88, 0x89


class Transport:
    """Hold what is written until the client reads it, and tell its protocol as asyncio's transports do."""

    def __init__(self):
        self.protocol: Connection | None = None
        self.frames: list[bytes] = []
        self.size = self.high = self.low = 0
        self.paused = self.closing = False
        self.reading = True

    def write(self, data):
        self.frames.append(data)
        self.size += len(data)
        self._may_pause()

    def set_write_buffer_limits(self, high, low):
        assert 0 <= low <= high
        self.high, self.low = high, low
        self._may_pause()

    def get_write_buffer_size(self):
        return self.size

    def _may_pause(self):
        if self.size > self.high and not self.paused:
            self.paused = True
            self.protocol.pause_writing()

    def read(self) -> bytes | None:
        """Let the client read one frame."""
        if not self.frames:
            return None
        frame = self.frames.pop(0)
        self.size -= len(frame)
        if self.paused and self.size <= self.low:
            self.paused = False
            self.protocol.resume_writing()
        return frame

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = True
        self.frames.clear()

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.closing = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Owner:
    def __init__(self):
        self.stuck_now = self.slow_now = False
        self.left = False
        self.messages: list[str | bytes] = []
        self.closed_with: list[int] = []

    def received(self, connection, message):
        self.messages.append(message)

    def closing(self, code):
        self.closed_with.append(code)

    def leaving(self, connection):
        self.left = True

    def lost(self, connection): ...

    def stuck(self, connection, *, paused):
        self.stuck_now = paused

    def slow(self, connection, *, waits):
        self.slow_now = waits


@dataclass
class Peers:
    connection: Connection = None
    transport: Transport = field(default_factory=Transport)
    owner: Owner = field(default_factory=Owner)
    told: dict[bytes, bool] = field(default_factory=dict)

    def __post_init__(self):
        if self.connection is None:
            self.connection = Connection("c", "1", self.owner, 1000, MAX_QUEUE)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def offer(self, frame: bytes, key: str | None = None, expires: float = inf) -> Answer:
        def ended(sent: bool) -> None:
            assert frame not in self.told
            self.told[frame] = sent

        return self.connection.offer(frame, Late(key, expires, ended))

    def read_all(self) -> list[bytes]:
        return list(iter(self.transport.read, None))

    def make_slow(self, size: int = SLOW + 1) -> bytes:
        frame = b"." * size
        assert self.connection.write(frame)
        return frame


@pytest.fixture
def peers():
    return Peers()


@pytest.fixture
def slow(peers):
    peers.make_slow()
    return peers


def test_client_is_slow_from_a_quarter_of_the_bound_or_64_kb():
    assert (slow_bytes(40_000), slow_bytes(1 << 20)) == (10_000, SLOW_BYTES)


def test_client_that_reads_is_written_to_at_once(peers):
    peers.make_slow(SLOW)
    assert peers.offer(b"a", "k") is Answer.DELIVERED
    assert peers.read_all()[1:] == [b"a"]
    assert (peers.told, peers.connection._backlog) == ({}, None)


def test_only_the_newest_of_a_key_waits(slow):
    for number in range(100):
        assert slow.offer(b"%d" % number, "ab"[number % 2]) is Answer.WAITING
    assert slow.owner.slow_now
    assert slow.read_all()[1:] == [b"98", b"99"]
    assert slow.told == {b"%d" % number: number >= 98 for number in range(100)}


def test_what_waits_stands_in_no_ones_way_once_it_is_written(slow):
    slow.offer(b"a", "k")
    slow.read_all()
    assert (slow.connection._backlog, slow.owner.slow_now) == (None, False)
    assert (slow.transport.high, slow.transport.low) == (MAX_QUEUE, MAX_QUEUE // 4)
    assert slow.offer(b"b", "k") is Answer.DELIVERED
    assert slow.connection.write(b"c")
    assert slow.read_all() == [b"b", b"c"]


def test_plain_frames_wait_behind_what_waits(slow):
    slow.offer(b"a", "k")
    assert slow.connection.write(b"b")
    slow.offer(b"c", "k")
    assert slow.connection.write(b"d")
    assert slow.read_all()[1:] == [b"b", b"c", b"d"]


def test_plain_frames_do_not_wait_for_a_client_that_is_only_slow(slow):
    assert slow.connection.write(b"a")
    assert (slow.transport.frames[1:], slow.connection._backlog) == ([b"a"], None)


def test_oldest_make_room(slow):
    frames = [b"%02d" % number + b"x" * 5000 for number in range(20)]
    assert {slow.offer(frame) for frame in frames} == {Answer.WAITING}
    got = slow.read_all()[1:]
    assert got == frames[-len(got) :]
    assert 3 <= len(got) <= 6
    assert slow.told == {frame: frame in got for frame in frames}


def test_client_that_is_only_behind_with_what_may_be_given_up_is_not_stuck(slow):
    for number in range(1000):
        slow.offer(b"%d" % number)
    assert (slow.owner.stuck_now, slow.transport.reading) == (False, True)


def test_client_for_which_too_much_waits_is_stuck_until_a_quarter_does(slow):
    slow.offer(b"a", "k")
    frame = b"x" * 3000
    while slow.connection.write(frame):
        pass
    assert (slow.owner.stuck_now, slow.transport.reading, slow.connection.writable) == (True, False, False)
    assert not slow.connection.write(b"more")
    got = []
    while slow.owner.stuck_now:
        got.append(slow.transport.read())
    assert slow.transport.reading
    assert slow.connection.write(b"more")
    assert slow.transport.size <= MAX_QUEUE // 4 + len(frame)
    rest = slow.read_all()
    assert [f for f in got + rest if f != frame][-1] == b"more"


def test_plain_frames_take_the_place_of_what_may_be_given_up(slow):
    frames = [b"%02d" % number + b"x" * 5000 for number in range(20)]
    for frame in frames:
        slow.offer(frame)
    before = len([sent for sent in slow.told.values() if not sent])
    assert slow.connection.write(b"y" * 5000)
    assert len([sent for sent in slow.told.values() if not sent]) > before


def test_client_that_is_full_of_plain_frames_is_overloaded(slow):
    slow.offer(b"first", "k")
    while slow.connection.write(b"x" * 3000):
        pass
    assert slow.told == {b"first": False}
    assert slow.offer(b"second", "k") is Answer.OVERLOADED
    assert slow.offer(b"third") is Answer.OVERLOADED
    assert {b"first", b"second", b"third"}.isdisjoint(slow.read_all())
    assert slow.told == {b"first": False}


def test_something_may_wait_for_a_client_whose_transport_was_full(peers):
    while peers.connection.write(b"x" * 3000):
        pass
    assert peers.owner.stuck_now
    assert peers.offer(b"a", "k") is Answer.OVERLOADED
    while peers.transport.size >= MAX_QUEUE:
        peers.transport.read()
    assert peers.offer(b"b", "k") is Answer.WAITING
    while peers.owner.stuck_now:
        peers.transport.read()
    # No later than without anything that waits.
    assert peers.transport.size > MAX_QUEUE // 4 - 3000
    assert peers.read_all()[-1] == b"b"


def test_what_is_too_late_is_not_written(slow):
    slow.offer(b"a", expires=monotonic())
    slow.offer(b"b")
    assert slow.read_all()[1:] == [b"b"]
    assert slow.told == {b"a": False, b"b": True}


def test_what_is_too_late_is_given_up_while_the_client_does_not_read(slow):
    slow.offer(b"a", expires=5)
    slow.connection.expire(4)
    assert slow.told == {}
    slow.connection.expire(5)
    assert slow.told == {b"a": False}


def test_control_frames_do_not_wait(slow):
    slow.offer(b"a", "k")
    slow.connection.ping()
    slow.connection.data_received(b"\x89\x80" + bytes(4))
    assert slow.transport.frames[1:] == [ping_frame(), pong_frame(b"")]


def test_client_that_floods_pings_without_reading_is_stuck(slow):
    slow.offer(b"a", "k")
    for _ in range(MAX_QUEUE):
        slow.connection.data_received(b"\x89\x80" + bytes(4))
    assert (slow.owner.stuck_now, slow.transport.reading) == (True, False)
    assert slow.transport.size <= MAX_QUEUE + 10


@pytest.mark.parametrize("how", ["close", "fail", "client"])
def test_close_comes_behind_plain_frames_and_instead_of_the_rest(slow, how):
    slow.offer(b"a", "k")
    slow.connection.write(b"b")
    slow.offer(b"c")
    slow.connection.write(b"d")
    if how == "close":
        slow.connection.close(4403)
    elif how == "fail":
        slow.connection.fail(CloseCode.POLICY, "")
    else:
        slow.connection.data_received(b"\x88\x80" + bytes(4))
    assert slow.transport.frames[1:-1] == [b"b", b"d"]
    assert slow.transport.frames[-1][0] == CLOSE
    assert slow.told == {b"a": False, b"c": False}
    assert slow.owner.closed_with == {"close": [4403], "fail": [CloseCode.POLICY], "client": []}[how]
    assert (slow.owner.left, slow.owner.slow_now) == (True, False)
    assert slow.offer(b"e") is Answer.OVERLOADED
    assert not slow.connection.write(b"f")


@pytest.mark.parametrize("how", ["abort", "lost", "eof"])
def test_what_waits_for_a_client_that_is_gone_is_not_sent(slow, how):
    slow.offer(b"a", "k")
    if how == "abort":
        slow.connection.abort()
    elif how == "eof":
        slow.connection.eof_received()
    else:
        slow.transport.closing = True
        slow.connection.connection_lost(None)
    assert (slow.told, slow.owner.slow_now) == ({b"a": False}, False)
    assert slow.offer(b"b") is Answer.OVERLOADED


def test_messages_are_read_while_the_client_is_slow(slow):
    slow.offer(b"a", "k")
    slow.connection.data_received(b"\x81\x81" + bytes(4) + b"x")
    assert slow.owner.messages == ["x"]


def test_before_there_is_a_transport_nothing_waits():
    connection = Connection("c", "1", Owner(), 1000, MAX_QUEUE)
    assert connection.offer(b"x", Late(None, inf, print)) is Answer.OVERLOADED


def test_what_waits_is_compressed():
    owner = Owner()
    peers = Peers(CompressedConnection("c", "1", owner, 1000, MAX_QUEUE, 12), owner=owner)
    peers.connection._transport.write(b"." * (SLOW + 1))
    frame = b"\x81\x7e\x01\xf4" + b"x" * 500
    assert peers.offer(frame, "k") is Answer.WAITING
    got = peers.read_all()[1]
    assert (got[0], len(got) < 100) == (0xC1, True)


# Whatever happens

LONGEST = 9000
LENGTHS = st.integers(5, LONGEST)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), LENGTHS),
        st.tuples(st.just("offer"), LENGTHS, st.sampled_from([None, None, "a", "b"])),
        st.tuples(st.just("read"), st.integers(1, 8)),
        st.tuples(st.just("ping")),
    ),
    max_size=120,
)


class Run:
    """Frames with a number each, what was promised of them, and what came."""

    def __init__(self) -> None:
        self.peers = Peers()
        self.frames: dict[int, bytes] = {}
        self.promised: set[int] = set()
        self.refused: set[int] = set()
        self.newest: dict[str, int] = {}
        self.got: list[int] = []

    def _frame(self, length: int) -> tuple[int, bytes]:
        number = len(self.frames)
        self.frames[number] = b"%05d" % number + b"." * (length - 5)
        return number, self.frames[number]

    def write(self, length: int) -> None:
        number, frame = self._frame(length)
        writable = self.peers.connection.writable
        written = self.peers.connection.write(frame)
        assert written is writable
        (self.promised if written else self.refused).add(number)

    def offer(self, length: int, key: str | None) -> None:
        number, frame = self._frame(length)
        answer = self.peers.offer(frame, key)
        if answer is Answer.DELIVERED:
            self.promised.add(number)
        elif answer is Answer.OVERLOADED:
            self.refused.add(number)
        elif key is not None:
            older = self.newest.get(key)
            assert older is None or self.frames[older] in self.peers.told
            self.newest[key] = number

    def read(self, times: int) -> None:
        for _ in range(times):
            self._take(self.peers.transport.read())

    def _take(self, frame: bytes | None) -> None:
        if frame is not None and frame[0] not in (CLOSE, PING):
            self.got.append(int(frame[:5]))

    def ping(self) -> None:
        self.peers.connection.ping()

    def check(self) -> None:
        peers = self.peers
        backlog = peers.connection._backlog
        held = peers.transport.size + (0 if backlog is None else backlog._waiting.bytes)
        assert held <= MAX_QUEUE + LONGEST + LATE_BYTES
        if backlog is not None and len(backlog._waiting):
            assert peers.transport.paused, "nobody would say when to go on"
        assert peers.transport.reading is not peers.owner.stuck_now

    def end(self) -> dict[int, bool]:
        """Have the client read everything; return what was told of frames that waited."""
        for frame in self.peers.read_all():
            self._take(frame)
        return {int(frame[:5]): sent for frame, sent in self.peers.told.items()}


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, closes=st.booleans())
def test_every_frame_is_written_or_given_up_and_the_order_is_kept(steps, closes):
    run = Run()
    for what, *arguments in steps:
        getattr(run, what)(*arguments)
        run.check()
    if closes:
        run.peers.connection.close(4403)
    told = run.end()
    assert run.got == sorted(set(run.got))
    assert set(run.got) == run.promised | {number for number, sent in told.items() if sent}
    assert set(run.frames) == run.promised | run.refused | set(told)
    assert run.peers.connection._backlog is None
    assert closes or not run.peers.owner.stuck_now
