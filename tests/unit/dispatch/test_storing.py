import asyncio
from dataclasses import replace

import pytest

from sanic_ws.core.frames import text_frame
from sanic_ws.core.identity import Conn, Everyone, User
from sanic_ws.core.mail import NOWHERE, Place, Position
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Outcome, Route
from sanic_ws.core.push import Push
from sanic_ws.dispatch import storing
from sanic_ws.dispatch.storing import Storing
from sanic_ws.errors import MailboxAway, MailboxUnavailable
from tests.integration.peers import eventually

WAIT_S = 1e6


class Mailbox:
    """A mailbox that stores when it is let, and remembers what."""

    def __init__(self):
        self.letters = []
        self.rounds = []
        self.open = asyncio.Event()
        self.open.set()
        self.failures = {}
        self.certain = True

    async def store(self, letters):
        await self.open.wait()
        self.rounds.append(len(letters))
        self.letters += letters
        first = len(self.letters) - len(letters) + 1
        return [
            self.failures.get(letter.box)
            or replace(Place(Position(first + n), NOWHERE, ""), certain=self.certain)
            for n, letter in enumerate(letters)
        ]


class Desk:
    """Storing, with what it has sent on its way and what has ended."""

    def __init__(self):
        self.mailbox = Mailbox()
        self.sent = []
        self.done = []
        self.storing = Storing(self.mailbox, self._submit)

    def _submit(self, pushes):
        self.sent += pushes

    def push(self, *targets, name="p", keep_s=None, deadline=WAIT_S):
        order = None if keep_s is None else Order(name, once=True, keep_s=keep_s)
        frame = text_frame(b'{"id":"%s"}' % name.encode())
        one = Push(name, targets, frame, started=0, deadline=deadline + 0, done=self.done.append, order=order)
        self.storing.submit([one])
        return one

    def store(self, *targets, **more):
        return self.push(*targets, keep_s=60, **more)

    async def settle(self):
        await self.storing.close()
        await asyncio.sleep(0)

    @property
    def names(self):
        return [push.id for push in self.sent]


@pytest.fixture
async def desk():
    return Desk()


def outcomes(push):
    return [delivery.outcome for delivery in push.receipt().deliveries]


async def test_a_push_is_stored_before_it_is_sent(desk):
    desk.store(User(1, from_type="web"), name="a")
    assert desk.sent == []
    await desk.settle()
    (letter,) = desk.mailbox.letters
    assert (letter.box, letter.id, letter.payload, letter.ttl_s, letter.only, letter.repeatable) == (
        "@1",
        "a",
        b'{"id":"a"}',
        60,
        "@web",
        True,
    )
    (sent,) = desk.sent
    assert sent.order.posted.box == "@1"
    assert sent.order.posted.place.at == Position(1)
    assert not desk.storing.busy


async def test_what_comes_while_others_are_stored_is_stored_together(desk):
    for number in range(20):
        desk.store(Conn(f"c{number}"))
    await desk.settle()
    assert desk.mailbox.rounds == [20]
    assert desk.storing.stored == 20


async def test_later_pushes_to_the_same_target_wait_and_nobody_else_does(desk):
    desk.mailbox.open.clear()
    desk.store(Conn("a"), name="1")
    desk.push(Conn("a"), name="2")
    desk.push(Conn("b"), name="3")
    desk.push(User(1), name="4")
    desk.push(Everyone(), name="5")
    desk.push(Conn("b"), Conn("a"), name="6")
    desk.store(User(1), name="7")
    desk.push(User(1, from_type="web"), name="8")
    assert desk.names == ["3", "4", "5"]
    desk.mailbox.open.set()
    await desk.settle()
    assert desk.names[:3] == ["3", "4", "5"]
    later = desk.names[3:]
    assert [name for name in later if name in "126"] == ["1", "2", "6"]
    assert [name for name in later if name in "78"] == ["7", "8"]
    assert len(later) == 5
    assert not desk.storing.busy


async def test_a_push_behind_two_targets_waits_for_both(desk):
    desk.mailbox.open.clear()
    desk.store(Conn("a"), name="1")
    await asyncio.sleep(0)
    desk.store(Conn("b"), name="2")
    desk.push(Conn("a"), Conn("b"), name="3")
    desk.mailbox.open.set()
    await desk.settle()
    assert desk.names == ["1", "2", "3"]
    assert desk.mailbox.rounds == [1, 1]


async def test_a_long_queue_behind_one_that_is_stored_passes_in_order(desk):
    desk.mailbox.open.clear()
    desk.store(Conn("a"), name="0")
    for number in range(1, 3000):
        desk.push(Conn("a"), name=str(number))
    desk.mailbox.open.set()
    await desk.settle()
    assert desk.names == [str(number) for number in range(3000)]


class TestReceipts:
    async def finished(self, desk, *found, certain=True):
        """Store a push, have it end with these outcomes, and return it."""
        desk.mailbox.certain = certain
        push = desk.store(User(1))
        await desk.settle()
        (sent,) = desk.sent
        for conn, outcome in found:
            sent.add(conn, "n1", Route.DIRECT, outcome, 1.0)
        sent.done(sent)
        assert desk.done == [push]
        return push

    async def test_what_arrived_says_so_and_the_rest_is_stored(self, desk):
        push = await self.finished(
            desk,
            ("a", Outcome.DELIVERED),
            ("b", Outcome.ACKED),
            ("c", Outcome.OFFLINE),
            ("d", Outcome.OVERLOADED),
            ("e", Outcome.UNAVAILABLE),
            ("f", Outcome.UNKNOWN),
        )
        assert outcomes(push) == ["delivered", "acked", *["stored"] * 4]

    async def test_of_nobody_it_is_stored(self, desk):
        push = await self.finished(desk)
        assert push.receipt().outcome is Outcome.STORED
        assert push.receipt().counts == {Outcome.STORED: 1}

    async def test_what_too_few_replicas_have_is_unknown_unless_it_arrived(self, desk):
        push = await self.finished(desk, ("a", Outcome.DELIVERED), ("b", Outcome.OFFLINE), certain=False)
        assert outcomes(push) == ["delivered", "unknown"]

    async def test_several_targets_are_stored_and_told_of_each_by_itself(self, desk):
        push = desk.store(User(1), Conn("a"), User(1, from_type="web"), User(2), Conn("a"))
        await desk.settle()
        assert [(letter.box, letter.only) for letter in desk.mailbox.letters] == [
            ("@1", ""),
            ("a", ""),
            ("@2", ""),
        ]
        first, second, third = desk.sent
        first.add("x", "n1", Route.DIRECT, Outcome.DELIVERED, 1.0)
        first.done(first)
        second.done(second)
        assert desk.done == []
        third.done(third)
        assert desk.done == [push]
        assert push.receipt().counts == {Outcome.DELIVERED: 1, Outcome.STORED: 2}

    async def test_two_kinds_of_devices_of_one_user_get_one_letter(self, desk):
        desk.store(User(1, from_type="web"), User(1, from_type="a;b"))
        await desk.settle()
        assert [letter.only for letter in desk.mailbox.letters] == ["@web,@a%3Bb"]
        assert len(desk.sent[0].targets) == 2


class TestFailures:
    @pytest.mark.parametrize(
        ("failure", "outcome"),
        [
            (MailboxAway("away"), "unavailable"),
            (MailboxUnavailable("no answer"), "unknown"),
        ],
    )
    async def test_what_is_not_stored_is_not_sent(self, desk, failure, outcome):
        desk.mailbox.failures["a"] = failure
        push = desk.store(Conn("a"))
        behind = desk.push(Conn("a"), name="behind")
        await desk.settle()
        assert desk.done == [push]
        assert outcomes(push) == [outcome]
        assert desk.sent == [behind]
        assert desk.storing.stored == 0

    async def test_what_is_not_stored_fails_nobody_else(self, desk):
        desk.mailbox.failures["b"] = MailboxUnavailable("no answer")
        for name in "abc":
            desk.store(Conn(name))
        await desk.settle()
        assert desk.mailbox.rounds[-1] > 1
        assert [push.targets for push in desk.sent] == [[Conn("a")], [Conn("c")]]
        assert [outcomes(push) for push in desk.done] == [["unknown"]]
        assert desk.storing.stored == 2

    async def test_fault_of_ours_is_unknown(self, desk, monkeypatch):
        async def fail(_):
            raise ValueError

        monkeypatch.setattr(desk.mailbox, "store", fail)
        push = desk.store(Conn("a"))
        await desk.settle()
        assert outcomes(push) == ["unknown"]

    async def test_what_takes_too_long_is_unknown_and_what_waits_for_it_was_not_sent(self, desk, monkeypatch):
        monkeypatch.setattr(storing, "monotonic", lambda: 100.0)
        desk.mailbox.open.clear()
        push = desk.store(Conn("a"), deadline=99.0)
        behind = desk.push(Conn("a"), name="behind", deadline=99.0)
        patient = desk.push(Conn("a"), name="patient", deadline=101.0)
        await eventually(lambda: len(desk.done) == 2, "the late ones to end")
        assert (outcomes(push), outcomes(behind)) == (["unknown"], ["unavailable"])
        desk.mailbox.open.set()
        await desk.settle()
        assert desk.sent == [patient]
        assert not desk.storing.busy

    async def test_more_than_can_be_held_is_refused(self, desk, monkeypatch):
        monkeypatch.setattr(storing, "MOST_HELD", 2)
        desk.mailbox.open.clear()
        desk.store(Conn("a"))
        desk.push(Conn("a"))
        late = [desk.store(Conn("b")), desk.push(Conn("a")), desk.store(Conn("c"), Conn("d"))]
        assert desk.done == late
        assert [outcomes(push) for push in late] == [["overloaded"], ["overloaded"], ["overloaded"] * 2]
        desk.mailbox.open.set()
        await desk.settle()
