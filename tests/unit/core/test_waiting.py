from __future__ import annotations

from math import inf

import pytest

from sanic_ws.core.waiting import FRAME_BYTES, LATE_BYTES, Late, Waiting


class Desk:
    """Frames that wait, and what was told of those that are given up."""

    def __init__(self):
        self.waiting = Waiting()
        self.told: list[tuple[bytes, bool]] = []

    def offer(self, content: bytes, key: str | None = None, expires: float = inf) -> None:
        self.waiting.drop_key(key)
        self.waiting.put(content, Late(key, expires, lambda sent: self.told.append((content, sent))))

    def take_all(self, now: float = 0.0) -> list[bytes]:
        return [frame.content for frame in iter(lambda: self.waiting.take(now), None)]

    @property
    def is_empty(self) -> bool:
        waiting = self.waiting
        return not (len(waiting) or waiting.bytes or waiting.plain_bytes or waiting._late or waiting._keys)


@pytest.fixture
def desk():
    return Desk()


def test_frames_are_taken_in_order(desk):
    desk.waiting.put(b"a")
    desk.offer(b"b", "k")
    desk.offer(b"c")
    desk.waiting.put(b"d")
    assert (desk.take_all(), desk.told, desk.is_empty) == ([b"a", b"b", b"c", b"d"], [], True)


def test_newer_frame_of_a_key_waits_at_the_end_and_the_older_is_given_up(desk):
    desk.offer(b"1", "k")
    desk.offer(b"2", "other")
    desk.waiting.put(b"3")
    desk.offer(b"4", "k")
    assert desk.told == [(b"1", False)]
    assert desk.take_all() == [b"2", b"3", b"4"]


def test_key_is_free_again_when_its_frame_was_taken(desk):
    desk.offer(b"1", "k")
    assert desk.take_all() == [b"1"]
    desk.offer(b"2", "k")
    assert (desk.take_all(), desk.told) == ([b"2"], [])


def test_oldest_that_may_be_given_up_goes_first(desk):
    desk.waiting.put(b"plain")
    desk.offer(b"1")
    desk.offer(b"2", "k")
    assert desk.waiting.drop_oldest()
    assert desk.told == [(b"1", False)]
    assert desk.waiting.drop_oldest()
    assert not desk.waiting.drop_oldest()
    assert desk.take_all() == [b"plain"]


def test_what_is_too_late_is_not_taken(desk):
    desk.offer(b"1", "k", expires=5)
    desk.offer(b"2", expires=6)
    desk.waiting.put(b"3")
    assert desk.take_all(now=5) == [b"2", b"3"]
    assert (desk.told, desk.is_empty) == ([(b"1", False)], True)


def test_what_is_too_late_is_given_up_in_the_middle_as_well(desk):
    desk.waiting.put(b"1")
    desk.offer(b"2", expires=5)
    desk.offer(b"3", "k", expires=6)
    desk.waiting.expire(5)
    assert desk.told == [(b"2", False)]
    assert desk.take_all() == [b"1", b"3"]


def test_frames_are_looked_at_only_when_one_of_them_is_too_late(desk):
    looks = []

    class Time(float):
        def __le__(self, other):
            looks.append(other)
            return float(self) <= other

    for expires in (7, 5, 6):
        desk.offer(b"%d" % expires, expires=Time(expires))
    desk.waiting.expire(4.9)
    assert looks == []
    desk.waiting.expire(5)
    assert (len(looks), desk.told) == (3, [(b"5", False)])
    desk.waiting.expire(5.9)
    assert len(looks) == 3
    desk.waiting.expire(7)
    assert desk.told == [(b"5", False), (b"7", False), (b"6", False)]
    assert desk.is_empty


def test_frame_that_comes_after_others_were_given_up_is_given_up_in_time(desk):
    desk.offer(b"1", expires=5)
    desk.waiting.expire(5)
    desk.offer(b"2", expires=6)
    desk.waiting.expire(6)
    assert desk.told == [(b"1", False), (b"2", False)]


def test_frames_are_counted_with_what_they_cost(desk):
    desk.waiting.put(b"abc")
    desk.offer(b"abcd")
    assert desk.waiting.plain_bytes == 3 + FRAME_BYTES
    assert desk.waiting.bytes == 7 + FRAME_BYTES + LATE_BYTES


def test_at_the_end_the_others_are_left(desk):
    desk.offer(b"1")
    desk.waiting.put(b"2")
    desk.offer(b"3", "k")
    desk.waiting.put(b"4")
    assert list(desk.waiting.end()) == [b"2", b"4"]
    assert desk.told == [(b"1", False), (b"3", False)]
