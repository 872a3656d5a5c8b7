import logging

import pytest

from sanic_ws.errors import RegistryUnavailable
from sanic_ws.registry.breaker import OPEN_S, Breaker


class Time:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def breaker(time):
    made = Breaker("Redis r:1", time)
    time.now += 1
    return made


def fail(breaker, time, reason="no answer"):
    began = breaker.admit()
    time.now += 0.3
    breaker.failed(reason, began)


def test_everything_passes_while_all_is_well(breaker):
    for _ in range(3):
        breaker.admit()
        breaker.succeeded()
    assert not breaker.away


def test_after_a_failure_everything_is_refused_and_told_why(breaker, time):
    fail(breaker, time)
    for _ in range(3):
        with pytest.raises(RegistryUnavailable, match=r"^Redis r:1: no answer$"):
            breaker.admit()
    assert breaker.away


def test_one_may_try_in_each_second(breaker, time):
    fail(breaker, time)
    for _ in range(3):
        time.now += OPEN_S
        breaker.admit()
        with pytest.raises(RegistryUnavailable):
            breaker.admit()


def test_a_try_that_failed_puts_the_next_one_off(breaker, time):
    fail(breaker, time)
    time.now += OPEN_S
    fail(breaker, time)
    time.now += OPEN_S - 0.01
    with pytest.raises(RegistryUnavailable):
        breaker.admit()


def test_who_insists_may_always_try_and_puts_the_next_one_off(breaker, time):
    fail(breaker, time)
    breaker.admit(insist=True)
    time.now += OPEN_S - 0.01
    breaker.admit(insist=True)
    time.now += 0.02
    with pytest.raises(RegistryUnavailable):
        breaker.admit()


def test_the_first_answer_ends_it(breaker, time):
    fail(breaker, time)
    breaker.succeeded()
    breaker.admit()
    breaker.admit()
    assert not breaker.away


def test_a_failure_counts_less_than_what_was_answered_since_it_began(breaker, time):
    slow = breaker.admit()
    time.now += 0.2
    breaker.succeeded()
    time.now += 0.1
    breaker.failed("no answer", slow)
    breaker.admit()
    assert not breaker.away


def test_who_waited_meanwhile_is_stopped(breaker, time):
    waiting = breaker.admit()
    fail(breaker, time)
    with pytest.raises(RegistryUnavailable):
        breaker.check(waiting)
    time.now += OPEN_S
    breaker.check(breaker.admit())


def test_it_is_logged_when_it_changes(breaker, time, caplog):
    caplog.set_level(logging.INFO, "sanic_ws.registry")
    breaker.succeeded()
    fail(breaker, time, "connection refused")
    fail_again = breaker.admit(insist=True)
    breaker.failed("no answer", fail_again)
    time.now += 2.5
    breaker.succeeded()
    breaker.succeeded()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", 'Redis is away server="Redis r:1" reason="connection refused"'),
        ("INFO", 'Redis answers again server="Redis r:1" away_s=2.5'),
    ]
