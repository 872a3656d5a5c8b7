"""What a router knows of the nodes."""

from __future__ import annotations

import pytest

from sanic_ws.core.flights import Listing
from sanic_ws.core.members import Members


@pytest.fixture
def members():
    members = Members()
    members.learn(Listing(["a", "b"]))
    return members


def test_nothing_is_known_before_a_list_was_read():
    members = Members()
    assert (members.known, members.complete) == (set(), False)
    members.learn(Listing([]))
    assert not members.complete


def test_listed_nodes_are_known_and_above_suspicion(members):
    assert members.known == members.listed == {"a", "b"}
    assert members.complete
    assert members.suspects == set()


def test_node_that_is_not_listed_any_more_is_a_suspect_and_still_known(members):
    members.learn(Listing(["a"]))
    assert (members.known, members.suspects) == ({"a", "b"}, {"b"})


def test_node_without_a_queue_is_a_suspect_until_it_is_heard(members):
    members.lost("b")
    assert members.suspects == {"b"}
    members.heard("b")
    assert members.suspects == set()


def test_node_without_a_queue_that_is_not_listed_any_more_has_left(members):
    members.lost("b")
    members.learn(Listing(["a"]))
    assert members.known == {"a"}


def test_nobody_has_left_while_the_list_is_mended(members):
    members.lost("b")
    members.learn(Listing(["a"], whole=False))
    assert (members.known, members.suspects) == ({"a", "b"}, {"b"})


def test_list_that_is_mended_is_not_all(members):
    new = Members()
    new.learn(Listing(["a"], whole=False))
    assert (new.known, new.complete) == ({"a"}, False)
    members.learn(Listing(["a"], whole=False))
    assert members.complete  # it knew them all before


def test_lapsed_node_is_a_suspect_once(members):
    members.learn(Listing(["a"], ["c"]))
    assert members.suspects == {"b", "c"}
    members.lost("c")
    members.learn(Listing(["a"], ["c"]))
    assert "c" not in members.known
    members.learn(Listing(["a"], ["c"]))
    assert "c" not in members.suspects


def test_lapsed_node_that_is_heard_again_is_known(members):
    members.lost("c")
    members.learn(Listing(["a", "b"], ["c"]))
    members.heard("c")
    members.learn(Listing(["a", "b"], ["c"]))
    assert "c" in members.known


def test_unlisted_node_that_answers_is_known():
    members = Members()
    members.heard("x")
    assert members.known == {"x"}
