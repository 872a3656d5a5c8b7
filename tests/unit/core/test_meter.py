from __future__ import annotations

import pytest

from sanic_ws.core.meter import Excess, Meter, Rates

START = 123_456.789
MAX_MESSAGE = 1 << 20


def metered(messages: int = 100, size: int = 1 << 20, max_message: int = MAX_MESSAGE) -> Meter:
    return Meter(Rates(messages, size, max_message))


def passed(meter: Meter, now: float, size: int = 0, tries: int = 100_000) -> int:
    """Send until something is dropped; return how many went through."""
    return next((n for n in range(tries) if meter.over(size, now) is not None), tries)


@pytest.mark.parametrize("per_s", [1, 3, 100, 9973])
def test_two_seconds_worth_of_messages_come_at_once(per_s):
    meter = metered(per_s)
    assert passed(meter, START) == 2 * per_s
    assert passed(meter, START + 1) == per_s
    assert passed(meter, START + 100) == 2 * per_s


@pytest.mark.parametrize("size", [100, 1000, 1 << 20])
def test_two_seconds_worth_of_bytes_come_at_once(size):
    assert passed(metered(0), START, size) == (2 << 20) // size


def test_message_of_the_greatest_length_comes_however_few_bytes_are_allowed():
    meter = metered(size=1000)
    assert meter.over(MAX_MESSAGE, START) is None
    assert meter.over(1, START) is Excess.TELL
    assert meter.over(MAX_MESSAGE, START + MAX_MESSAGE / 1000) is None


def test_what_is_dropped_takes_nothing():
    meter = metered(10)
    assert passed(meter, START) == 20
    assert [meter.over(0, START + n / 10) for n in range(1, 6)] == [None] * 5


def test_client_that_sends_a_little_too_much_loses_that_little_and_is_never_closed():
    meter = metered(100)
    sent = [meter.over(10, START + n / 150) for n in range(150 * 600)]
    assert Excess.CLOSE not in sent
    assert sent.count(None) == pytest.approx(100 * 602, abs=5)


def test_it_is_told_once_a_second():
    meter = metered(100)
    sent = [meter.over(10, START + n / 150) for n in range(150 * 600)]
    assert 590 <= sent.count(Excess.TELL) <= 600


def test_first_that_is_dropped_is_told():
    meter = metered(1, size=1000)
    assert meter.over(MAX_MESSAGE, START) is None
    assert [meter.over(MAX_MESSAGE, START) for _ in range(3)] == [Excess.TELL, Excess.CLOSE, Excess.CLOSE]


@pytest.mark.parametrize("per_s", [1, 100])
def test_flood_is_closed_when_ten_seconds_worth_are_dropped(per_s):
    meter = metered(per_s)
    sent = [meter.over(0, START) for _ in range(20 * per_s)]
    assert sent.index(Excess.CLOSE) == pytest.approx(12 * per_s, abs=2)


def test_flood_of_bytes_is_closed_too():
    meter = metered(0)
    sent = [meter.over(1 << 16, START) for _ in range(1000)]
    assert sent.index(Excess.CLOSE) == pytest.approx(12 * 16, abs=2)


def test_client_that_heeds_it_begins_anew():
    meter = metered(100)
    for round_ in range(20):
        sent = [meter.over(0, START + 20 * round_) for _ in range(1000)]
        assert Excess.CLOSE not in sent
        assert sent.count(None) == 200


def test_part_of_a_message_is_bytes_and_no_message():
    meter = metered(1, size=100, max_message=1000)
    assert all(meter.over(10, START, messages=0) is None for _ in range(100))
    assert meter.over(10, START, messages=0) is Excess.TELL
    assert meter.over(0, START) is None


@pytest.mark.parametrize(("messages", "size"), [(0, 0), (0, 100), (100, 0)])
def test_without_a_limit_there_is_none(messages, size):
    meter = metered(messages, size, max_message=100)
    sent = 0 if size else 1 << 30
    assert passed(meter, START, sent, tries=1000) == (200 if messages else 1000)
