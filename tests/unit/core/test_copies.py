"""Copies of pushes among nodes that are fakes around real hubs, and what is kept of receipts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_ws.core import copies as module
from sanic_ws.core.copies import copy_key, read_record, write_record
from sanic_ws.core.flights import Limits
from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Delivery, Outcome, Receipt, Route
from sanic_ws.core.reports import Said
from tests.unit.core.cluster import GROUP, TIMEOUT_S, Cluster, three_connected

ONCE = Order("mine", once=True)
ASK, REPLY = Order("mine", once=True, wait="ack"), Order("mine", once=True, wait="reply")


@pytest.fixture(params=[False, True], ids=["publisher", "node"])
def cluster(request):
    """c0 is on n1, c1 on n2, both of user 1; c2 is on n0."""
    yield from three_connected(local=request.param)


def move(cluster, conn, node):
    """Have a client move; the node that it leaves remembers nothing that helps."""
    socket = next(socket for socket in reversed(cluster.sockets) if socket.conn == conn)
    cluster.disconnect(socket)
    cluster.settle()
    assert cluster.connect(conn, node)
    cluster.settle()


def push(cluster, *targets, order=ONCE, **options):
    sent = cluster.push(*targets, order=order, **options)
    cluster.settle()
    return sent


def step_until(cluster, holds, *, read=False):
    for _ in range(20):
        if holds():
            return
        cluster.advance()
        cluster.happen()
        cluster.advance()
        if read:
            cluster.read(cluster.nodes["n1"])
            cluster.reply()
    raise AssertionError("it never came to that")


def receipt_of(sent):
    (receipt,) = sent.receipts
    return receipt


def told(sent):
    return receipt_of(sent).to_json() | {"id": ""}


def received(cluster, conn):
    return [n for socket in cluster.sockets if socket.conn == conn for n in socket.received]


@pytest.mark.parametrize("conn", ["c0", "c2"])
def test_copy_gets_the_firsts_receipt_wherever_the_client_is(cluster, conn):
    first = push(cluster, Conn(conn))
    for node in ("n2", "n0", "n1"):
        move(cluster, conn, node)
        assert told(push(cluster, Conn(conn))) == told(first)
    assert received(cluster, conn) == [0]


@pytest.mark.parametrize("target", [User(1), Group(GROUP), Everyone()], ids=["user", "group", "everyone"])
def test_copy_for_many_is_not_delivered_to_who_has_moved(cluster, target):
    push(cluster, Everyone(), order=None)
    first = push(cluster, target)
    before = [received(cluster, conn) for conn in ("c0", "c1", "c2")]
    move(cluster, "c0", "n0")
    assert told(push(cluster, target)) == told(first)
    assert [received(cluster, conn) for conn in ("c0", "c1", "c2")] == before


def test_another_id_or_target_is_another_push(cluster):
    push(cluster, Conn("c0"))
    move(cluster, "c0", "n2")
    push(cluster, Conn("c0"), order=Order("other", once=True))
    assert received(cluster, "c0") == [0, 1]


def test_push_without_an_id_asks_for_nothing(cluster):
    cluster.push(Conn("c0"))
    cluster.advance()
    assert cluster.look_up.copies == []
    cluster.settle()
    assert cluster.receipts == {}


@pytest.mark.parametrize("trouble", ["nobody", "broker away"])
def test_what_was_certainly_not_sent_can_be_tried_again(cluster, trouble):
    cluster.broker_away = trouble == "broker away"
    if trouble == "nobody":
        cluster.disconnect(next(s for s in cluster.sockets if s.conn == "c0"))
        cluster.settle()
    sent = push(cluster, Conn("c0"))
    assert receipt_of(sent).outcome in {Outcome.OFFLINE, Outcome.UNAVAILABLE}
    assert cluster.receipts == {}
    cluster.broker_away = False
    if trouble == "nobody":
        cluster.connect("c0", "n2")
    assert receipt_of(push(cluster, Conn("c0"))).outcome is Outcome.DELIVERED
    assert received(cluster, "c0") == [1]


def test_what_is_not_known_is_not_kept(cluster):
    sent = cluster.push(Conn("c0"), order=ONCE)
    step_until(cluster, lambda: cluster.nodes["n1"].queue)
    cluster.nodes["n1"].queue.clear()
    cluster.pass_time(4.0)
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.UNKNOWN
    assert cluster.receipts == {}


def test_only_what_was_not_sent_is_tried_again(cluster):
    full = next(socket for socket in cluster.sockets if socket.conn == "c1")
    full.full = True
    first = push(cluster, User(1))
    assert receipt_of(first).outcome is Outcome.PARTIAL
    full.full = False
    move(cluster, "c0", "n0")
    again = push(cluster, User(1))
    assert {d.conn: (d.node, d.outcome) for d in receipt_of(again).deliveries} == {
        "c0": ("n1", "delivered"),
        "c1": ("n2", "delivered"),
    }
    move(cluster, "c1", "n0")
    assert told(push(cluster, User(1))) == told(again)
    assert (received(cluster, "c0"), received(cluster, "c1")) == ([0], [1])


def test_only_connections_that_did_not_get_it_are_tried_again(cluster):
    full = next(socket for socket in cluster.sockets if socket.conn == "c1")
    full.full = True
    push(cluster, Conn("c0"), Conn("c1"))
    full.full = False
    move(cluster, "c0", "n2")
    assert receipt_of(push(cluster, Conn("c1"), Conn("c0"))).counts == {"delivered": 2}
    assert (received(cluster, "c0"), received(cluster, "c1")) == ([0], [1])


def test_copy_that_comes_while_the_first_is_under_way_waits_for_its_receipt(cluster):
    first, second = cluster.push(Conn("c0"), order=ONCE), cluster.push(Conn("c0"), order=ONCE)
    assert cluster.router.open_items > 1
    cluster.settle()
    assert told(first) == told(second)
    assert received(cluster, "c0") == [0]


def test_copy_that_cannot_wait_any_longer_is_unknown(cluster):
    first = cluster.push(Conn("c0"), order=ONCE)
    second = cluster.push(Conn("c0"), order=ONCE, timeout_s=1.0)
    third = cluster.push(Everyone(), order=ONCE)
    fourth = cluster.push(Everyone(), order=ONCE, timeout_s=1.0)
    cluster.pass_time(1.5)
    cluster.router.expire(cluster.now)
    assert [d.conn for d in receipt_of(second).deliveries] == ["c0"]
    assert receipt_of(second).outcome is receipt_of(fourth).outcome is Outcome.UNKNOWN
    cluster.settle()
    assert receipt_of(first).outcome is Outcome.DELIVERED
    assert len(third.receipts) == 1


def test_copy_whose_time_is_over_with_the_firsts_gets_its_receipt(cluster):
    first, copy = [cluster.push(Conn("c0"), order=ASK) for _ in range(2)]
    cluster.settle()
    cluster.pass_time(TIMEOUT_S)
    cluster.settle()
    assert receipt_of(first).counts == {Outcome.DELIVERED: 1}
    assert told(copy) == told(first)


def test_router_that_is_closed_keeps_what_clients_have_not_answered(cluster):
    sent = push(cluster, Conn("c0"), order=ASK)
    cluster.close()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 1}


def test_copies_that_wait_are_bounded():
    cluster = Cluster()
    cluster.router._limits = Limits(open_items=3)
    cluster.connect("c0", "n1")
    cluster.settle()
    sent = [cluster.push(Conn("c0"), order=ONCE) for _ in range(6)]
    cluster.settle()
    assert [receipt_of(each).outcome for each in sent] == ["delivered"] * 3 + ["overloaded"] * 3
    cluster.end()


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        (ONCE, {"c0": Outcome.DELIVERED}),
        (REPLY, {"c0": Outcome.DELIVERED}),
        (Order("mine", once=True, wait="ack", first=True), {"c0": Outcome.ACKED}),
    ],
)
def test_connections_that_there_is_no_room_for_are_in_a_copys_receipt(order, kept):
    cluster = Cluster()
    cluster.router._limits = Limits(open_items=1)
    targets = [Conn("c9"), Conn("c1"), Conn("c2"), User(5), User(6)]
    deliveries = [Delivery("c0", "n1", Route.DIRECT, kept["c0"], 1.0)]
    deliveries += [Delivery("c2", "n1", Route.DIRECT, Outcome.DELIVERED, 1.0)]
    deliveries += [Delivery("c9", None, None, Outcome.OVERLOADED, 1.0)]
    cluster.receipts[copy_key(targets, "mine")] = write_record(Receipt("mine", deliveries))
    cluster.connect("c2", "n1")
    cluster.settle()
    again = receipt_of(push(cluster, *targets, order=order))
    expected = [("c0", kept["c0"]), ("c1", Outcome.OVERLOADED), ("c2", Outcome.DELIVERED)]
    expected += [(None, Outcome.OVERLOADED)] * 2
    told = [(d.conn, d.outcome) for d in again.deliveries if d.conn != "c9"]
    assert sorted(told, key=str) == sorted(expected, key=str)
    assert received(cluster, "c2") == []
    cluster.end()


def test_registry_that_is_away_keeps_nothing_and_the_owner_remembers(cluster):
    push(cluster, Everyone(), order=None)
    cluster.registry_away = True
    for conn in ("c0", "c2"):
        first, again = push(cluster, Conn(conn)), push(cluster, Conn(conn))
        assert receipt_of(first).outcome is receipt_of(again).outcome is Outcome.DELIVERED
        assert len(received(cluster, conn)) == 2
    assert cluster.receipts == {}


def test_earlier_receipt_is_given_out_where_two_were_under_way(cluster):
    first = cluster.push(Conn("c0"), order=ONCE)
    key = copy_key([Conn("c0")], "mine")
    earlier = Receipt("mine", [Delivery("c0", "n9", Route.FALLBACK, Outcome.DELIVERED, 7.0)])
    step_until(cluster, lambda: cluster.router._copies._recording, read=True)
    cluster.receipts[key] = write_record(earlier)
    cluster.settle()
    assert told(first)["deliveries"] == earlier.to_json()["deliveries"]


def test_copy_asks_a_client_that_is_where_it_was(cluster):
    push(cluster, Conn("c0"))
    asking = push(cluster, Conn("c0"), order=ASK)
    assert asking.receipts == []
    cluster.say(next(s for s in cluster.sockets if s.conn == "c0"), 0, Said.ACK)
    cluster.settle()
    assert asking.receipts == [] or receipt_of(asking).outcome is Outcome.ACKED


def test_copy_does_not_ask_a_client_that_has_moved(cluster):
    push(cluster, Conn("c0"))
    move(cluster, "c0", "n2")
    assert receipt_of(push(cluster, Conn("c0"), order=ASK)).outcome is Outcome.DELIVERED
    assert received(cluster, "c0") == [0]


def test_first_answer_is_enough_for_copies():
    cluster = Cluster()
    order = Order("mine", once=True, wait="ack", first=True)
    deliveries = [
        Delivery("c0", "n1", Route.DIRECT, Outcome.ACKED, 1.0),
        Delivery("c1", "n2", Route.DIRECT, Outcome.DELIVERED, 1.0),
    ]
    cluster.receipts[copy_key([User(1)], "mine")] = write_record(Receipt("mine", deliveries))
    cluster.connect("c1", "n2")
    assert receipt_of(push(cluster, User(1), order=order)).counts == {"acked": 1, "delivered": 1}
    cluster.end()


def test_router_that_is_closed_gives_out_what_would_have_been_kept(cluster):
    first, second = cluster.push(Conn("c0"), order=ONCE), cluster.push(Conn("c0"), order=ONCE)
    step_until(cluster, lambda: cluster.router._copies._recording, read=True)
    cluster.router.close(None, cluster.now)
    assert receipt_of(first).outcome is receipt_of(second).outcome is Outcome.DELIVERED
    assert cluster.router.open_items == 0


# What is kept


def test_keys_tell_targets_and_ids_apart():
    pushes = [
        ([Conn("a")], "b"),
        ([Conn("a"), Conn("b")], "b"),
        ([Conn("b")], "b"),
        ([Conn("a")], "a\nb"),
        ([User("a")], "b"),
        ([User("a", from_type="w")], "b"),
        ([Group("a")], "b"),
        ([Everyone()], "b"),
    ]
    assert len({copy_key(*each) for each in pushes}) == len(pushes)
    assert copy_key([Conn("a"), Conn("b")], "x") == copy_key([Conn("b"), Conn("a"), Conn("b")], "x")


OUTCOMES = st.sampled_from([Outcome.DELIVERED, Outcome.ACKED])
REPLIES = st.none() | st.booleans() | st.text(max_size=9) | st.lists(st.integers(0, 9), max_size=3)


@given(st.lists(st.tuples(st.sampled_from("abc"), OUTCOMES, REPLIES), min_size=1, max_size=5))
def test_what_was_sent_is_read_as_it_was_written(said):
    deliveries = [
        Delivery(conn, "n1", Route.DIRECT, outcome, 1.5, reply, outcome is Outcome.ACKED)
        for conn, outcome, reply in said
    ]
    for delivery in deliveries:
        delivery.reply = delivery.reply if delivery.replied else None
    record = read_record(write_record(Receipt("", deliveries)))
    assert (list(record.receipt.deliveries), record.complete) == (deliveries, True)


@pytest.mark.parametrize(
    ("totals", "kept"),
    [
        ({Outcome.DELIVERED: 5}, True),
        ({Outcome.DELIVERED: 5, Outcome.OVERLOADED: 1}, True),
        ({Outcome.DELIVERED: 5, Outcome.UNKNOWN: 1}, False),
        ({Outcome.DELIVERED: 5, Outcome.UNAVAILABLE: 1}, False),
        ({Outcome.OVERLOADED: 1}, False),
        ({}, False),
    ],
)
def test_counts_are_kept_where_a_retry_could_reach_nobody_new(totals, kept):
    written = write_record(Receipt("", (), totals))
    assert (written is not None) == kept
    assert not kept or read_record(written).receipt.totals == totals


@pytest.mark.parametrize("outcome", [o for o in Outcome if o not in {Outcome.DELIVERED, Outcome.ACKED}])
def test_what_was_not_sent_is_not_kept(outcome):
    assert write_record(Receipt("", [Delivery("a", "n", None, outcome, 1.0)])) is None


def test_receipt_that_is_too_long_is_kept_without_replies_or_not_at_all(monkeypatch):
    delivery = Delivery("a", "n", Route.DIRECT, Outcome.ACKED, 1.0, "x" * 500, replied=True)
    monkeypatch.setattr(module, "MOST_RECORD_BYTES", 100)
    record = read_record(write_record(Receipt("", [delivery])))
    assert (record.receipt.deliveries[0].outcome, record.receipt.deliveries[0].replied) == ("acked", False)
    assert write_record(Receipt("", [delivery] * 5)) is None


@pytest.mark.parametrize(
    "value", [b"", b"junk", b"[]", b"[1,null,[[1]]]", b'[1,{"no":1},[]]', b"[1,5,[]]", b"{}", b"[1,null,5]"]
)
def test_what_is_no_record_is_none(value):
    assert read_record(value) is None


def test_record_of_another_kind_is_not_believed(cluster):
    cluster.receipts[copy_key([Conn("c0")], "mine")] = write_record(Receipt("", (), {Outcome.DELIVERED: 3}))
    cluster.receipts[copy_key([Conn("c2")], "mine")] = b"junk"
    for conn in ("c0", "c2"):
        assert receipt_of(push(cluster, Conn(conn))).deliveries[0].conn == conn
        assert len(received(cluster, conn)) == 1
