"""A push that is followed: each step that was measured, and none that was not."""

from __future__ import annotations

from contextlib import nullcontext
from time import monotonic

import pytest

from sanic_ws.core.batch import Reply
from sanic_ws.core.flights import Flight, LookUp
from sanic_ws.core.identity import Conn
from sanic_ws.core.outcomes import Answer, Delivery, Outcome, Receipt, Route
from sanic_ws.core.push import Item, Push
from sanic_ws.core.seeking import Seek
from sanic_ws.dispatch.following import STEPS, Followed
from sanic_ws.errors import BrokerUnavailable, Unroutable


def item_of(trace, conn="c", node=None):
    now = monotonic()
    push = Push("p", [Conn(conn)], b"", started=now, deadline=now + 9, done=lambda _: None, trace=trace)
    item = Item(push, conn, None)
    item.node = node
    return item


@pytest.fixture
def followed():
    return Followed()


def steps(journey):
    written = journey.to_json("p")
    assert all(step["what"] in STEPS and step["at_ms"] >= 0 for step in written)
    assert [step["at_ms"] for step in written] == sorted(step["at_ms"] for step in written)
    return [(step["what"], step["where"], step.get("to")) for step in written]


def reply(number, *answers, node="n1", **details):
    return Reply(number, node, bytes(answers), {int(key[1:]): value for key, value in details.items()})


def test_nothing_is_followed_until_somebody_asks_and_nothing_is_kept_after_that(followed):
    assert not followed
    with followed.follow("here") as journey:
        assert followed
        flight = Flight(1, "n1", [item_of(journey)], 0.0)
        with followed.send(flight, nullcontext()):
            pass
    assert not followed
    assert followed._sent == {}
    followed.answered(reply(1, Answer.DELIVERED))
    assert steps(journey) == [
        ("accepted", "here", None),
        ("sent", "p.direct", "n1"),
        ("confirmed", "p.direct", "n1"),
    ]


def test_batch_of_others_is_nobodys_step(followed):
    with followed.follow("here") as journey:
        flight = Flight(1, "n1", [item_of(None), item_of(object())], 0.0)
        with followed.send(flight, nullcontext("headers")) as headers:
            assert headers == "headers"
        followed.answered(reply(1, Answer.DELIVERED, Answer.DELIVERED))
    assert steps(journey) == [("accepted", "here", None)]


@pytest.mark.parametrize(
    ("raised", "what"), [(Unroutable("n1"), "returned"), (BrokerUnavailable("away"), "failed")]
)
def test_batch_that_does_not_arrive(followed, raised, what):
    with followed.follow("here") as journey:
        flight = Flight(1, "n1", [item_of(journey)], 0.0)
        with pytest.raises(type(raised)), followed.send(flight, nullcontext()):
            raise raised
    assert steps(journey)[1:] == [("sent", "p.direct", "n1"), (what, "p.direct", "n1")]


def test_two_in_one_batch_get_each_their_own_answer(followed):
    with followed.follow("here") as one, followed.follow("here") as two:
        flight = Flight(1, "n1", [item_of(None), item_of(one), item_of(two)], 0.0)
        with followed.send(flight, nullcontext()):
            pass
        followed.answered(reply(1, Answer.OVERLOADED, Answer.DELIVERED, Answer.NOT_MINE))
    assert steps(one)[-1] == ("written", "n1", None)
    assert steps(two)[-1] == ("not_here", "n1", None)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([("c", 1), ("d", 2)], ["overloaded", "written"]),
        ([(1, 30), (2, 0)], ["overloaded", "written"]),
        ([], []),
    ],
)
def test_what_was_for_several(followed, details, expected):
    with followed.follow("here") as journey:
        with followed.send(Flight(1, "n1", [item_of(journey)], 0.0), nullcontext()):
            pass
        followed.answered(reply(1, Answer.SEVERAL, _0=details))
    assert [what for what, where, _ in steps(journey) if where == "n1"] == expected


def test_of_all_who_are_asked_only_the_one_that_has_it_is_told(followed):
    with followed.follow("here") as journey:
        with followed.send(Seek(1, "", [item_of(journey)], 0.0), nullcontext()):
            pass
        for node, said in (("n1", Answer.NOT_MINE), ("n2", Answer.DELIVERED)):
            followed.answered(reply(1, said, node=node))
    assert steps(journey)[1:] == [
        ("fallback", "p.fanout", None),
        ("confirmed", "p.fanout", None),
        ("written", "n2", None),
    ]


@pytest.mark.parametrize(("nodes", "to"), [(["n1"], "n1"), (["n1", "n2"], None), ([None], None)])
def test_look_up_names_the_owner_if_there_is_one(followed, nodes, to):
    with followed.follow("here") as journey:
        look_up = LookUp([], [], nodes=False, gates=[], items=[item_of(journey) for _ in nodes])
        items = followed.among(look_up)
        for item, node in zip(look_up.items, nodes, strict=True):
            item.node = node
        followed.looked_up(items, monotonic(), found=True)
        followed.looked_up(items, monotonic(), found=False)
    assert steps(journey)[1:] == [("looked_up", "registry", to), ("registry_away", "registry", to)]


def test_receipt_tells_what_was_written_here_and_what_clients_said(followed):
    with followed.follow("here") as journey:
        deliveries = [
            Delivery("a", "here", Route.LOCAL, Outcome.DELIVERED, 0.1),
            Delivery("b", "n1", Route.DIRECT, Outcome.ACKED, 0.2),
            Delivery("c", "n2", Route.DIRECT, Outcome.ACKED, 0.3, "yes", replied=True),
            Delivery("d", "n2", Route.DIRECT, Outcome.DELIVERED, 0.3),
            Delivery("e", None, None, Outcome.OFFLINE, 0.3),
        ]
        journey.note([], [Receipt("p", deliveries)])
    assert set(steps(journey)[1:]) == {
        ("written", "here", None),
        ("acked", "client", "n1"),
        ("replied", "client", "n2"),
        ("receipt", "here", None),
    }
