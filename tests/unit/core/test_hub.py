from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from sanic_ws.core.groups import NO_GROUPS, Change, Groups
from sanic_ws.core.hub import EVERYONE, Hub
from sanic_ws.core.identity import User
from sanic_ws.core.outcomes import Answer


@dataclass(eq=False)
class FakeSocket:
    conn: str
    user: User | None = None
    session: str = "1"
    opened: bool = True
    generation: int = 0
    groups: Groups = NO_GROUPS
    full: bool = False
    written: list[bytes] = field(default_factory=list)

    @property
    def writable(self) -> bool:
        return not self.full

    def write(self, frame: bytes) -> bool:
        if not self.full:
            self.written.append(frame)
        return not self.full

    def close(self, code: int, reason: str = "") -> None:
        self.written.append(b"closed %d" % code)


@pytest.fixture
def hub():
    return Hub()


def add(hub: Hub, conn: str, user: User | None = None) -> FakeSocket:
    socket = FakeSocket(conn, user)
    hub.add(socket)
    return socket


WEB, APP = User(1, from_type="web"), User(1, from_type="app")


def test_connection_is_found_by_its_id(hub):
    socket = add(hub, "a")
    assert (hub.get("a"), hub.get("b"), len(hub), list(hub)) == (socket, None, 1, [socket])


def test_newer_session_takes_the_place_of_the_older(hub):
    old = add(hub, "a", WEB)
    new = FakeSocket("a", WEB)
    assert hub.add(new) is old
    assert (hub.get("a"), hub.of_user(WEB), len(hub)) == (new, [new], 1)


def test_newer_session_of_nobody_leaves_the_user(hub):
    add(hub, "a", WEB)
    add(hub, "a")
    assert hub.of_user(WEB) == []


def test_removed_connection_is_gone_from_its_user_too(hub):
    socket = add(hub, "a", WEB)
    assert hub.remove(socket)
    assert (hub.get("a"), hub.of_user(WEB), len(hub), hub._users) == (None, [], 0, {})


def test_replaced_session_removes_nothing(hub):
    old = add(hub, "a", WEB)
    new = add(hub, "a", WEB)
    assert not hub.remove(old)
    assert (hub.get("a"), hub.of_user(WEB)) == (new, [new])


def test_user_has_all_devices_or_those_of_one_kind(hub):
    web, app = add(hub, "a", WEB), add(hub, "b", APP)
    add(hub, "c", User(2))
    assert hub.of_user(User(1)) == [web, app]
    assert hub.of_user(APP) == [app]
    assert hub.of_user(User(1, tenant_id=5)) == []


def test_two_devices_of_one_kind_are_both_kept(hub):
    add(hub, "a", WEB)
    add(hub, "b", WEB)
    assert len(hub.of_user(WEB)) == 2


def test_binding_moves_a_connection_to_another_user(hub):
    socket = add(hub, "a", WEB)
    hub.bind(socket, User(2))
    assert (hub.of_user(WEB), hub.of_user(User(2)), socket.user) == ([], [socket], User(2))
    hub.bind(socket, None)
    assert (hub.of_user(User(2)), socket.user) == ([], None)


def test_binding_a_connection_that_left_is_only_noted(hub):
    socket = add(hub, "a")
    hub.remove(socket)
    hub.bind(socket, WEB)
    assert hub.of_user(WEB) == []


@pytest.mark.parametrize(
    ("opened", "full", "answer"),
    [
        (True, False, Answer.DELIVERED),
        (True, True, Answer.OVERLOADED),
        (False, False, Answer.NOT_YET),
    ],
)
def test_delivery_says_what_became_of_it(hub, opened, full, answer):
    socket = add(hub, "a")
    socket.opened, socket.full = opened, full
    assert hub.deliver("a", b"x") is answer
    assert socket.written == ([b"x"] if answer is Answer.DELIVERED else [])


def test_delivery_to_nobody_is_not_mine(hub):
    assert hub.deliver("a", b"x") is Answer.NOT_MINE


def test_delivery_to_a_user_names_each_connection(hub):
    add(hub, "a", WEB)
    add(hub, "b", APP).full = True
    add(hub, "c", APP)
    found = hub.deliver_to_user(User(1), b"x", {"c"})
    assert found == [("a", Answer.DELIVERED), ("b", Answer.OVERLOADED)]


def test_delivery_to_all_counts_those_that_are_open(hub):
    add(hub, "a")
    add(hub, "b").full = True
    add(hub, "c").opened = False
    excluded = add(hub, "d")
    assert hub.deliver_to_many(EVERYONE, b"x", {"d"}) == {Answer.DELIVERED: 1, Answer.OVERLOADED: 1}
    assert excluded.written == []


def test_delivery_to_all_of_an_empty_hub_counts_nothing(hub):
    assert hub.deliver_to_many(EVERYONE, b"x") == {}


def test_others_leaves_out_the_excluded(hub):
    add(hub, "a")
    other = add(hub, "b")
    assert list(hub.others({"a"})) == [other]


def test_closing_names_the_connection_and_perhaps_the_session(hub):
    socket = add(hub, "a")
    assert hub.close("nobody", 4403) is Answer.NOT_MINE
    assert hub.close("a", 4409, "other") is Answer.NOT_MINE
    assert socket.written == []
    assert hub.close("a", 4409, "1") is Answer.DELIVERED
    assert socket.written == [b"closed 4409"]


def test_what_is_delivered_while_corked_is_written_at_once_and_in_order(hub):
    one, other = add(hub, "a"), add(hub, "b")
    with hub.corked():
        for frame in (b"1", b"2", b"3"):
            assert hub.deliver("a", frame) is Answer.DELIVERED
        hub.deliver("b", b"4")
        assert one.written == []
    assert (one.written, other.written) == ([b"123"], [b"4"])
    hub.deliver("a", b"5")
    assert one.written == [b"123", b"5"]


def test_many_frames_while_corked_keep_their_order(hub):
    socket = add(hub, "a")
    frames = [b"%d;" % number for number in range(200)]
    with hub.corked():
        for frame in frames:
            hub.deliver("a", frame)
    assert b"".join(socket.written) == b"".join(frames)


def test_full_socket_is_overloaded_while_corked_too(hub):
    add(hub, "a").full = True
    with hub.corked():
        assert hub.deliver("a", b"1") is Answer.OVERLOADED


def test_closing_while_corked_comes_behind_what_was_delivered(hub):
    socket = add(hub, "a")
    with hub.corked():
        hub.deliver("a", b"1")
        hub.close("a", 4403)
    assert socket.written == [b"1", b"closed 4403"]


def test_push_to_everyone_while_corked_comes_behind_what_was_delivered(hub):
    socket = add(hub, "a")
    with hub.corked():
        hub.deliver("a", b"1")
        hub.deliver_to_many(EVERYONE, b"2")
        hub.deliver("a", b"3")
    assert socket.written == [b"1", b"2", b"3"]


def test_corks_within_a_cork_wait_for_the_outer_one(hub):
    socket = add(hub, "a")
    with hub.corked():
        with hub.corked():
            hub.deliver("a", b"1")
        assert socket.written == []
    assert socket.written == [b"1"]


def test_failure_while_corked_loses_nothing(hub):
    socket = add(hub, "a")
    with suppress(ValueError), hub.corked():
        hub.deliver("a", b"1")
        raise ValueError
    assert socket.written == [b"1"]


def test_connections_of_a_user_are_counted_without_one(hub):
    for conn, user in [("a", WEB), ("b", APP), ("c", User(1, tenant_id=5)), ("d", None)]:
        add(hub, conn, user)
    assert [hub.number_of(WEB.key, besides=conn) for conn in "abcde"] == [1, 1, 2, 2, 2]
    assert hub.number_of(User(2).key, besides="a") == 0


G, H = Groups(frozenset({"g"})), Groups(frozenset({"h"}), frozenset({"g"}))


def grouped(hub: Hub, conn: str, groups: Groups, user: User | None = None) -> FakeSocket:
    socket = FakeSocket(conn, user, groups=groups)
    hub.add(socket)
    return socket


def test_frame_goes_to_a_groups_open_members(hub):
    sockets = [grouped(hub, "a", G), grouped(hub, "b", H), add(hub, "c"), grouped(hub, "d", G)]
    sockets[1].full, sockets[3].opened = True, False
    assert hub.deliver_to_many("#g", b"x") == {Answer.DELIVERED: 1, Answer.OVERLOADED: 1}
    assert hub.deliver_to_many("#nobody", b"x") == {}
    assert [socket.written for socket in sockets] == [[b"x"], [], [], []]


@pytest.mark.parametrize(
    ("exclude", "got"),
    [
        ({"a"}, "bc"),
        ({"@1"}, "c"),
        ({"@1;web"}, "bc"),
        ({"@1;tv", "@2"}, "abc"),
        ({"@1;app", "c"}, "a"),
    ],
)
def test_connections_and_users_are_left_out(hub, exclude, got):
    sockets = [grouped(hub, "a", G, WEB), grouped(hub, "b", G, APP), grouped(hub, "c", G)]
    assert hub.deliver_to_many("#g", b"x", exclude).total() == len(got)
    assert hub.deliver_to_many(EVERYONE, b"y", exclude).total() == len(got)
    assert "".join(socket.conn for socket in sockets if socket.written == [b"x", b"y"]) == got
    assert [socket.conn for socket in hub.others(exclude)] == list(got)


@pytest.mark.parametrize(
    ("exclude", "left_out"),
    [({"a"}, ""), ({"@1"}, "ab"), ({"@1;web"}, "a"), ({"@1;tv", "@2"}, ""), ({"@1;app", "c"}, "b")],
)
def test_connection_of_a_user_is_left_out(hub, exclude, left_out):
    for conn, user in (("a", WEB), ("b", APP), ("c", None)):
        grouped(hub, conn, G, user)
    assert "".join(conn for conn in "abcd" if hub.is_left_out(conn, exclude)) == left_out


def test_newer_session_and_removed_one_leave_groups(hub):
    old = grouped(hub, "a", G)
    new = grouped(hub, "a", Groups())
    assert "g" not in hub.groups
    hub.remove(new)
    hub.add(old)
    assert list(hub.groups.of("g")) == [old]
    hub.remove(old)
    assert len(hub.groups) == 0


def test_groups_of_a_session_that_was_replaced_are_not_in_the_hub(hub):
    old = grouped(hub, "a", G)
    add(hub, "a")
    hub.regroup(old, H)
    assert (old.groups, len(hub.groups)) == (H, 0)


def test_change_is_answered_as_a_push_is(hub):
    socket = add(hub, "a")
    join, leave = Change("a", "g", joins=True), Change("a", "g", joins=False)
    assert hub.change(join) is Answer.DELIVERED
    assert list(hub.groups.of("g")) == [socket]
    assert hub.change(leave) is Answer.DELIVERED
    assert "g" not in hub.groups
    assert hub.change(Change("nobody", "g", joins=True)) is Answer.NOT_MINE
    hub.regroup(socket, Groups().join(f"g{number}" for number in range(200)))
    assert hub.change(join) is Answer.OVERLOADED
    assert "g" not in hub.groups
    socket.opened = False
    assert hub.change(leave) is Answer.NOT_YET
