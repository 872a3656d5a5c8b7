"""What a connection writes: straight to its transport, or behind what waits."""

from __future__ import annotations

from math import inf

import pytest

from sanic_ws.core.outcomes import Answer
from sanic_ws.core.waiting import Late
from sanic_ws.websocket.backlog import slow_bytes
from sanic_ws.websocket.output import Output

MAX_QUEUE = 4096
LATE = Late(None, inf, lambda sent: None)


class Transport:
    def __init__(self):
        self.written: list[bytes] = []
        self.waits = 0
        self.limits = (0, 0)

    def set_write_buffer_limits(self, high, low):
        self.limits = (high, low)

    def get_write_buffer_size(self):
        return self.waits

    def write(self, data):
        self.written.append(data)


class Told(Output):
    """Keep what is told."""

    def __init__(self):
        super().__init__(MAX_QUEUE)
        self.told: list[tuple[str, bool]] = []

    def _filled(self, *, full):
        self.told.append(("full", full))

    def _slowed(self, *, waits):
        self.told.append(("waits", waits))


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def output(transport):
    output = Told()
    output.connection_made(transport)
    return output


def test_without_a_transport_nothing_is_written():
    output = Told()
    assert (output.writable, output.write(b"a"), output.offer(b"b", LATE)) == (
        False,
        False,
        Answer.OVERLOADED,
    )


def test_transport_is_full_at_the_bound(transport, output):
    assert transport.limits == (MAX_QUEUE, MAX_QUEUE // 4)


def test_client_that_reads_is_written_to_at_once(transport, output):
    assert (output.write(b"a"), output.offer(b"b", LATE)) == (True, Answer.DELIVERED)
    assert (transport.written, output.told) == ([b"a", b"b"], [])


def test_client_that_is_full_gets_nothing_until_it_reads(transport, output):
    output.pause_writing()
    assert (output.write(b"a"), output.writable) == (False, False)
    output.resume_writing()
    assert (output.write(b"b"), output.writable) == (True, True)
    assert (transport.written, output.told) == ([b"b"], [("full", True), ("full", False)])


def test_slow_client_is_one_for_which_something_waits(transport, output):
    transport.waits = slow_bytes(MAX_QUEUE) + 1
    assert output.offer(b"a", LATE) is Answer.WAITING
    assert output.told == [("waits", True)]


def test_control_frames_are_written_ahead_of_what_waits(transport, output):
    transport.waits = slow_bytes(MAX_QUEUE) + 1
    output.offer(b"a", LATE)
    output.ping()
    assert len(transport.written) == 1
    assert transport.written[0][0] == 0x89
