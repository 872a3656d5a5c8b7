from __future__ import annotations

import pytest

from sanic_ws.core.following import MEMORY, Follower, Sight

BEFORE, BEGAN, AFTER = (f"2026-01-01T12:00:{seconds}.000Z" for seconds in ("00", "10", "20"))


def durable(message_id, prev=None, time=AFTER):
    return {"type": "t", "data": 1, "id": message_id, "time": time, "prev": prev}


def chain(follower, *ids, before=None):
    """Let messages come that each name the one before."""
    sights = []
    for message_id in ids:
        sights.append(follower.meet(durable(message_id, before)))
        before = message_id
    return sights


class TestSince:
    def test_one_that_begins_asks_for_nothing(self):
        assert Follower().since is None

    def test_one_that_has_begun_asks_for_all_until_it_has_something(self):
        follower = Follower()
        follower.connected(BEGAN)
        assert follower.since == ""
        chain(follower, "a", "b")
        assert (follower.since, follower.last_id) == ("b", "b")

    @pytest.mark.parametrize("since", ["", "x"])
    def test_one_that_was_told_asks_for_that(self, since):
        assert Follower(since).since == since

    def test_what_is_not_durable_does_not_count(self):
        follower = Follower("x")
        assert follower.meet({"type": "t", "data": 1, "id": "y", "time": AFTER}) is Sight.NEW
        assert follower.since == "x"

    def test_the_end_of_a_replay_says_where_it_stands(self):
        follower = Follower("")
        follower.resumed("a")
        assert follower.since == "a"
        follower.resumed(None)
        assert follower.since == "a"


class TestOrder:
    def test_what_follows_is_new(self):
        assert chain(Follower(), "a", "b", "c") == [Sight.NEW] * 3

    def test_the_first_may_follow_what_nobody_knows(self):
        assert chain(Follower(), "b", before="a") == [Sight.NEW]

    def test_what_came_is_not_shown_again(self):
        follower = Follower()
        chain(follower, "a", "b", "c")
        assert chain(follower, "a", "b", "c", "d") == [Sight.OLD, Sight.OLD, Sight.OLD, Sight.NEW]
        assert follower.last_id == "d"

    def test_what_it_was_told_that_it_has_is_not_shown_again(self):
        assert Follower("a").meet(durable("a")) is Sight.OLD

    def test_same_id_that_is_not_durable_is_shown_each_time(self):
        follower = Follower()
        plain = {"type": "t", "data": 1, "id": "a"}
        assert [follower.meet(plain), follower.meet(plain)] == [Sight.NEW, Sight.NEW]

    @pytest.mark.parametrize("prev", ["b", None])
    def test_gap_is_told_once(self, prev):
        follower = Follower("a")
        assert follower.meet(durable("c", prev)) is Sight.GAP
        assert follower.meet(durable("d", "c")) is Sight.NEW

    def test_memory_is_bounded(self):
        follower = Follower()
        chain(follower, *(str(number) for number in range(3 * MEMORY)))
        assert len(follower._seen) == MEMORY
        assert follower.meet(durable(str(2 * MEMORY))) is Sight.OLD

    @pytest.mark.parametrize("message_id", [None, 7, ["a"]])
    def test_nonsense_is_shown_and_changes_nothing(self, message_id):
        follower = Follower("a")
        assert follower.meet({"id": message_id, "prev": 3}) is Sight.NEW
        assert follower.since == "a"


class TestBeginning:
    """A client that wants nothing old comes back before anything durable has come."""

    @pytest.fixture
    def back(self):
        follower = Follower()
        follower.connected(BEGAN)
        follower.connected(AFTER)
        return follower

    def test_what_is_from_before_is_not_shown_and_what_was_missed_is(self, back):
        assert back.meet(durable("a", None, BEFORE)) is Sight.OLD
        assert back.meet(durable("b", "a", BEFORE)) is Sight.OLD
        assert back.meet(durable("c", "b", AFTER)) is Sight.NEW
        assert back.last_id == "c"

    def test_nothing_that_comes_live_is_from_before(self, back):
        back.resumed(None)
        assert back.meet(durable("a", None, BEFORE)) is Sight.NEW

    def test_a_user_who_is_named_later_has_a_beginning_too(self, back):
        back.resumed(None)
        back.bound()
        assert back.meet(durable("a", None, BEFORE)) is Sight.OLD

    @pytest.mark.parametrize("time", [None, 7, "soon", "2026-01-01"])
    def test_what_says_no_time_is_shown(self, back, time):
        assert back.meet(durable("a", None, time)) is Sight.NEW

    def test_one_that_wants_all_gets_all(self):
        follower = Follower("")
        follower.connected(BEGAN)
        assert follower.meet(durable("a", None, BEFORE)) is Sight.NEW
