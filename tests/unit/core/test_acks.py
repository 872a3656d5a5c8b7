"""What a node asks clients, and what it does with copies of a push."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from sanic_ws.core import acks as module
from sanic_ws.core.acks import Acks
from sanic_ws.core.batch import Batch, everyone_target, user_target
from sanic_ws.core.groups import NO_GROUPS, Groups
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.orders import Order, order_target
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reception import carry_out
from sanic_ws.core.reports import Report, Said
from sanic_ws.errors import MalformedBatch

if TYPE_CHECKING:
    from sanic_ws.core.waiting import Late

ASK = Order("p", wait="ack", ticket=7, timeout_ms=2000)
ASK_REPLY = Order("p", wait="reply", ticket=7, timeout_ms=2000)
FIRST = Order("p", wait="ack", first=True, ticket=7, timeout_ms=2000)
ONCE = Order("p", once=True)
ASK_ONCE = Order("p", once=True, wait="reply", ticket=8, timeout_ms=2000)
CANCEL = Order("p", cancels=True)
LATE = Order("p", overflow="drop_oldest", ticket=7)
LATE_ONCE = Order("p", once=True, overflow="coalesce", key="k", ticket=7)
LATE_ASK = Order("p", overflow="drop_oldest", wait="ack", ticket=7, timeout_ms=2000)


@dataclass(eq=False)
class FakeSocket:
    conn: str
    session: str = "1"
    user: User | None = None
    opened: bool = True
    generation: int = 0
    full: bool = False
    groups: Groups = NO_GROUPS
    slow: bool = False
    written: list[bytes] = field(default_factory=list)
    waiting: list[tuple[bytes, Late]] = field(default_factory=list)

    def offer(self, frame: bytes, late: Late) -> Answer:
        if not self.slow:
            return Answer.DELIVERED if self.write(frame) else Answer.OVERLOADED
        self.waiting.append((frame, late))
        return Answer.WAITING

    def end(self, *, sent: bool) -> None:
        """Write the first frame that waits, or give it up."""
        frame, late = self.waiting.pop(0)
        if sent:
            self.written.append(frame)
        late.ended(sent)

    @property
    def writable(self) -> bool:
        return not self.full

    def write(self, frame: bytes) -> bool:
        if not self.full:
            self.written.append(frame)
        return not self.full


class Desk:
    """A node's connections `a` and `b`, both of user 1, what it reports, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reports: list[tuple[str | None, Report]] = []
        self.hub = Hub()
        self.acks = Acks(self.hub, lambda *report: self.reports.append(report), lambda: self.now)
        self.a, self.b = (FakeSocket(conn, user=User(1)) for conn in "ab")
        for socket in (self.a, self.b):
            self.hub.add(socket)

    def reconnect(self, socket: FakeSocket) -> FakeSocket:
        self.hub.remove(socket)
        self.acks.left(socket)
        new = FakeSocket(socket.conn, session=f"{socket.session}1", user=socket.user)
        self.hub.add(new)
        return new

    @property
    def said(self) -> list[tuple[int, str, Said, str]]:
        """What was reported since this was asked last."""
        reports, self.reports = self.reports, []
        return [tuple(report) for _, report in reports]

    @property
    def is_empty(self) -> bool:
        return not self.acks._asked and not self.acks._open


@pytest.fixture
def desk():
    return Desk()


# Questions


def test_client_that_confirms_is_reported_to_who_asked(desk):
    assert desk.acks.deliver(ASK, "a", b"x", None, "the sender") is Answer.DELIVERED
    assert desk.a.written == [b"x"]
    assert desk.reports == []
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert desk.reports == [("the sender", Report(7, "a", Said.ACK))]
    assert desk.is_empty


@pytest.mark.parametrize("conn", ["nobody", "full", "opening", "of another user"])
def test_nothing_is_asked_of_whom_nothing_was_written(desk, conn):
    desk.a.full = conn == "full"
    desk.a.opened = conn != "opening"
    user_key = "2" if conn == "of another user" else None
    expected = desk.hub.deliver("nobody" if conn == "nobody" else "a", b"x", user_key)
    assert desk.acks.deliver(ASK, "nobody" if conn == "nobody" else "a", b"x", user_key) is expected
    assert expected is not Answer.DELIVERED
    assert desk.is_empty


def test_client_answers_once(desk):
    desk.acks.deliver(ASK, "a", b"x")
    for _ in range(3):
        desk.acks.answered(desk.a, "p", Said.ACK)
    assert len(desk.said) == 1


def test_what_was_not_asked_is_ignored(desk):
    desk.acks.deliver(ASK, "a", b"x")
    desk.acks.answered(desk.a, "another", Said.ACK)
    desk.acks.answered(desk.b, "p", Said.ACK)
    assert desk.said == []


def test_reply_is_also_a_confirmation_and_stays_out_where_none_is_wanted(desk):
    desk.acks.deliver(ASK, "a", b"x")
    desk.acks.answered(desk.a, "p", Said.REPLY, "1")
    assert desk.said == [(7, "a", Said.REPLY, "")]


def test_confirmation_leaves_the_question_for_a_reply_open(desk):
    desk.acks.deliver(ASK_REPLY, "a", b"x")
    desk.acks.answered(desk.a, "p", Said.ACK)
    desk.acks.answered(desk.a, "p", Said.REPLY, "1")
    desk.acks.answered(desk.a, "p", Said.REPLY, "2")
    assert desk.said == [(7, "a", Said.ACK, ""), (7, "a", Said.REPLY, "1")]
    assert desk.is_empty


def test_what_is_said_again_or_less_than_before_is_ignored(desk):
    desk.acks.deliver(ASK_REPLY, "a", b"x")
    for _ in range(3):
        desk.acks.answered(desk.a, "p", Said.ACK)
    assert len(desk.said) == 1
    first = Order("q", once=True, wait="reply", first=True, ticket=1, timeout_ms=2000)
    desk.acks.deliver(first, "a", b"x")
    desk.acks.answered(desk.a, "q", Said.REPLY, "1")
    desk.acks.answered(desk.a, "q", Said.ACK)
    desk.acks.deliver(first, "a", b"x")
    assert [said for _, _, said, _ in desk.said] == [Said.REPLY, Said.REPLY]


def test_answer_that_is_too_late_is_ignored(desk):
    desk.acks.deliver(ASK, "a", b"x")
    desk.now += 2.0
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert desk.said == []


def test_only_the_session_that_got_the_push_can_answer_it(desk):
    desk.acks.deliver(ASK, "a", b"x")
    new = desk.reconnect(desk.a)
    assert desk.said == [(7, "a", Said.GONE, "")]
    desk.acks.answered(new, "p", Said.ACK)
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert desk.said == []
    assert desk.is_empty


def test_session_that_ends_after_its_answer_is_not_reported(desk):
    desk.acks.deliver(FIRST, "a", b"x")
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert len(desk.said) == 1
    desk.reconnect(desk.a)
    assert desk.said == []
    assert desk.is_empty


@pytest.mark.parametrize("answers", [False, True])
def test_client_is_told_that_another_was_quicker_even_if_it_has_answered(desk, answers):
    desk.acks.deliver(FIRST, "a", b"x")
    if answers:
        desk.acks.answered(desk.a, "p", Said.ACK)
    desk.acks.deliver(CANCEL, "a", b"cancelled")
    assert desk.a.written == [b"x", b"cancelled"]
    assert desk.is_empty
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert [said for _, _, said, _ in desk.said] == [Said.ACK if answers else Said.GONE]


def test_client_that_was_not_asked_is_told_nothing(desk):
    desk.acks.deliver(FIRST, "a", b"x")
    new = desk.reconnect(desk.a)
    assert desk.acks.deliver(CANCEL, "a", b"cancelled") is Answer.NOT_MINE
    assert desk.acks.deliver(CANCEL, "nobody", b"cancelled") is Answer.NOT_MINE
    assert new.written == []


def test_questions_to_one_session_are_bounded_and_those_that_are_over_make_room(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKED_OF_ONE", 2)
    orders = [Order(f"p{number}", wait="ack", ticket=number, timeout_ms=2000) for number in range(4)]
    answers = [desk.acks.deliver(order, "a", b"x") for order in orders]
    assert answers == [Answer.DELIVERED] * 2 + [Answer.OVERLOADED] * 2
    assert len(desk.a.written) == 2
    assert desk.acks.deliver(orders[2], "b", b"x") is Answer.DELIVERED
    desk.now += 2.0
    assert desk.acks.deliver(orders[3], "a", b"x") is Answer.DELIVERED


def test_questions_in_all_are_bounded(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKED", 1)
    assert desk.acks.deliver(ASK, "a", b"x") is Answer.DELIVERED
    assert desk.acks.deliver(ASK, "b", b"x") is Answer.OVERLOADED
    assert desk.b.written == []


# Copies


def test_copy_is_not_written_and_gets_the_same_answer(desk):
    assert [desk.acks.deliver(ONCE, "a", b"x") for _ in range(3)] == [Answer.DELIVERED] * 3
    assert desk.a.written == [b"x"]


def test_same_id_to_another_connection_is_no_copy(desk):
    desk.acks.deliver(ONCE, "a", b"x")
    desk.acks.deliver(ONCE, "b", b"x")
    assert desk.b.written == [b"x"]


def test_push_without_an_id_of_its_own_has_no_copies(desk):
    desk.acks.deliver(ASK, "a", b"x")
    desk.acks.deliver(ASK, "a", b"x")
    assert desk.a.written == [b"x", b"x"]


def test_copy_is_known_after_a_reconnect(desk):
    desk.acks.deliver(ONCE, "a", b"x")
    new = desk.reconnect(desk.a)
    assert desk.acks.deliver(ONCE, "a", b"x") is Answer.DELIVERED
    assert new.written == []


def test_copy_of_what_was_not_written_is_written(desk):
    desk.a.full = True
    assert desk.acks.deliver(ONCE, "a", b"x") is Answer.OVERLOADED
    desk.a.full = False
    assert desk.acks.deliver(ONCE, "a", b"x") is Answer.DELIVERED
    assert desk.a.written == [b"x"]


def test_copy_is_known_for_a_minute(desk):
    desk.acks.deliver(ONCE, "a", b"x")
    desk.now += 59.9
    desk.acks.deliver(ONCE, "a", b"x")
    assert len(desk.a.written) == 1
    desk.now += 0.1
    desk.acks.deliver(ONCE, "a", b"x")
    assert len(desk.a.written) == 2
    assert len(desk.acks._copies) == 1


def test_copies_that_are_known_are_bounded(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_COPIES", 2)
    for number in range(5):
        desk.acks.deliver(Order(f"p{number}", once=True), "a", b"x")
    assert [push_id for _, push_id in desk.acks._copies] == ["p3", "p4"]


def test_copy_learns_what_the_client_said_to_the_first(desk):
    desk.acks.deliver(ASK_ONCE, "a", b"x")
    desk.acks.answered(desk.a, "p", Said.REPLY, '{"n":1}')
    assert desk.said == [(8, "a", Said.REPLY, '{"n":1}')]
    desk.reconnect(desk.a)
    desk.acks.deliver(Order("p", once=True, wait="reply", ticket=9, timeout_ms=1000), "a", b"x")
    assert desk.said == [(9, "a", Said.REPLY, '{"n":1}')]
    assert desk.a.written == [b"x"]


def test_copy_waits_with_the_first_for_the_client(desk):
    desk.acks.deliver(ONCE, "a", b"x")
    for ticket, wait in ((1, "ack"), (2, "reply"), (3, "reply")):
        desk.acks.deliver(Order("p", once=True, wait=wait, ticket=ticket, timeout_ms=1000), "a", b"x")
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert [(ticket, said) for ticket, _, said, _ in desk.said] == [(n, Said.ACK) for n in (1, 2, 3)]
    desk.acks.answered(desk.a, "p", Said.REPLY, "5")
    assert [(ticket, reply) for ticket, _, _, reply in desk.said] == [(2, "5"), (3, "5")]
    assert desk.is_empty


def test_copy_of_a_push_to_a_session_that_has_ended_does_not_wait(desk):
    desk.acks.deliver(ONCE, "a", b"x")
    desk.reconnect(desk.a)
    desk.acks.deliver(ASK_ONCE, "a", b"x")
    assert desk.said == [(8, "a", Said.GONE, "")]
    assert desk.is_empty


def test_copies_that_wait_are_bounded(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKING", 2)
    for _ in range(4):
        assert desk.acks.deliver(ASK_ONCE, "a", b"x") is Answer.DELIVERED
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert len(desk.said) == 2


def test_replies_that_are_kept_for_copies_are_bounded(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_REPLY_BYTES", 10)
    for push_id, reply in (("p1", "12345678"), ("p2", "12345678")):
        order = Order(push_id, once=True, wait="reply", ticket=1, timeout_ms=1000)
        desk.acks.deliver(order, "a", b"x")
        desk.acks.answered(desk.a, push_id, Said.REPLY, reply)
        desk.acks.deliver(order, "a", b"x")
    assert [reply for _, _, _, reply in desk.said] == ["12345678", "12345678", "12345678", ""]
    desk.now += 60.0
    desk.acks.deliver(ONCE, "b", b"x")
    assert desk.acks._reply_bytes == 0


# In batches


def receive(desk: Desk, *targets: str):
    return carry_out(
        desk.hub, Batch(1, 0.0, 1000, list(targets), [b"x"] * len(targets)), "n1", desk.acks, "s"
    )


def test_copies_in_one_batch_are_written_once(desk):
    reply = receive(desk, order_target(ONCE, "a"), "b", order_target(ONCE, "a"), order_target(ONCE, "=a 1"))
    assert reply.answers == bytes([Answer.DELIVERED] * 4)
    assert (desk.a.written, desk.b.written) == ([b"x"], [b"x"])


def test_user_is_asked_on_every_device(desk):
    reply = receive(desk, order_target(ASK, user_target(User(1), frozenset())))
    assert reply.answers == bytes([Answer.SEVERAL])
    assert reply.details == {0: [("a", Answer.DELIVERED), ("b", Answer.DELIVERED)]}
    desk.acks.answered(desk.b, "p", Said.ACK)
    assert desk.reports == [("s", Report(7, "b", Said.ACK))]


def test_user_without_a_device_is_not_here(desk):
    target = order_target(ASK, user_target(User(1), frozenset("ab")))
    assert receive(desk, target).answers == bytes([Answer.NOT_MINE])


def test_push_to_everyone_is_carried_out_once(desk):
    target = order_target(ONCE, everyone_target(frozenset("b")))
    first, second = receive(desk, target), receive(desk, target)
    assert first.details == second.details == {0: [(Answer.DELIVERED, 1)]}
    assert (desk.a.written, desk.b.written) == ([b"x"], [])


def test_push_to_everyone_that_nobody_got_may_come_again(desk):
    desk.a.full = desk.b.full = True
    target = order_target(ONCE, everyone_target(frozenset()))
    receive(desk, target)
    desk.a.full = False
    receive(desk, target)
    assert desk.a.written == [b"x"]


def test_order_with_a_close_is_refused(desk):
    with pytest.raises(MalformedBatch):
        receive(desk, order_target(ONCE, "!a 4403"))


def test_order_where_none_are_carried_out_is_refused(desk):
    with pytest.raises(MalformedBatch):
        carry_out(desk.hub, Batch(1, 0.0, 1000, [order_target(ONCE, "a")], [b"x"]), "n1")


def test_order_in_a_fallback_for_who_is_not_here_is_not_here(desk):
    batch = Batch(1, 0.0, 1000, [order_target(ASK, "c")], [b"x"], seek=True)
    assert carry_out(desk.hub, batch, "n1", desk.acks).answers == bytes([Answer.NOT_MINE])


# Pushes that wait for a slow client


@pytest.mark.parametrize(("sent", "said"), [(True, Said.WRITTEN), (False, Said.DROPPED)])
def test_sender_is_told_what_becomes_of_a_push_that_waits(desk, sent, said):
    desk.a.slow = True
    assert desk.acks.deliver(LATE, "a", b"x", None, "the sender") is Answer.WAITING
    assert desk.reports == []
    desk.a.end(sent=sent)
    assert desk.reports == [("the sender", Report(7, "a", said))]
    assert desk.is_empty


def test_push_that_need_not_wait_is_delivered_and_nothing_is_told_later(desk):
    assert desk.acks.deliver(LATE, "a", b"x") is Answer.DELIVERED
    assert (desk.a.written, desk.said) == ([b"x"], [])


@pytest.mark.parametrize("conn", ["nobody", "opening", "full", "of another user"])
def test_push_that_may_wait_gets_the_same_answer_where_it_cannot(desk, conn):
    desk.a.opened, desk.a.full = conn != "opening", conn == "full"
    user_key = "2" if conn == "of another user" else None
    target = "nobody" if conn == "nobody" else "a"
    answer = desk.acks.deliver(LATE_ONCE, target, b"x", user_key)
    assert answer is desk.hub.deliver(target, b"x", user_key)
    assert answer is not Answer.DELIVERED


def test_copies_of_a_push_that_waits_wait_with_it(desk):
    desk.a.slow = True
    later = replace(LATE_ONCE, ticket=8)
    plain = Order("p", once=True)
    answers = [desk.acks.deliver(order, "a", b"x") for order in (LATE_ONCE, later, plain)]
    assert answers == [Answer.WAITING] * 3
    desk.a.end(sent=True)
    assert desk.said == [(7, "a", Said.WRITTEN, ""), (8, "a", Said.WRITTEN, "")]
    assert desk.acks.deliver(plain, "a", b"x") is Answer.DELIVERED
    assert desk.a.written == [b"x"]


def test_copy_of_a_push_that_was_given_up_is_a_push_of_its_own(desk):
    desk.a.slow = True
    desk.acks.deliver(LATE_ONCE, "a", b"x")
    desk.a.end(sent=False)
    desk.a.slow = False
    assert desk.acks.deliver(LATE_ONCE, "a", b"x") is Answer.DELIVERED
    assert desk.a.written == [b"x"]


def test_copies_that_are_told_are_bounded(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKING", 2)
    desk.a.slow = True
    assert {desk.acks.deliver(LATE_ONCE, "a", b"x") for _ in range(4)} == {Answer.WAITING}
    desk.a.end(sent=True)
    assert len(desk.said) == 2


def test_client_confirms_what_it_has_got_and_not_what_waits_for_it(desk):
    desk.a.slow = True
    assert desk.acks.deliver(LATE_ASK, "a", b"x") is Answer.WAITING
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert desk.said == []
    desk.a.end(sent=True)
    desk.acks.answered(desk.a, "p", Said.ACK)
    assert [said for _, _, said, _ in desk.said] == [Said.WRITTEN, Said.ACK]
    assert desk.is_empty


def test_question_that_was_given_up_is_not_open(desk):
    desk.a.slow = True
    desk.acks.deliver(LATE_ASK, "a", b"x")
    desk.a.end(sent=False)
    assert [said for _, _, said, _ in desk.said] == [Said.DROPPED]
    assert desk.is_empty
    desk.acks.left(desk.a)
    assert desk.said == []


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (True, [(7, Said.WRITTEN), (8, Said.WRITTEN), (7, Said.GONE), (8, Said.GONE)]),
        (False, [(7, Said.DROPPED), (8, Said.DROPPED)]),
    ],
)
def test_of_a_push_that_waits_nothing_is_told_before_it_ends_though_another_was_quicker(desk, sent, told):
    desk.a.slow = True
    first, second = (replace(LATE_ASK, once=True, first=True, ticket=ticket) for ticket in (7, 8))
    assert {desk.acks.deliver(order, "a", b"x") for order in (first, second)} == {Answer.WAITING}
    desk.acks.deliver(CANCEL, "a", b"cancelled")
    assert (desk.said, desk.is_empty) == ([], True)
    desk.a.end(sent=sent)
    assert [(ticket, said) for ticket, _, said, _ in desk.said] == told


@pytest.mark.parametrize("sent", [True, False])
def test_of_a_push_that_waits_nothing_is_told_before_it_ends_though_its_session_has(desk, sent):
    desk.a.slow = True
    order = replace(LATE_ASK, once=True)
    desk.acks.deliver(order, "a", b"x")
    desk.reconnect(desk.a)
    assert desk.acks.deliver(order, "a", b"x") is Answer.WAITING
    assert desk.said == []
    desk.a.end(sent=sent)
    assert {said for _, _, said, _ in desk.said} == ({Said.WRITTEN, Said.GONE} if sent else {Said.DROPPED})


@pytest.mark.parametrize("target", ["*", "a", "@1 "])
def test_push_that_comes_too_late_is_not_carried_out(desk, target):
    order = Order("p", expires=0.5)
    batch = Batch(1, 0.0, 1000, [order_target(order, target)], [b"x"])
    assert carry_out(desk.hub, batch, "n1", desk.acks, "", desk.now - 0.5).answers == bytes([Answer.EXPIRED])
    assert carry_out(desk.hub, batch, "n1", desk.acks, "", desk.now - 0.4).answers != bytes([Answer.EXPIRED])
    assert desk.a.written == [b"x"]


def test_of_many_those_that_are_slow_are_counted(desk):
    desk.a.slow = True
    order = Order("p", once=True, overflow="drop_oldest")
    batch = Batch(1, 0.0, 1000, [order_target(order, everyone_target(frozenset()))] * 2, [b"x"] * 2)
    reply = carry_out(desk.hub, batch, "n1", desk.acks)
    counted = {int(Answer.DELIVERED): 1, int(Answer.WAITING): 1}
    assert [dict(reply.details[number]) for number in (0, 1)] == [counted] * 2
    desk.a.end(sent=False)
    assert (len(desk.a.waiting), desk.b.written, desk.said) == (0, [b"x"], [])


def test_push_that_may_wait_comes_behind_what_is_held_to_be_written_together(desk):
    with desk.hub.corked():
        desk.hub.deliver("a", b"1")
        desk.acks.deliver(LATE, "a", b"2")
        desk.hub.deliver("a", b"3")
    assert desk.a.written == [b"1", b"2", b"3"]
