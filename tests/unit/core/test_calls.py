"""Pushes whose clients are asked, case by case, among nodes that are fakes around real hubs."""

from __future__ import annotations

from math import isfinite

import pytest

from sanic_ws.core import calls as module
from sanic_ws.core.batch import Reply
from sanic_ws.core.flights import Flight, Found, Owner
from sanic_ws.core.identity import Conn, Everyone, User
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Answer, Outcome, Route
from sanic_ws.core.push import Push
from sanic_ws.core.reports import Report, Said
from sanic_ws.core.routing import Router
from tests.unit.core.cluster import Cluster, check

ACK, REPLY = Order("", wait="ack"), Order("", wait="reply")
FIRST, FIRST_REPLY = Order("", wait="ack", first=True), Order("", wait="reply", first=True)


@pytest.fixture(params=[False, True], ids=["publisher", "node"])
def cluster(request):
    """c0 is on n1, c1 on n2, both of user 1; c2 is on n0."""
    cluster = Cluster(local=request.param)
    for conn, node in (("c0", "n1"), ("c1", "n2"), ("c2", "n0")):
        cluster.connect(conn, node)
    yield cluster
    cluster.end()
    check(cluster)


def socket_of(cluster, conn):
    return next(socket for socket in reversed(cluster.sockets) if socket.conn == conn)


def say(cluster, conn, sent, said=Said.ACK):
    cluster.say(socket_of(cluster, conn), sent.number, said)
    cluster.settle()


def outcomes(sent):
    (receipt,) = sent.receipts
    return {delivery.conn: delivery.outcome for delivery in receipt.deliveries}


@pytest.mark.parametrize("conn", ["c0", "c2"])
def test_receipt_waits_for_the_client(cluster, conn):
    sent = cluster.push(Conn(conn), order=ACK)
    cluster.settle()
    assert sent.receipts == []
    cluster.now += 0.5
    say(cluster, conn, sent)
    (delivery,) = sent.receipts[0].deliveries
    assert (delivery.outcome, delivery.latency_ms, delivery.replied) == (Outcome.ACKED, 500.0, False)
    assert delivery.route is (Route.LOCAL if cluster.local and conn == "c2" else Route.DIRECT)
    assert cluster.router.deliveries == {(delivery.route, Outcome.ACKED): 1}


def test_reply_is_in_the_receipt(cluster):
    sent = cluster.push(Conn("c0"), order=REPLY)
    cluster.settle()
    say(cluster, "c0", sent, Said.REPLY)
    (delivery,) = sent.receipts[0].deliveries
    assert (delivery.outcome, delivery.reply, delivery.replied) == (Outcome.ACKED, 1, True)
    assert delivery.to_json()["reply"] == 1


@pytest.mark.parametrize(
    ("order", "said", "outcome"),
    [(ACK, None, "delivered"), (REPLY, None, "delivered"), (REPLY, Said.ACK, "acked")],
)
def test_at_the_deadline_what_is_known_is_said(cluster, order, said, outcome):
    sent = cluster.push(Conn("c0"), order=order, timeout_s=1.0)
    cluster.settle()
    if said is not None:
        say(cluster, "c0", sent, said)
    cluster.pass_time(0.9)
    assert sent.receipts == []
    cluster.pass_time(0.1)
    assert outcomes(sent) == {"c0": outcome}
    assert "reply" not in sent.receipts[0].deliveries[0].to_json()


def test_who_is_not_there_is_offline_at_once(cluster):
    sent = cluster.push(Conn("nobody"), order=ACK)
    cluster.settle()
    assert outcomes(sent) == {"nobody": Outcome.OFFLINE}


def test_later_pushes_do_not_wait_for_the_answer(cluster):
    asked = cluster.push(User(1), order=ACK)
    cluster.settle()
    later = cluster.push(User(1))
    cluster.settle()
    assert outcomes(later) == {"c0": Outcome.DELIVERED, "c1": Outcome.DELIVERED}
    assert asked.receipts == []


def test_every_device_has_an_outcome_of_its_own(cluster):
    sent = cluster.push(User(1), order=ACK, timeout_s=1.0)
    cluster.settle()
    say(cluster, "c1", sent)
    assert sent.receipts == []
    cluster.pass_time(1.0)
    assert outcomes(sent) == {"c0": Outcome.DELIVERED, "c1": Outcome.ACKED}


def test_session_that_ends_is_not_waited_for(cluster):
    sent = cluster.push(User(1), order=ACK)
    cluster.settle()
    say(cluster, "c1", sent)
    cluster.disconnect(socket_of(cluster, "c0"))
    cluster.settle()
    assert outcomes(sent) == {"c0": Outcome.DELIVERED, "c1": Outcome.ACKED}


def test_owner_that_dies_leaves_it_delivered_at_the_deadline(cluster):
    sent = cluster.push(Conn("c0"), order=ACK, timeout_s=1.0)
    cluster.settle()
    cluster.kill(cluster.nodes["n1"])
    cluster.pass_time(1.0)
    assert outcomes(sent) == {"c0": Outcome.DELIVERED}


@pytest.mark.parametrize("target", [Conn("c0"), User(1)])
def test_who_is_found_by_the_fallback_is_asked(cluster, target):
    cluster.owners.clear()
    cluster.users.clear()
    sent = cluster.push(target, order=ACK)
    cluster.settle()
    for conn in ("c0", "c1") if isinstance(target, User) else ("c0",):
        say(cluster, conn, sent)
    (receipt,) = sent.receipts
    assert {(d.outcome, d.route) for d in receipt.deliveries} == {(Outcome.ACKED, Route.FALLBACK)}


def test_answer_may_come_while_the_fallback_still_asks_others(cluster):
    cluster.users.clear()
    sent = cluster.push(User(1), order=ACK)
    cluster.settle(except_node="n2")
    say_at_once = socket_of(cluster, "c0")
    cluster.say(say_at_once, sent.number, Said.ACK)
    cluster.settle(except_node="n2")
    assert sent.receipts == []
    cluster.settle()
    say(cluster, "c1", sent)
    assert outcomes(sent) == {"c0": Outcome.ACKED, "c1": Outcome.ACKED}


def test_answer_of_a_client_counts_where_the_nodes_own_is_lost(cluster):
    sent = cluster.push(Conn("c0"), order=ACK, timeout_s=1.0)
    cluster.advance()
    cluster.happen()
    cluster.happen()
    cluster.advance()
    cluster.read(cluster.nodes["n1"])
    cluster.replies.clear()
    say(cluster, "c0", sent)
    cluster.pass_time(1.0)
    assert outcomes(sent) == {"c0": Outcome.ACKED}


# The first of several


@pytest.mark.parametrize(("order", "said"), [(FIRST, Said.ACK), (FIRST_REPLY, Said.REPLY)])
def test_first_device_ends_it_and_the_others_are_told(cluster, order, said):
    sent = cluster.push(User(1), Conn("c2"), order=order)
    cluster.settle()
    say(cluster, "c1", sent, said)
    assert outcomes(sent) == {"c0": Outcome.DELIVERED, "c1": Outcome.ACKED, "c2": Outcome.DELIVERED}
    cancelled = {socket.conn: len(socket.cancelled) for socket in cluster.sockets}
    assert cancelled == {"c0": 1, "c1": 0, "c2": 1}


def test_confirmation_is_not_the_first_reply(cluster):
    sent = cluster.push(User(1), order=FIRST_REPLY)
    cluster.settle()
    say(cluster, "c0", sent, Said.ACK)
    assert sent.receipts == []
    say(cluster, "c1", sent, Said.REPLY)
    assert outcomes(sent) == {"c0": Outcome.ACKED, "c1": Outcome.ACKED}
    assert [d.replied for d in sent.receipts[0].deliveries] == [True, False]


def test_second_device_is_told_even_if_it_answers_too(cluster):
    sent = cluster.push(User(1), order=FIRST)
    cluster.settle()
    for conn in ("c0", "c1"):
        cluster.say(socket_of(cluster, conn), sent.number, Said.ACK)
    cluster.settle()
    assert outcomes(sent) == {"c0": Outcome.ACKED, "c1": Outcome.DELIVERED}
    assert len(socket_of(cluster, "c1").cancelled) == 1


def test_device_that_is_still_on_its_way_is_unknown_and_told_when_it_arrives(cluster):
    sent = cluster.push(User(1), order=FIRST)
    cluster.settle(except_node="n2")
    cluster.say(socket_of(cluster, "c0"), sent.number, Said.ACK)
    cluster.settle(except_node="n2")
    assert sent.receipts == []
    cluster.pass_time(module.GRACE_S)
    assert outcomes(sent) == {"c0": Outcome.ACKED, "c1": Outcome.UNKNOWN}
    cluster.settle()
    assert socket_of(cluster, "c1").received == [sent.number]
    assert len(socket_of(cluster, "c1").cancelled) == 1
    assert len(sent.receipts) == 1
    assert len(sent.receipts[0].deliveries) == 2


def test_device_that_arrives_a_moment_after_the_first_answer_is_delivered_and_told(cluster):
    sent = cluster.push(User(1), order=FIRST)
    cluster.settle(except_node="n2")
    cluster.say(socket_of(cluster, "c0"), sent.number, Said.ACK)
    cluster.settle()
    assert outcomes(sent) == {"c0": Outcome.ACKED, "c1": Outcome.DELIVERED}
    assert len(socket_of(cluster, "c1").cancelled) == 1


def test_device_that_was_not_sent_to_before_the_first_answer_is_left_out():
    cluster = Cluster(local=True)
    cluster.connect("c0", "n1")
    cluster.connect("c2", "n0")
    sent = cluster.push(Conn("c2"), Conn("c0"), order=FIRST)
    cluster.say(socket_of(cluster, "c2"), sent.number, Said.ACK)
    cluster.happen()
    cluster.settle()
    assert outcomes(sent) == {"c2": Outcome.ACKED, "c0": Outcome.UNAVAILABLE}
    assert socket_of(cluster, "c0").received == []


def test_without_an_answer_nobody_is_told(cluster):
    sent = cluster.push(User(1), order=FIRST, timeout_s=1.0)
    cluster.settle()
    cluster.pass_time(1.0)
    assert outcomes(sent) == {"c0": Outcome.DELIVERED, "c1": Outcome.DELIVERED}
    assert not any(socket.cancelled for socket in cluster.sockets)


# Copies


def test_same_id_is_delivered_once_whichever_way_it_comes():
    cluster = Cluster()
    cluster.connect("c0", "n1")
    once = Order("mine", once=True)
    cluster.push(Conn("c0"), order=once)
    cluster.settle()
    del cluster.owners["c0"]
    by_fallback = cluster.push(Conn("c0"), order=once)
    cluster.settle()
    assert outcomes(by_fallback) == {"c0": Outcome.DELIVERED}
    assert socket_of(cluster, "c0").received == [0]


# What must not come


def router_with_a_call():
    router, receipts = Router(), []
    push = Push(
        "p",
        [Conn("c")],
        b"",
        started=0,
        deadline=9,
        done=lambda push: receipts.append(push.receipt()),
        order=Order("p", wait="ack"),
    )
    router.submit(push, 0)
    router.looked_up(router.take_look_up(), Found([Owner("n1", "1")], []), None, 0)
    (flight,) = router.take_actions()
    assert isinstance(flight, Flight)
    return router, push, flight, receipts


def test_reports_that_nobody_waits_for_are_ignored():
    router, push, flight, receipts = router_with_a_call()
    router.replied(Reply(flight.id, "n1", bytes([Answer.DELIVERED])), 1)
    router.reported([Report(99, "c", Said.ACK), Report(push.order.ticket, "d", Said.ACK)], 1)
    assert receipts == []
    router.reported([Report(push.order.ticket, "c", Said.ACK)] * 2, 1)
    assert [receipt.outcome for receipt in receipts] == [Outcome.ACKED]
    router.reported([Report(push.order.ticket, "c", Said.ACK)], 1)
    assert router.take_actions() == []
    assert router.idle


def test_early_answers_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_EARLY", 3)
    router, push, _, _ = router_with_a_call()
    router.reported([Report(push.order.ticket, f"d{n}", Said.ACK) for n in range(10)], 1)
    (call,) = router._calls._calls.values()
    assert len(call.early) == 3


def test_reply_that_cannot_be_read_is_none():
    router, push, flight, receipts = router_with_a_call()
    push.order.wait = "reply"
    router.replied(Reply(flight.id, "n1", bytes([Answer.DELIVERED])), 1)
    router.reported([Report(push.order.ticket, "c", Said.REPLY, "{")], 1)
    assert receipts[0].deliveries[0].reply is None


def test_router_that_is_closed_says_what_it_knows():
    router, _, flight, receipts = router_with_a_call()
    router.replied(Reply(flight.id, "n1", bytes([Answer.DELIVERED])), 1)
    router.close(None, 1)
    assert [receipt.outcome for receipt in receipts] == [Outcome.DELIVERED]
    assert isfinite(receipts[0].deliveries[0].latency_ms)
    assert router.open_items == 0


# Pushes that wait for a slow client

LATE = Order("", overflow="drop_oldest")
LATE_ASK = Order("", overflow="drop_oldest", wait="ack")


def slow(cluster, *conns):
    for conn in conns:
        socket_of(cluster, conn).slow = True


def read_on(cluster, conn):
    socket_of(cluster, conn).read_on(cluster.now)
    cluster.settle()


@pytest.mark.parametrize("conn", ["c0", "c2"])
def test_receipt_waits_until_the_push_is_written(cluster, conn):
    slow(cluster, conn)
    sent = cluster.push(Conn(conn), order=LATE)
    cluster.settle()
    assert sent.receipts == []
    cluster.now += 0.5
    read_on(cluster, conn)
    (delivery,) = sent.receipts[0].deliveries
    assert (delivery.outcome, delivery.latency_ms) == (Outcome.DELIVERED, 500.0)
    assert delivery.route is (Route.LOCAL if cluster.local and conn == "c2" else Route.DIRECT)


def test_push_that_may_wait_and_need_not_is_delivered_at_once(cluster):
    sent = cluster.push(User(1), order=LATE)
    cluster.settle()
    assert outcomes(sent) == {"c0": Outcome.DELIVERED, "c1": Outcome.DELIVERED}


def test_push_through_the_fallback_waits_as_well(cluster):
    slow(cluster, "c0")
    del cluster.owners["c0"]
    sent = cluster.push(Conn("c0"), order=LATE)
    cluster.settle()
    assert sent.receipts == []
    read_on(cluster, "c0")
    assert (outcomes(sent), sent.receipts[0].deliveries[0].route) == ({"c0": "delivered"}, Route.FALLBACK)


@pytest.mark.parametrize("how", ["replaced", "gone", "too late"])
def test_push_that_is_given_up_is_overloaded(cluster, how):
    slow(cluster, "c0")
    order = Order("", overflow="coalesce", key="k", expires=0.5)
    sent = cluster.push(Conn("c0"), order=order)
    cluster.settle()
    if how == "replaced":
        cluster.push(Conn("c0"), order=order)
    elif how == "gone":
        cluster.disconnect(socket_of(cluster, "c0"))
    else:
        cluster.now += 0.5
        read_on(cluster, "c0")
    cluster.settle()
    assert outcomes(sent) == {"c0": Outcome.OVERLOADED}


def test_push_that_waits_for_too_long_is_unknown(cluster):
    slow(cluster, "c0", "c1")
    sent = cluster.push(User(1), order=LATE, timeout_s=1.0)
    cluster.settle()
    read_on(cluster, "c1")
    cluster.pass_time(0.9)
    assert sent.receipts == []
    cluster.pass_time(0.1)
    assert outcomes(sent) == {"c0": Outcome.UNKNOWN, "c1": Outcome.DELIVERED}


def test_report_may_come_before_the_answer(cluster):
    slow(cluster, "c0")
    sent = cluster.push(Conn("c0"), order=LATE)
    cluster.happen()
    cluster.happen()
    cluster.advance()
    cluster.read(cluster.nodes["n1"])
    socket_of(cluster, "c0").read_on(cluster.now)
    cluster.happen()
    assert sent.receipts == []
    cluster.settle()
    assert outcomes(sent) == {"c0": Outcome.DELIVERED}


def test_client_confirms_what_has_waited(cluster):
    slow(cluster, "c0", "c1")
    sent = cluster.push(User(1), order=LATE_ASK, timeout_s=1.0)
    cluster.settle()
    for conn in ("c0", "c1"):
        read_on(cluster, conn)
    say(cluster, "c0", sent)
    assert sent.receipts == []
    cluster.pass_time(1.0)
    assert outcomes(sent) == {"c0": Outcome.ACKED, "c1": Outcome.DELIVERED}


def test_many_do_not_hold_the_receipt_up(cluster):
    slow(cluster, "c0")
    sent = cluster.push(Everyone(), order=LATE)
    cluster.settle()
    assert sent.receipts[0].counts[Outcome.UNKNOWN] >= 1
    assert sent.receipts[0].counts[Outcome.DELIVERED] == 2


# Pushes that expire


def test_push_that_has_not_been_sent_in_time_is_not_sent(cluster):
    late = cluster.push(Conn("c0"), order=Order("", expires=0.5))
    cluster.pass_time(0.5)
    cluster.settle()
    assert outcomes(late) == {"c0": Outcome.UNAVAILABLE}
    assert socket_of(cluster, "c0").received == []


def test_push_that_is_read_too_late_is_not_written_and_its_batch_is(cluster):
    late = cluster.push(Conn("c0"), order=Order("", expires=0.5))
    other = cluster.push(Conn("c0"))
    cluster.settle(except_node="n1")
    cluster.pass_time(0.6)
    assert late.receipts == []
    cluster.settle()
    assert (outcomes(late), outcomes(other)) == ({"c0": Outcome.UNAVAILABLE}, {"c0": Outcome.DELIVERED})
    assert socket_of(cluster, "c0").received == [other.number]
