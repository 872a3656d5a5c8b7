from __future__ import annotations

import pytest

from sanic_ws.core.groups import (
    MAX_GROUPS,
    MAX_GROUPS_CHARS,
    NO_GROUPS,
    WATCHERS,
    Groups,
    Members,
    check_groups,
    check_pattern,
    is_allowed,
)
from sanic_ws.core.identity import Group
from sanic_ws.errors import InvalidField

MANY = [f"g{number}" for number in range(MAX_GROUPS)]
LONG = ["%" * 100 + str(number) for number in range(20)]


def test_joined_and_granted_are_all():
    groups = Groups(frozenset("ab"), frozenset("bc"))
    assert groups.all == set("abc")
    assert groups.leave("b") == (frozenset("a"), frozenset("c"))


def test_joining_what_was_granted_keeps_it_when_the_grant_ends():
    groups = Groups(granted=frozenset("a")).join("a")
    assert groups._replace(granted=frozenset()).all == {"a"}


def test_no_more_groups_are_joined_than_there_is_room_for():
    full = NO_GROUPS.join(MANY)
    assert full.joined == set(MANY)
    assert full.join(["one more"]) == full
    assert full.join(MANY[:1]) == full
    assert full.leave("g1").join(["one more"]).joined == set(MANY) - {"g1"} | {"one more"}


def test_names_have_a_length_in_all():
    joined = NO_GROUPS.join(LONG).joined
    assert 0 < len(joined) < len(LONG)
    assert sum(len(name.replace("%", "%25")) for name in joined) <= MAX_GROUPS_CHARS


@pytest.mark.parametrize("groups", [[*MANY, "one more"], LONG, [""], [5], [[]]])
def test_too_many_and_misnamed_ones_are_refused(groups):
    with pytest.raises(InvalidField):
        check_groups(groups, "groups")


def test_group_of_those_who_watch_is_nobody_elses():
    with pytest.raises(InvalidField):
        Group(WATCHERS)
    with pytest.raises(InvalidField):
        Group.from_token(WATCHERS)
    with pytest.raises(InvalidField):
        check_groups([WATCHERS], "groups")


def test_patterns_are_names_and_beginnings():
    patterns = [check_pattern(text) for text in ("news", "team-*")]
    assert [is_allowed(group, patterns) for group in ("news", "team-", "team-1")] == [True] * 3
    assert [is_allowed(group, patterns) for group in ("news-1", "team", "*")] == [False] * 3
    assert is_allowed("any", ["*"])
    assert not is_allowed("any", [])


@pytest.mark.parametrize("text", ["*a", "a*b", "**"])
def test_pattern_with_a_star_elsewhere_is_refused(text):
    with pytest.raises(ValueError, match="and \\*"):
        check_pattern(text)


def test_members_are_found_and_nothing_is_kept_of_groups_that_are_empty():
    members: Members[str] = Members()
    members.add("a", ["g", "h"])
    members.add("b", ["g"])
    assert (set(members.of("g")), set(members.of("h")), list(members.of("i"))) == ({"a", "b"}, {"a"}, [])
    members.discard("a", ["g", "h", "i"])
    assert (list(members), len(members), "h" in members) == (["g"], 1, False)
    assert (members.take_emptied(), members.take_emptied()) == ({"h"}, set())
