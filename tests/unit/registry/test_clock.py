"""The clock of another machine, as far as its answers tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_ws.registry.clock import RemoteClock


def test_nothing_is_known_before_the_first_answer():
    assert RemoteClock().at(5.0) is None


@given(st.floats(-1e6, 1e6), st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=10))
def test_error_is_never_more_than_half_the_quickest_round_trip_and_drift(offset, trips):
    clock, now = RemoteClock(), 100.0
    for there_s, back_s in trips:
        read = now + there_s + back_s
        clock.learn(now + there_s + offset, now, read)
        now = read + 1.0
    best = min((there_s + back_s) / 2 for there_s, back_s in trips)
    assert clock.at(now) == pytest.approx(now + offset, abs=best + 0.001 * (now - 100.0) + 1e-6)


def test_slow_answer_does_not_spoil_what_a_quick_one_told():
    clock = RemoteClock()
    clock.learn(1000.005, 0.0, 0.01)
    clock.learn(1001.9, 1.0, 2.0)
    assert clock.at(2.0) == pytest.approx(1002.0)


def test_after_a_long_time_a_slower_answer_is_worth_more():
    clock = RemoteClock()
    clock.learn(1000.0, 0.0, 0.0)
    clock.learn(2000.5, 1000.0, 1000.2)
    assert clock.at(1000.1) == pytest.approx(2000.5)


def test_other_clock_is_learnt_anew():
    clock = RemoteClock()
    clock.learn(1000.0, 0.0, 0.0)
    clock.forget()
    assert clock.at(1.0) is None
    clock.learn(50.0, 1.0, 1.5)
    assert clock.at(1.25) == pytest.approx(50.0)
