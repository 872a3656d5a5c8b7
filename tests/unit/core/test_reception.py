from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sanic_ws.core.acks import Acks
from sanic_ws.core.batch import (
    LEAVE_TARGET,
    WATCHERS_TARGET,
    Batch,
    change_target,
    close_target,
    count_target,
    everyone_target,
    group_target,
    user_target,
)
from sanic_ws.core.groups import NO_GROUPS, WATCHERS, Change, Groups
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.orders import Order, order_target
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reception import carry_out, refuse
from sanic_ws.errors import MalformedBatch


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
    closed: list[int] = field(default_factory=list)

    @property
    def writable(self) -> bool:
        return not self.full

    def write(self, frame: bytes) -> bool:
        if not self.full:
            self.written.append(frame)
        return not self.full

    def close(self, code: int, reason: str = "") -> None:
        self.closed.append(code)


@pytest.fixture
def sockets():
    return {
        "a": FakeSocket("a", User(1, from_type="web")),
        "b": FakeSocket("b", User(1, from_type="app")),
        "c": FakeSocket("c"),
    }


@pytest.fixture
def hub(sockets):
    hub = Hub()
    for socket in sockets.values():
        hub.add(socket)
    return hub


def receive(hub: Hub, *targets: str):
    frames = [f"frame {number}".encode() for number in range(len(targets))]
    return carry_out(hub, Batch(7, 0.0, 1000, list(targets), frames), "n1")


def test_each_item_gets_its_answer(hub, sockets):
    sockets["b"].full = True
    sockets["c"].opened = False
    reply = receive(hub, "a", "b", "c", "nobody")
    assert (reply.id, reply.node) == (7, "n1")
    assert list(reply.answers) == [Answer.DELIVERED, Answer.OVERLOADED, Answer.NOT_YET, Answer.NOT_MINE]
    assert sockets["a"].written == [b"frame 0"]


def test_user_item_is_answered_for_each_connection(hub, sockets):
    reply = receive(hub, "nobody", user_target(User(1), frozenset()))
    assert list(reply.answers) == [Answer.NOT_MINE, Answer.SEVERAL]
    assert reply.details == {1: [("a", 1), ("b", 1)]}


def test_user_item_may_leave_out_a_connection_and_name_a_kind(hub, sockets):
    assert receive(hub, user_target(User(1), frozenset({"a"}))).details == {0: [("b", 1)]}
    assert receive(hub, user_target(User(1, from_type="web"), frozenset())).details == {0: [("a", 1)]}


def test_user_who_is_not_here_is_not_mine(hub):
    reply = receive(hub, user_target(User(2), frozenset()), user_target(User(1), frozenset("ab")))
    assert list(reply.answers) == [Answer.NOT_MINE] * 2
    assert reply.details == {}


def test_item_for_everyone_is_counted(hub, sockets):
    sockets["b"].full = True
    reply = receive(hub, everyone_target(frozenset({"c"})))
    assert list(reply.answers) == [Answer.SEVERAL]
    assert reply.details == {0: [(Answer.DELIVERED, 1), (Answer.OVERLOADED, 1)]}
    assert sockets["c"].written == []


def test_closing_is_carried_out(hub, sockets):
    assert list(receive(hub, close_target("a", 4403)).answers) == [Answer.DELIVERED]
    assert sockets["a"].closed == [4403]


def test_closing_one_session_leaves_another_alone(hub, sockets):
    reply = receive(hub, close_target("a", 4409, "other"), close_target("b", 4409, "1"), "!nobody 4403")
    assert list(reply.answers) == [Answer.NOT_MINE, Answer.DELIVERED, Answer.NOT_MINE]
    assert (sockets["a"].closed, sockets["b"].closed) == ([], [4409])


@pytest.mark.parametrize("target", ["@", "@a:", "!", "!a", "!a x"])
def test_target_that_cannot_be_read_is_refused(hub, target):
    with pytest.raises(MalformedBatch):
        receive(hub, target)


def test_refusing_answers_each_item_alike():
    reply = refuse(Batch(7, 0.0, 1, ["a", "b"], [b"", b""]), "n1", Answer.EXPIRED)
    assert (reply.id, reply.node, list(reply.answers)) == (7, "n1", [Answer.EXPIRED] * 2)


def test_item_for_a_group_is_counted(hub, sockets):
    for name in "abc":
        hub.regroup(sockets[name], Groups(frozenset({"g"})))
    reply = receive(hub, group_target("g", frozenset({"c"})), group_target("nobody", frozenset()))
    assert list(reply.answers) == [Answer.SEVERAL] * 2
    assert reply.details == {0: [(Answer.DELIVERED, 2)], 1: []}
    assert receive(hub, group_target("g", frozenset({"@1;web"}))).details == {0: [(Answer.DELIVERED, 2)]}


def test_user_item_may_leave_out_devices_by_name(hub):
    target = user_target(User(1), frozenset({"@1;web", "@2"}))
    assert receive(hub, target).details == {0: [("b", 1)]}


def test_change_of_groups_is_carried_out_and_told(hub, sockets):
    joins, unknown = Change("a", "g g", joins=True), Change("nobody", "g", joins=True)
    reply = receive(hub, change_target(joins), change_target(unknown))
    assert list(reply.answers) == [Answer.DELIVERED, Answer.NOT_MINE]
    assert reply.changes == {0: joins}
    assert list(hub.groups.of("g g")) == [sockets["a"]]
    reply = receive(hub, change_target(joins._replace(joins=False)))
    assert (reply.changes[0].joins, len(hub.groups)) == (False, 0)


@pytest.mark.parametrize(
    "target", ["#", "#a%", "#%41", "#g @", "#g @1:", "#g c,@", ">a", "<a %41", "*@", "*c,@:"]
)
def test_group_target_that_cannot_be_read_is_refused(hub, target):
    with pytest.raises(MalformedBatch):
        receive(hub, target)


def test_count_tells_how_many_open_connections_of_a_group_are_here(hub):
    for conn, opened, groups in (("a", True, {"g"}), ("b", True, {"g", "h"}), ("c", False, {"g"})):
        hub.add(FakeSocket(conn, opened=opened, groups=Groups(frozenset(groups))))
    reply = receive(hub, count_target("g"), count_target("h"), count_target("nobody's"))
    assert [reply.details[number][0][1] for number in range(3)] == [2, 1, 0]
    assert reply.answers == bytes([Answer.SEVERAL] * 3)


def test_count_of_what_is_no_group_cannot_be_read(hub):
    with pytest.raises(MalformedBatch):
        receive(hub, "%")


def test_what_watchers_are_shown_reaches_nobody_else(hub, sockets):
    watcher = FakeSocket("w")
    hub.groups.add(watcher, [WATCHERS])
    reply = receive(hub, WATCHERS_TARGET)
    assert reply.details == {0: [(Answer.DELIVERED, 1)]}
    assert watcher.written == [b"frame 0"]
    assert not any(socket.written for socket in sockets.values())
    assert len(hub) == 3


def test_order_to_leave_is_told_once_and_only_by_itself(hub):
    reply = receive(hub, LEAVE_TARGET)
    assert (reply.leaves, list(reply.answers)) == (True, [Answer.DELIVERED])
    assert not receive(hub, "a").leaves
    with pytest.raises(MalformedBatch):
        carry_out(hub, Batch(7, 0.0, 1000, [LEAVE_TARGET], [b""], seek=True), "n1")
    for target in ("/", "/leaves", "/ leave", order_target(Order("p", once=True), LEAVE_TARGET)):
        with pytest.raises(MalformedBatch):
            carry_out(hub, Batch(7, 0.0, 1000, [target], [b""]), "n1", Acks(hub, lambda *_: None))
