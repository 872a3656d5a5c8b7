"""What a router knows of the nodes."""

from __future__ import annotations

import pytest

from sanic_ws.core.flights import Listing
from sanic_ws.core.members import FORGET_S, Members

NOW, MUCH_LATER = 100.0, 100.0 + FORGET_S + 1


@pytest.fixture
def members():
    members = Members()
    members.learn(Listing(["a", "b"]), NOW)
    return members


def test_nothing_is_known_before_a_list_was_read():
    members = Members()
    assert (members.known, members.complete) == (set(), False)
    members.learn(Listing([]), NOW)
    assert not members.complete


def test_listed_nodes_are_known_and_above_suspicion(members):
    assert members.known == members.listed == {"a", "b"}
    assert members.complete
    assert members.suspects == set()


def test_node_that_is_not_listed_any_more_is_a_suspect_and_still_known(members):
    members.learn(Listing(["a"]), NOW)
    assert (members.known, members.suspects) == ({"a", "b"}, {"b"})


def test_node_without_a_queue_is_a_suspect_until_it_is_heard(members):
    members.lost("b", NOW)
    assert members.suspects == {"b"}
    members.heard("b")
    assert members.suspects == set()


def test_node_without_a_queue_that_is_not_listed_any_more_has_left_after_a_while(members):
    members.lost("b", NOW)
    members.learn(Listing(["a"]), NOW)
    assert (members.known, members.suspects) == ({"a", "b"}, {"b"})
    members.learn(Listing(["a"]), MUCH_LATER)
    assert members.known == {"a"}


def test_node_whose_queue_was_found_is_no_suspect(members):
    members.lost("b", NOW)
    members.found("b")
    assert members.suspects == set()


def test_nobody_has_left_while_the_list_is_mended(members):
    members.lost("b", NOW)
    members.learn(Listing(["a"], whole=False), NOW)
    assert (members.known, members.suspects) == ({"a", "b"}, {"b"})


def test_list_that_is_mended_is_not_all(members):
    new = Members()
    new.learn(Listing(["a"], whole=False), NOW)
    assert (new.known, new.complete) == ({"a"}, False)
    members.learn(Listing(["a"], whole=False), NOW)
    assert members.complete  # it knew them all before


def test_lapsed_node_is_a_suspect_once(members):
    members.learn(Listing(["a"], ["c"]), NOW)
    assert members.suspects == {"b", "c"}
    members.lost("c", NOW)
    members.learn(Listing(["a"], ["c"]), MUCH_LATER)
    assert "c" not in members.known
    members.learn(Listing(["a"], ["c"]), MUCH_LATER)
    assert "c" not in members.suspects


def test_lapsed_node_that_is_heard_again_is_known(members):
    members.lost("c", NOW)
    members.learn(Listing(["a", "b"], ["c"]), NOW)
    members.heard("c")
    members.learn(Listing(["a", "b"], ["c"]), NOW)
    assert "c" in members.known


def test_unlisted_node_that_answers_is_known():
    members = Members()
    members.heard("x")
    assert members.known == {"x"}
