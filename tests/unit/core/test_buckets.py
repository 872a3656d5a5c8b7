from __future__ import annotations

import pytest

from sanic_ws.core.buckets import Bucket, Buckets

START = 123_456.789


def taken(bucket: Bucket, now: float, tries: int = 10_000) -> int:
    """Take until there is nothing left; return how many there were."""
    return next((n for n in range(tries) if not bucket.take(now)), tries)


@pytest.mark.parametrize("per_s", [1, 3, 7, 50, 2000])
def test_second_s_worth_comes_at_once_and_no_more(per_s):
    bucket = Bucket(per_s)
    assert taken(bucket, START) == per_s
    assert taken(bucket, START) == 0
    assert taken(bucket, START + 1) == per_s


def test_it_fills_with_time_and_never_beyond_its_size():
    bucket = Bucket(10)
    taken(bucket, START)
    assert [taken(bucket, START + s) for s in (0.04, 0.1, 0.2, 0.75, 100)] == [0, 1, 1, 5, 10]


def test_over_a_long_time_it_lets_its_rate_through():
    bucket = Bucket(50)
    assert sum(bucket.take(START + n / 1000) for n in range(100_000)) == pytest.approx(50 * 101, abs=2)


def test_what_is_refused_takes_nothing():
    bucket = Bucket(10)
    assert taken(bucket, START) == 10
    assert not any(bucket.take(START + 0.01) for _ in range(1000))
    assert taken(bucket, START + 1) == 10


def test_without_a_limit_there_is_always_one():
    assert taken(Bucket(0), START) == 10_000
    buckets = Buckets(0)
    assert all(buckets.take("a", START) for _ in range(1000))
    assert len(buckets) == 0


def test_clock_that_stands_still_or_goes_back_gives_nothing():
    bucket = Bucket(2)
    assert [bucket.take(START - n / 10) for n in range(4)] == [True, True, False, False]


def test_each_key_has_its_own():
    buckets = Buckets(2)
    assert [buckets.take(key, START) for key in "aaabab"] == [True, True, False, True, False, True]


def test_only_those_that_are_not_full_are_kept():
    buckets = Buckets(2)
    for number in range(1000):
        buckets.take(str(number), START + number / 100)
    assert len(buckets) <= 101
    buckets.take("later", START + 100)
    assert len(buckets) == 1


def test_one_that_is_used_again_does_not_keep_the_others():
    buckets = Buckets(10)
    for number in range(1000):
        buckets.take("always", START + number / 10)
        buckets.take(str(number), START + number / 10)
    assert len(buckets) <= 15
