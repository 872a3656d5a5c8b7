from __future__ import annotations

from sanic_ws.core.ages import Ages


def test_first_message_is_new():
    assert Ages().age_s("a", 1000.0, 5.0) == 0


def test_clocks_may_differ():
    ages = Ages()
    ages.age_s("a", 1000.0, 5.0)
    assert ages.age_s("a", 1010.0, 18.0) == 3


def test_quicker_message_shows_that_the_earlier_ones_were_late():
    ages = Ages()
    ages.age_s("a", 0.0, 10.0)
    assert ages.age_s("a", 1.0, 2.0) == 0
    assert ages.age_s("a", 2.0, 12.0) == 9


def test_senders_have_clocks_of_their_own():
    ages = Ages()
    ages.age_s("a", 0.0, 0.0)
    assert ages.age_s("b", 500.0, 1.0) == 0
    assert ages.age_s("a", 1.0, 3.0) == 2


def test_memory_is_bounded():
    ages = Ages(most_senders=2)
    for sender in "abcdef":
        ages.age_s(sender, 0.0, 0.0)
    assert len(ages._offsets) <= 2


def test_known_sender_makes_nobody_forgotten():
    ages = Ages(most_senders=2)
    for sender in "ab":
        ages.age_s(sender, 0.0, 5.0)
    ages.age_s("a", 0.0, 1.0)
    assert ages.age_s("b", 0.0, 9.0) == 4
