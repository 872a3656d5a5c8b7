"""The router, case by case; `test_routing_schedules` looks for the cases that nobody thought of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sanic_ws.core.batch import Reply
from sanic_ws.core.flights import Flight, Forget, Found, Limits
from sanic_ws.core.groups import Change
from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Answer, Cause, Outcome, Route
from sanic_ws.core.push import Push
from sanic_ws.core.routing import Router
from sanic_ws.core.seeking import Probe
from tests.unit.core.cluster import GROUP, IN_GROUP, TIMEOUT_S, USERS, Cluster, Sent, check, check_empty

NOW = 100.0
WEB, APP = User(1, from_type="web"), User(1, from_type="app")


@pytest.fixture
def cluster():
    """A publisher's router; c0 is on n1, c1 on n2, both of user 1; c2 is on n0."""
    cluster = Cluster()
    cluster.connect("c0", "n1")
    cluster.connect("c1", "n2")
    cluster.connect("c2", "n0")
    return cluster


@pytest.fixture
def node():
    """The same cluster from within n0."""
    cluster = Cluster(local=True)
    cluster.connect("c0", "n1")
    cluster.connect("c1", "n2")
    cluster.connect("c2", "n0")
    return cluster


def receipt_of(sent: Sent):
    (receipt,) = sent.receipts
    return receipt


def only_delivery(sent: Sent):
    (delivery,) = receipt_of(sent).deliveries
    return delivery


def received(cluster: Cluster, conn: str) -> list[list[int]]:
    return [socket.received for socket in cluster.sockets if socket.conn == conn]


def look_up(cluster: Cluster) -> None:
    """Let a look-up be read and arrive."""
    cluster.advance()
    cluster.happen(-1)
    cluster.happen(-1)
    cluster.advance()


def ask_all(cluster: Cluster) -> None:
    """Let the list of nodes be read, those be probed that may be gone, and a fallback go out."""
    cluster.advance()
    for _ in range(3):
        cluster.happen(-1)
    cluster.advance()


def bare_push(*targets, number=0, timeout_s=2.0, **kwargs):
    receipts = []
    push = Push(
        f"p{number}",
        targets,
        b"frame",
        started=NOW,
        deadline=NOW + timeout_s,
        done=lambda push: receipts.append(push.receipt()),
        **kwargs,
    )
    return push, receipts


# One connection


def test_push_goes_straight_to_the_listed_owner(cluster):
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    delivery = only_delivery(sent)
    assert (delivery.conn, delivery.node, delivery.route) == ("c0", "n1", Route.DIRECT)
    assert delivery.outcome is Outcome.DELIVERED
    assert received(cluster, "c0") == [[0]]


def test_push_reaches_no_other_node_than_the_owner(cluster):
    cluster.push(Conn("c0"))
    look_up(cluster)
    assert {node.id: len(node.queue) for node in cluster.nodes.values()} == {"n0": 0, "n1": 1, "n2": 0}


def test_unlisted_connection_is_found_by_the_fallback(cluster):
    del cluster.owners["c0"]
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    delivery = only_delivery(sent)
    assert (delivery.node, delivery.route, delivery.outcome) == ("n1", Route.FALLBACK, Outcome.DELIVERED)
    assert received(cluster, "c0") == [[0]]


def test_connection_that_nobody_has_is_offline(cluster):
    sent = cluster.push(Conn("nobody"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE
    assert only_delivery(sent).route is None


def test_found_connection_settles_before_every_node_has_answered(cluster):
    del cluster.owners["c0"]
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    ask_all(cluster)
    cluster.read(cluster.nodes["n1"])
    cluster.reply()
    assert receipt_of(sent).outcome is Outcome.DELIVERED


def test_offline_waits_for_the_last_node(cluster):
    sent = cluster.push(Conn("nobody"))
    look_up(cluster)
    ask_all(cluster)
    for name in ("n0", "n1"):
        cluster.read(cluster.nodes[name])
        cluster.reply()
    assert sent.receipts == []
    cluster.read(cluster.nodes["n2"])
    cluster.reply()
    assert receipt_of(sent).outcome is Outcome.OFFLINE


def test_registry_out_of_reach_means_fallback(cluster):
    cluster.registry_away = True
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert only_delivery(sent).route is Route.FALLBACK
    assert receipt_of(sent).outcome is Outcome.DELIVERED


def test_nobody_is_offline_while_the_registry_is_out_of_reach(cluster):
    cluster.registry_away = True
    sent = cluster.push(Conn("nobody"))
    cluster.end()
    assert receipt_of(sent).outcome is Outcome.UNKNOWN


def test_full_socket_is_overloaded(cluster):
    cluster.sockets[0].full = True
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OVERLOADED


def test_full_queue_of_a_node_is_overloaded(cluster):
    sent = cluster.push(Conn("c0"))
    cluster.router.submit(bare_push(Conn("c1"))[0], NOW)
    look_up_now = cluster.router.take_look_up()
    cluster.router.looked_up(look_up_now, Found([cluster.owners["c0"], None], []), None, NOW)
    flight = next(a for a in cluster.router.take_actions() if a.node == "n1")
    cluster.router.failed(flight, Outcome.OVERLOADED, NOW)
    assert only_delivery(sent).outcome is Outcome.OVERLOADED
    assert only_delivery(sent).route is None


def test_excluded_connection_gets_nothing(cluster):
    sent = cluster.push(Conn("c0"), exclude=["c0"])
    cluster.settle()
    assert receipt_of(sent).deliveries == []
    assert received(cluster, "c0") == [[]]


@pytest.mark.parametrize("conn", ["c0", "c2"])
@pytest.mark.parametrize("sought", [False, True])
@pytest.mark.parametrize("order", [None, Order("p", once=True)])
def test_connection_of_an_excluded_user_gets_nothing(cluster, conn, sought, order):
    user = USERS[conn]
    for exclude, got in (([f"@{user.key}"], 0), (["@9", f"@{user.key};tv"], 1)):
        if sought:
            cluster.owners.clear()
        order = order and replace(order, push_id=f"p{got}")
        sent = cluster.push(Conn(conn), exclude=exclude, order=order)
        cluster.settle()
        assert [d.conn for d in receipt_of(sent).deliveries] == [conn] * got
        assert [len(frames) for frames in received(cluster, conn)] == [got]
    assert cluster.router.open_items == 0


def test_users_are_left_out_of_connections_and_users_alike(cluster):
    sent = cluster.push(Conn("c0"), Conn("c2"), User(1), exclude=["@1"])
    cluster.settle()
    assert [d.conn for d in receipt_of(sent).deliveries] == ["c2"]
    assert received(cluster, "c1") == [[]]


def test_asking_to_close_reaches_the_owner(cluster):
    push, receipts = bare_push(Conn("c0"), close_code=4403)
    cluster.router.submit(push, NOW)
    cluster.settle()
    assert receipts[0].outcome is Outcome.DELIVERED
    assert cluster.nodes["n1"].hub.get("c0") is None


# A stale registry


def test_returned_batch_is_looked_up_again_and_goes_to_the_new_owner(cluster):
    sent = cluster.push(Conn("c0"))
    cluster.advance()
    cluster.happen()
    cluster.kill(cluster.nodes["n1"])
    cluster.connect("c0", "n2")
    cluster.settle()
    delivery = only_delivery(sent)
    assert (delivery.node, delivery.route, delivery.outcome) == ("n2", Route.DIRECT, Outcome.DELIVERED)


def test_not_mine_is_looked_up_again_and_goes_to_the_new_owner(cluster):
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.disconnect(cluster.sockets[0])
    cluster.connect("c0", "n2")
    cluster.settle()
    assert (only_delivery(sent).node, only_delivery(sent).route) == ("n2", Route.DIRECT)


def test_not_mine_and_listed_all_the_same_means_fallback(cluster):
    owner = cluster.owners["c0"]
    cluster.disconnect(cluster.sockets[0])
    cluster.later.clear()
    cluster.connect("c0", "n2")
    cluster.owners["c0"] = owner
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    delivery = only_delivery(sent)
    assert (delivery.node, delivery.route, delivery.outcome) == ("n2", Route.FALLBACK, Outcome.DELIVERED)


def test_entry_that_nobody_backs_is_forgotten(cluster):
    cluster.disconnect(cluster.sockets[0])
    cluster.later.clear()
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE
    assert "c0" not in cluster.owners
    assert "c0" not in cluster.users[User(1).key]


def test_forgetting_names_the_session_that_was_refused(cluster):
    cluster.disconnect(cluster.sockets[0])
    cluster.later.clear()
    owner = cluster.owners["c0"]
    cluster.push(Conn("c0"))
    forgotten = []
    cluster._release = lambda conn, owner, conn_too=True: forgotten.append((conn, owner))
    cluster.settle()
    assert forgotten == [("c0", owner)]


def test_listed_owner_without_a_queue_is_unavailable(cluster):
    cluster.deafen(cluster.nodes["n1"])
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    cluster.pass_time(0.2)
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.UNAVAILABLE
    assert "c0" in cluster.owners


def test_dead_owner_is_offline_once_its_lease_has_ended(cluster):
    cluster.kill(cluster.nodes["n1"])
    cluster.listed.discard("n1")
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE


def test_node_that_leaves_is_waited_for_although_its_queue_is_gone(cluster):
    sent = cluster.push(Conn("nobody"))
    cluster.settle(except_node="n1")
    leaving = cluster.nodes["n1"]
    while leaving.hears:
        cluster.leave(leaving)
    leaving.paused = True
    cluster.pass_time(0.2)
    cluster.settle(except_node="n1")
    assert sent.receipts == []
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE


def test_node_that_answers_another_while_it_leaves_is_not_waited_for(cluster):
    cluster.push(Conn("nobody"))
    cluster.settle()
    leaving = cluster.nodes["n1"]
    while not leaving.withdrawn:
        cluster.leave(leaving)
    first = cluster.push(Conn("nobody"))
    cluster.settle(except_node="n1")
    cluster.read(leaving)
    cluster.leave(leaving)
    second = cluster.push(Conn("nobody-else"))
    look_up(cluster)
    cluster.happen()
    cluster.happen()
    # Now that its queue was seen to be missing, what it said of the first arrives.
    cluster.reply()
    cluster.leave(leaving)
    cluster.settle()
    assert [receipt_of(sent).outcome for sent in (first, second)] == [Outcome.OFFLINE] * 2


def test_nobody_is_offline_while_a_listed_node_cannot_be_reached(cluster):
    cluster.kill(cluster.nodes["n1"])
    first = cluster.push(Conn("nobody"))
    cluster.settle()
    assert first.receipts == []
    cluster.pass_time(0.2)
    cluster.settle()
    assert first.receipts == []
    cluster.pass_time(1.0)
    cluster.settle()
    assert receipt_of(first).outcome is Outcome.UNKNOWN
    second = cluster.push(Conn("nobody"))
    cluster.settle()
    assert receipt_of(second).outcome is Outcome.UNAVAILABLE
    cluster.end_leases()
    third = cluster.push(Conn("nobody"))
    cluster.settle()
    assert receipt_of(third).outcome is Outcome.OFFLINE


def test_nobody_is_offline_while_the_list_of_nodes_is_not_whole(cluster):
    cluster.mending = True
    sent = cluster.push(Conn("nobody"))
    cluster.settle()
    assert sent.receipts == []
    cluster.pass_time(0.2)
    assert receipt_of(sent).outcome is Outcome.UNKNOWN


def test_user_who_was_found_is_told_of_alone_while_the_list_is_not_whole(cluster):
    cluster.mending = True
    sent = cluster.push(User(1))
    cluster.settle()
    cluster.pass_time(0.2)
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 2}


def test_connection_that_is_full_is_unknown_while_a_node_is_silent(cluster):
    """The silent one may have another connection of that id, and have written to it."""
    for socket in cluster.sockets:
        socket.full = True
    cluster.registry_away = True
    sent = cluster.push(User(1))
    cluster.settle(except_node="n2")
    cluster.nodes["n2"].queue.clear()
    cluster.pass_time(TIMEOUT_S)
    assert {(d.conn, d.outcome) for d in receipt_of(sent).deliveries} == {
        ("c0", Outcome.UNKNOWN),
        (None, Outcome.UNKNOWN),
    }


def test_node_that_nobody_knows_is_waited_for_while_the_list_is_not_whole(cluster):
    cluster.connect("c3", "n2", registered=False)
    cluster.listed.discard("n2")
    cluster.mending = True
    sent = cluster.push(Conn("c3"))
    cluster.settle(except_node="n2")
    assert sent.receipts == []
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.DELIVERED


def test_silent_node_makes_unknown_not_offline(cluster):
    sent = cluster.push(Conn("nobody"))
    look_up(cluster)
    ask_all(cluster)
    cluster.nodes["n1"].queue.clear()
    cluster.end()
    assert receipt_of(sent).outcome is Outcome.UNKNOWN


def test_only_silent_nodes_are_probed_and_only_once(cluster):
    cluster.push(Conn("nobody"))
    look_up(cluster)
    ask_all(cluster)
    cluster.read(cluster.nodes["n0"])
    cluster.reply()
    probes = []
    for moment in (100.05, 100.2, 100.3):
        cluster.router.expire(moment)
        probes.append(sorted(a.node for a in cluster.router.take_actions() if isinstance(a, Probe)))
    assert probes == [[], ["n1", "n2"], []]


def test_node_is_not_silent_because_a_push_took_long_before_it_was_asked(cluster):
    """Its queue may be gone by then, as it leaves: it answers all the same what has come to it."""
    sent = cluster.push(Conn("nobody"))
    look_up(cluster)
    cluster.pass_time(0.2)
    ask_all(cluster)
    for one in cluster.nodes.values():
        cluster.read(one)
    cluster.deafen(cluster.nodes["n1"])
    cluster.pass_time(0.09)
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE


def test_nobody_listening_at_all_is_unavailable_for_a_listed_owner(cluster):
    for one in cluster.nodes.values():
        cluster.deafen(one)
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.UNAVAILABLE


def test_nobody_listening_and_no_registry_is_unavailable(cluster):
    cluster.registry_away = True
    for one in cluster.nodes.values():
        cluster.deafen(one)
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.UNAVAILABLE


def test_broker_away_is_unavailable_at_once(cluster):
    cluster.broker_away = True
    sents = [cluster.push(Conn("c0")), cluster.push(Conn("nobody")), cluster.push(Everyone())]
    cluster.settle()
    assert [receipt_of(sent).outcome for sent in sents] == [Outcome.UNAVAILABLE] * 3


def test_connection_that_opens_is_asked_for_again(cluster):
    cluster.sockets[0].opened = False
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.read(cluster.nodes["n1"])
    cluster.reply()
    cluster.advance()
    assert sent.receipts == []
    cluster.settle()
    assert not cluster.nodes["n1"].queue  # not asked again before its time
    cluster.sockets[0].opened = True
    cluster.pass_time(0.05)
    cluster.settle()
    assert only_delivery(sent).route is Route.DIRECT
    assert received(cluster, "c0") == [[0]]


def test_connection_that_opens_is_found_by_the_fallback_too(cluster):
    del cluster.owners["c0"]
    cluster.sockets[0].opened = False
    sent = cluster.push(Conn("c0"))
    for _ in range(2):
        look_up(cluster)
    for one in cluster.nodes.values():
        cluster.read(one)
    while cluster.replies:
        cluster.reply()
    assert sent.receipts == []
    cluster.sockets[0].opened = True
    cluster.pass_time(0.05)
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.DELIVERED


def test_batch_read_too_late_is_unavailable(cluster):
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.now += 10
    cluster.read(cluster.nodes["n1"])
    cluster.now -= 10
    cluster.reply()
    assert only_delivery(sent).outcome is Outcome.UNAVAILABLE
    assert received(cluster, "c0") == [[]]


# Users


def test_user_push_reaches_every_device(cluster):
    sent = cluster.push(User(1))
    cluster.settle()
    assert {d.conn: (d.node, d.route) for d in receipt_of(sent).deliveries} == {
        "c0": ("n1", Route.DIRECT),
        "c1": ("n2", Route.DIRECT),
    }
    assert received(cluster, "c2") == [[]]


@pytest.mark.parametrize(("target", "conn"), [(WEB, "c0"), (APP, "c1")])
def test_user_push_reaches_one_kind_of_device(cluster, target, conn):
    sent = cluster.push(target)
    cluster.settle()
    assert [d.conn for d in receipt_of(sent).deliveries] == [conn]


def test_user_push_leaves_out_the_excluded_device(cluster):
    sent = cluster.push(User(1), exclude=["c0"])
    cluster.settle()
    assert [d.conn for d in receipt_of(sent).deliveries] == ["c1"]


def test_unlisted_user_is_found_by_the_fallback(cluster):
    cluster.users.clear()
    sent = cluster.push(User(1), exclude=["c1"])
    cluster.settle()
    assert [(d.conn, d.route) for d in receipt_of(sent).deliveries] == [("c0", Route.FALLBACK)]
    assert received(cluster, "c1") == [[]]


def test_user_without_devices_is_offline(cluster):
    sent = cluster.push(User(99))
    cluster.settle()
    assert (receipt_of(sent).outcome, receipt_of(sent).deliveries) == (Outcome.OFFLINE, [])


def test_user_whose_one_device_is_gone_still_gets_it_on_the_other(cluster):
    cluster.disconnect(cluster.sockets[0])
    cluster.later.clear()
    sent = cluster.push(User(1))
    cluster.settle()
    assert (receipt_of(sent).outcome, [d.conn for d in receipt_of(sent).deliveries]) == ("delivered", ["c1"])


def test_several_connections_make_several_deliveries(cluster):
    sent = cluster.push(Conn("c0"), Conn("nobody"), Conn("c0"))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.PARTIAL
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 1, Outcome.OFFLINE: 1}
    assert received(cluster, "c0") == [[0]]


def test_listed_user_and_one_of_its_connections_get_it_once(cluster):
    cluster.push(Conn("c0"), User(1), WEB)
    cluster.settle()
    assert (received(cluster, "c0"), received(cluster, "c1")) == ([[0]], [[0]])


def test_unlisted_user_named_twice_gets_it_once(cluster):
    cluster.users.clear()
    cluster.push(User(1), WEB)
    cluster.settle()
    assert (received(cluster, "c0"), received(cluster, "c1")) == ([[0]], [[0]])


def test_unlisted_user_and_one_of_its_connections_get_it_once(cluster):
    cluster.users.clear()
    cluster.push(Conn("c0"), User(1))
    cluster.settle()
    assert received(cluster, "c0") == [[0]]


def test_user_with_a_stale_device_is_found_at_one_that_is_not_listed_yet(cluster):
    cluster.disconnect(cluster.sockets[0])
    cluster.later.clear()
    del cluster.users[User(1).key]["c1"]
    sent = cluster.push(User(1))
    cluster.settle()
    assert receipt_of(sent).outcome is not Outcome.OFFLINE


def test_user_of_whom_only_excluded_devices_are_listed_is_not_sought(cluster):
    for conn in set(cluster.users[User(1).key]) - {"c1"}:
        del cluster.users[User(1).key][conn]
    sent = cluster.push(User(1), exclude=["c1"])
    look_up(cluster)
    assert cluster.router.take_actions() == []
    assert receipt_of(sent).outcome is Outcome.OFFLINE


def test_connection_of_a_user_in_two_sessions_is_one_delivery(cluster):
    cluster.users.clear()
    cluster.registry_away = True
    cluster.connect("c0", "n2")
    sent = cluster.push(User(1))
    cluster.end()
    conns = [d.conn for d in receipt_of(sent).deliveries if d.conn is not None]
    assert sorted(conns) == ["c0", "c1"]


# Everyone


def test_push_to_everyone_counts_and_lists_nobody(cluster):
    sent = cluster.push(Everyone(), exclude=["c1"])
    cluster.settle()
    receipt = receipt_of(sent)
    assert (receipt.outcome, receipt.counts) == ("delivered", {"delivered": 2})
    assert "deliveries" not in receipt.to_json()
    assert received(cluster, "c1") == [[]]


def test_push_to_everyone_from_a_node_writes_locally_too(node):
    sent = node.push(Everyone())
    node.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 3}
    assert not node.nodes["n0"].queue


def test_push_to_everyone_says_where_a_node_is_silent(cluster):
    sent = cluster.push(Everyone())
    look_up(cluster)
    cluster.nodes["n1"].queue.clear()
    cluster.end()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 2, Outcome.UNKNOWN: 1}


def test_push_to_everyone_says_where_a_queue_is_gone(cluster):
    cluster.deafen(cluster.nodes["n1"])
    sent = cluster.push(Everyone())
    cluster.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 2, Outcome.UNAVAILABLE: 1}


def test_push_to_everyone_without_a_registry_is_unavailable(cluster):
    cluster.registry_away = True
    sent = cluster.push(Everyone())
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.UNAVAILABLE


def test_push_to_everyone_goes_to_the_nodes_known_before_the_registry_went_away(cluster):
    cluster.push(Everyone())
    cluster.settle()
    cluster.registry_away = True
    sent = cluster.push(Everyone())
    cluster.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 3, Outcome.UNKNOWN: 1}


def test_push_to_everyone_where_nobody_is_is_offline():
    cluster = Cluster()
    sent = cluster.push(Everyone())
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE


# Groups


@pytest.fixture
def grouped(cluster):
    """c0 on n1 and c2 are in the group; c1 is not."""
    cluster.push(Everyone())
    cluster.settle()
    for socket in cluster.sockets:
        socket.received.clear()
    return cluster


def queues(cluster):
    return {node.id for node in cluster.nodes.values() if node.queue}


def test_push_to_a_group_goes_to_the_nodes_with_members_only_and_is_counted(grouped):
    sent = grouped.push(Group(GROUP))
    look_up(grouped)
    assert queues(grouped) == {grouped.where[s].id for s in grouped.sockets if s.conn in IN_GROUP}
    grouped.settle()
    receipt = receipt_of(sent)
    assert (receipt.outcome, receipt.counts) == ("delivered", {"delivered": 2})
    assert "deliveries" not in receipt.to_json()
    assert received(grouped, "c1") == [[]]


def test_group_without_members_is_offline_and_costs_nothing(grouped):
    grouped.marks.clear()
    sent = grouped.push(Group("nobody"))
    look_up(grouped)
    assert queues(grouped) == set()
    assert receipt_of(sent).outcome is Outcome.OFFLINE


@pytest.mark.parametrize("trouble", ["mending", "registry_away"])
def test_push_to_a_group_goes_to_all_known_nodes_where_members_are_not_known(grouped, trouble):
    grouped.marks.clear()
    setattr(grouped, trouble, True)
    sent = grouped.push(Group(GROUP))
    look_up(grouped)
    assert queues(grouped) == {"n0", "n1", "n2"}
    grouped.settle()
    assert receipt_of(sent).counts[Outcome.DELIVERED] == 2


@pytest.mark.parametrize("trouble", ["mending", "registry_away"])
def test_nobody_of_a_group_is_offline_where_members_are_not_known(grouped, trouble):
    setattr(grouped, trouble, True)
    sent = grouped.push(Group("nobody"))
    grouped.settle()
    assert receipt_of(sent).counts == {Outcome.UNKNOWN: 1}


def test_node_that_is_not_listed_any_more_is_not_believed(grouped):
    grouped.marks.add("n9")
    sent = grouped.push(Group(GROUP))
    grouped.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 2}


def test_push_to_a_group_says_where_a_node_is_silent_or_gone(grouped):
    sent = grouped.push(Group(GROUP))
    look_up(grouped)
    grouped.nodes["n1"].queue.clear()
    grouped.end()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 1, Outcome.UNKNOWN: 1}
    grouped.deafen(grouped.nodes["n1"])
    sent = grouped.push(Group(GROUP))
    grouped.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 1, Outcome.UNAVAILABLE: 1}


def test_push_to_a_group_without_a_registry_ever_is_unavailable():
    cluster = Cluster()
    cluster.registry_away = True
    sent = cluster.push(Group(GROUP))
    cluster.settle()
    assert receipt_of(sent).outcome is Outcome.UNAVAILABLE


def test_push_to_a_group_leaves_out_connections(grouped):
    sent = grouped.push(Group(GROUP), exclude=["c0"])
    grouped.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 1}
    assert received(grouped, "c0") == [[]]


def test_push_to_a_group_from_a_node_writes_locally_too(node):
    sent = node.push(Group(GROUP))
    node.settle()
    assert receipt_of(sent).counts == {Outcome.DELIVERED: 2}
    assert not node.nodes["n0"].queue


@pytest.mark.parametrize(
    ("exclude", "left"),
    [(["@1"], []), (["@1;web"], ["c1"]), (["@1;tv"], ["c0", "c1"]), (["@2", "c0"], ["c1"])],
)
def test_devices_are_left_out_by_their_users_name(cluster, exclude, left):
    sent = cluster.push(User(1), exclude=exclude)
    cluster.settle()
    assert sorted(d.conn for d in receipt_of(sent).deliveries) == left


@pytest.mark.parametrize("joins", [True, False])
def test_change_of_groups_reaches_the_owner(cluster, joins):
    push, receipts = bare_push(Conn("c0"), change=Change("c0", "other g", joins=joins))
    cluster.router.submit(push, NOW)
    cluster.settle()
    assert receipts[0].outcome is Outcome.DELIVERED
    assert ("other g" in cluster.nodes["n1"].hub.groups) == joins


# On a node


def test_local_connection_is_written_to_at_once(node):
    sent = node.push(Conn("c2"))
    delivery = only_delivery(sent)
    assert (delivery.node, delivery.route, delivery.outcome) == ("n0", Route.LOCAL, Outcome.DELIVERED)
    assert node.router.take_look_up() is None


def test_full_local_socket_is_overloaded_at_once(node):
    node.sockets[2].full = True
    assert only_delivery(node.push(Conn("c2"))).outcome is Outcome.OVERLOADED


def test_local_connection_waits_behind_a_user_push_that_is_not_resolved(node):
    node.push(User(2))
    later = node.push(Conn("c2"))
    assert later.receipts == []
    node.settle()
    assert received(node, "c2") == [[0, 1]]


def test_local_connection_of_a_user_goes_by_no_broker(node):
    sent = node.push(User(2))
    node.settle()
    assert only_delivery(sent).route is Route.LOCAL
    assert node.nodes["n0"].queue == node.nodes["n1"].queue


def test_local_closing_is_done_at_once(node):
    push, receipts = bare_push(Conn("c2"), close_code=4403)
    node.router.submit(push, NOW)
    assert receipts[0].outcome is Outcome.DELIVERED
    assert node.nodes["n0"].hub.get("c2") is None


def test_local_entry_that_is_stale_means_fallback(node):
    node.disconnect(node.sockets[2])
    node.later.clear()
    sent = node.push(Conn("c2"))
    node.settle()
    assert receipt_of(sent).outcome is Outcome.OFFLINE
    assert "c2" not in node.owners


# Lanes and batches


def test_pushes_of_one_round_go_as_one_batch(cluster):
    for _ in range(5):
        cluster.push(Conn("c0"))
    look_up(cluster)
    (batch,) = cluster.nodes["n1"].queue
    assert batch.targets == ["c0"] * 5


def test_lane_waits_for_the_answer_to_its_batch(cluster):
    cluster.push(Conn("c0"))
    look_up(cluster)
    for _ in range(3):
        cluster.push(Conn("c0"))
    look_up(cluster)
    assert len(cluster.nodes["n1"].queue) == 1
    cluster.read(cluster.nodes["n1"])
    cluster.reply()
    cluster.advance()
    (batch,) = cluster.nodes["n1"].queue
    assert len(batch.targets) == 3


def batches(limits: Limits, frames: list[bytes]) -> list[int]:
    """Push frames to one node; return how many went in each batch."""
    cluster = Cluster()
    cluster.router = router = Router(limits=limits)
    cluster.connect("c0", "n1")
    for number, frame in enumerate(frames):
        push, _ = bare_push(Conn("c0"), number=number)
        push.frame = frame
        router.submit(push, NOW)
    look_up_now = router.take_look_up()
    router.looked_up(look_up_now, Found([cluster.owners["c0"]] * len(frames), []), None, NOW)
    sizes = []
    while actions := router.take_actions():
        (flight,) = actions
        sizes.append(len(flight.items))
        router.replied(Reply(flight.id, "n1", bytes([Answer.DELIVERED]) * len(flight.items)), NOW)
    check_empty(router)
    return sizes


def test_batch_is_bounded_in_items():
    assert batches(Limits(batch_items=2), [b"x"] * 5) == [2, 2, 1]


def test_batch_is_bounded_in_bytes():
    assert batches(Limits(batch_bytes=10), [b"12345", b"12345", b"1", b"12345"]) == [2, 2]


def test_single_frame_may_be_larger_than_a_batch():
    assert batches(Limits(batch_bytes=10), [b"1", b"x" * 50, b"1"]) == [1, 1, 1]


def test_fallbacks_under_way_are_bounded():
    router = Router(limits=Limits(seeks=1))
    for number in range(2):
        router.submit(bare_push(Conn(f"c{number}"), number=number)[0], NOW)
        router.looked_up(router.take_look_up(), Found([None], []), None, NOW)
        assert len(router.take_actions()) == (1 if number == 0 else 0)


def seek_some(router: Router, count: int) -> list[list]:
    """Push to connections that nobody is registered for, with one look-up; return their receipts."""
    made = [bare_push(Conn(f"c{number}"), number=number) for number in range(count)]
    router.submit_all([push for push, _ in made], NOW)
    router.looked_up(router.take_look_up(), Found([None] * count, []), None, NOW)
    return [receipts for _, receipts in made]


def test_fallback_has_a_budget_by_time():
    router = Router(limits=Limits(seek_items_per_s=10))
    router.expire(NOW)
    seek_some(router, 25)
    (first,) = router.take_actions()
    assert len(first.items) == 10
    assert router.take_actions() == []
    router.expire(NOW + 0.5)
    (second,) = router.take_actions()
    assert len(second.items) == 5
    router.expire(NOW + 100)
    assert sum(len(seek.items) for seek in router.take_actions() if isinstance(seek, Flight)) <= 10


def test_unused_budget_does_not_add_up():
    router = Router(limits=Limits(seek_items_per_s=10))
    router.expire(NOW)
    router.expire(NOW + 100)
    seek_some(router, 25)
    (first,) = router.take_actions()
    assert len(first.items) == 10


def test_what_waits_for_the_fallback_is_bounded():
    router = Router(limits=Limits(seek_items=3, seeks=1))
    receipts = seek_some(router, 5)
    assert [len(got) for got in receipts] == [0, 0, 0, 1, 1]
    assert {got[0].outcome for got in receipts[3:]} == {Outcome.OVERLOADED}
    assert router.open_items == 3


def test_fallback_that_is_full_leaves_pushes_to_registered_connections_alone(cluster):
    cluster.router = Router(limits=Limits(seek_items=0))
    refused, sent = cluster.push(Conn("nobody")), cluster.push(Conn("c0"))
    cluster.settle()
    assert receipt_of(refused).outcome is Outcome.OVERLOADED
    assert receipt_of(sent).outcome is Outcome.DELIVERED
    cluster.end()
    check(cluster)


def test_full_router_is_overloaded():
    router = Router(limits=Limits(open_items=1))
    router.submit(bare_push(Conn("c0"))[0], NOW)
    for target in (Conn("c0"), Conn("c1"), User(1), Everyone()):
        push, receipts = bare_push(target)
        router.submit(push, NOW)
        assert receipts[0].outcome is Outcome.OVERLOADED
    assert router.open_items == 1


# Order


def test_later_pushes_wait_behind_a_fallback(cluster):
    owner = cluster.owners.pop("c0")
    cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.owners["c0"] = owner
    cluster.push(Conn("c0"))
    other = cluster.push(Conn("c1"))
    cluster.happen(-1)
    look_up(cluster)
    cluster.read(cluster.nodes["n2"])
    while cluster.replies:
        cluster.reply()
    assert receipt_of(other).outcome is Outcome.DELIVERED
    cluster.end()
    assert received(cluster, "c0") == [[0, 1]]


def test_pushes_that_came_back_keep_their_order(cluster):
    cluster.push(Conn("c0"))
    look_up(cluster)
    for _ in range(3):
        cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.disconnect(cluster.sockets[0])
    cluster.connect("c0", "n2")
    cluster.push(Conn("c0"))
    cluster.end()
    assert received(cluster, "c0")[1] == [0, 1, 2, 3, 4]


def test_push_whose_look_up_misses_does_not_overtake_an_earlier_one(cluster):
    cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.disconnect(cluster.sockets[0])
    cluster.owners.clear()
    cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.connect("c0", "n2")
    cluster.end()
    assert received(cluster, "c0")[1] == [0, 1]


def test_push_whose_look_up_misses_does_not_overtake_one_in_the_lane(cluster):
    cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.registry_away = True
    cluster.push(Conn("c0"))
    look_up(cluster)
    look_up(cluster)
    cluster.end()
    assert received(cluster, "c0") == [[0, 1, 2]]


def test_user_push_whose_look_up_misses_does_not_overtake_an_earlier_one(cluster):
    cluster.push(User(1))
    look_up(cluster)
    cluster.push(User(1))
    look_up(cluster)
    cluster.registry_away = True
    cluster.push(User(1))
    look_up(cluster)
    look_up(cluster)
    cluster.end()
    assert received(cluster, "c0") == [[0, 1, 2]]


# Truth when things break at the wrong moment


def test_frame_that_a_node_wrote_before_it_was_cut_is_not_offline(cluster):
    del cluster.owners["c0"]
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    ask_all(cluster)
    cluster.cut_while_working(cluster.nodes["n1"])
    cluster.settle()
    cluster.pass_time(0.2)
    cluster.end()
    assert received(cluster, "c0") == [[0]]
    assert receipt_of(sent).outcome is Outcome.UNKNOWN


def test_frame_that_a_listed_node_wrote_before_it_was_cut_is_not_unavailable(cluster):
    cluster.deafen(cluster.nodes["n1"])
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.happen(-1)
    look_up(cluster)
    cluster.nodes["n1"].hears = True
    ask_all(cluster)
    assert cluster.nodes["n1"].queue
    cluster.cut_while_working(cluster.nodes["n1"])
    cluster.settle()
    cluster.pass_time(0.2)
    cluster.end()
    assert received(cluster, "c0") == [[0]]
    assert receipt_of(sent).outcome is Outcome.UNKNOWN


def test_full_old_session_does_not_hide_that_the_new_one_got_it(cluster):
    cluster.sockets[0].full = True
    cluster.registry_away = True
    cluster.connect("c0", "n2")
    sent = cluster.push(Conn("c0"))
    cluster.settle()
    assert received(cluster, "c0") == [[], [0]]
    assert receipt_of(sent).outcome is not Outcome.OVERLOADED


def test_answers_that_do_not_fit_the_batch_are_ignored(cluster):
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    batch = cluster.nodes["n1"].queue[0]
    cluster.router.replied(Reply(batch.id, "n1", b"\x01\x01"), NOW)
    cluster.router.replied(Reply(batch.id, "n2", b"\x01"), NOW)
    cluster.router.replied(Reply(batch.id + 1, "n1", b"\x01"), NOW)
    assert sent.receipts == []


@pytest.mark.parametrize("target", [Conn("c0"), Everyone()])
@pytest.mark.parametrize("code", list(Answer))
@pytest.mark.parametrize("details", [{}, {0: [(1, 1)]}, {0: [(3, 1)]}, {0: [("c0", 1)]}, {0: [(9, 1)]}])
def test_answer_that_makes_no_sense_breaks_nothing(cluster, target, code, details):
    """A node of another version may send it; an open push that nobody closes would keep `close` busy."""
    sent = cluster.push(target)
    look_up(cluster)
    for node in cluster.nodes.values():
        for batch in node.queue:
            cluster.router.replied(Reply(batch.id, node.id, bytes([code]), details), NOW)
    cluster.end()
    assert len(sent.receipts) == 1


def test_late_answer_is_ignored(cluster):
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.read(cluster.nodes["n1"])
    cluster.pass_time(5)
    assert receipt_of(sent).outcome is Outcome.UNKNOWN
    cluster.reply()
    assert len(sent.receipts) == 1
    check_empty(cluster.router)


# Deadlines


def test_unanswered_batch_ends_as_unknown(cluster):
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.pass_time(3)
    delivery = only_delivery(sent)
    assert (delivery.outcome, delivery.route, delivery.node) == (Outcome.UNKNOWN, Route.DIRECT, "n1")


def test_push_that_waits_in_a_lane_ends_as_unavailable(cluster):
    cluster.push(Conn("c0"), timeout_s=60)
    look_up(cluster)
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.pass_time(3)
    assert only_delivery(sent).outcome is Outcome.UNAVAILABLE
    cluster.end()
    assert received(cluster, "c0") == [[0]]


def test_push_that_waits_at_a_gate_ends_as_unavailable(cluster):
    del cluster.owners["c0"]
    cluster.push(Conn("c0"), timeout_s=60)
    look_up(cluster)
    look_up(cluster)
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.pass_time(3)
    assert only_delivery(sent).outcome is Outcome.UNAVAILABLE


def test_push_that_waits_for_a_fallback_to_go_out_ends_as_unavailable():
    router = Router(limits=Limits(seeks=1))
    receipts = []
    for number, timeout_s in enumerate((60, 1)):
        push, receipts = bare_push(Conn(f"c{number}"), number=number, timeout_s=timeout_s)
        router.submit(push, NOW)
        router.looked_up(router.take_look_up(), Found([None], []), None, NOW)
        router.take_actions()
    router.expire(NOW + 2)
    assert receipts[0].outcome is Outcome.UNAVAILABLE


def test_push_past_its_deadline_when_looked_up_ends_as_unavailable(cluster):
    sent = cluster.push(Conn("c0"))
    cluster.advance()
    cluster.now += 5
    cluster.settle()
    assert only_delivery(sent).outcome is Outcome.UNAVAILABLE
    assert received(cluster, "c0") == [[]]


def test_open_fallback_ends_as_unknown(cluster):
    sent = cluster.push(Conn("nobody"))
    look_up(cluster)
    ask_all(cluster)
    cluster.pass_time(3)
    assert (only_delivery(sent).outcome, only_delivery(sent).route) == (Outcome.UNKNOWN, Route.FALLBACK)


def test_each_push_of_a_batch_has_its_own_deadline(cluster):
    early = cluster.push(Conn("c0"), timeout_s=1)
    late = cluster.push(Conn("c0"), timeout_s=60)
    look_up(cluster)
    cluster.pass_time(2)
    assert (len(early.receipts), len(late.receipts)) == (1, 0)
    cluster.settle()
    assert [receipt_of(s).outcome for s in (early, late)] == [Outcome.UNKNOWN, Outcome.DELIVERED]


def test_lane_goes_on_after_an_unanswered_batch(cluster):
    cluster.push(Conn("c0"), timeout_s=1)
    look_up(cluster)
    cluster.nodes["n1"].queue.clear()
    later = cluster.push(Conn("c0"), timeout_s=60)
    look_up(cluster)
    cluster.pass_time(2)
    cluster.settle()
    assert receipt_of(later).outcome is Outcome.DELIVERED


# What is left


def test_nothing_is_left_of_a_dead_node_whose_lane_was_taken_back(cluster):
    cluster.push(Conn("c0"))
    look_up(cluster)
    cluster.push(Conn("c0"))
    look_up(cluster)
    (flight,) = cluster.router._lanes._flights.values()
    cluster.router.returned(flight, NOW)
    cluster.kill(cluster.nodes["n1"])
    cluster.end()
    check_empty(cluster.router)


def test_nothing_is_left_of_a_lane_whose_pushes_expired(cluster):
    cluster.push(Conn("c0"), timeout_s=1)
    look_up(cluster)
    cluster.nodes["n1"].queue.clear()
    cluster.push(Conn("c0"), timeout_s=1)
    look_up(cluster)
    cluster.pass_time(2)
    cluster.end()
    check_empty(cluster.router)


def test_counters_tell_routes_and_outcomes(node):
    for target in (Conn("c2"), Conn("c0"), Conn("nobody")):
        node.push(target)
    node.settle()
    delivered, offline = Outcome.DELIVERED, Outcome.OFFLINE
    assert node.router.deliveries == {
        (Route.LOCAL, delivered): 1,
        (Route.DIRECT, delivered): 1,
        (None, offline): 1,
    }
    assert node.router.fallbacks == {Cause.MISS: 1}


def test_plain_traffic_keeps_every_promise(cluster):
    for target in (Conn("c0"), User(1), Everyone(), Conn("nobody"), User(99)):
        cluster.push(target)
    cluster.end()
    check(cluster)


def test_late_failures_of_a_batch_are_ignored(cluster):
    sent = cluster.push(Conn("c0"))
    look_up(cluster)
    (flight,) = cluster.router._lanes._flights.values()
    cluster.settle()
    cluster.router.returned(flight, NOW)
    cluster.router.failed(flight, Outcome.UNKNOWN, NOW)
    assert len(sent.receipts) == 1
    check_empty(cluster.router)


def test_late_failures_of_a_fallback_are_ignored(cluster):
    sent = cluster.push(Conn("nobody"))
    look_up(cluster)
    (seek,) = cluster.router._fallback._seeks.values()
    cluster.settle()
    cluster.router.nobody_heard(seek, NOW)
    cluster.router.probe_returned(Probe("n1", seek), NOW)
    cluster.router.failed(seek, Outcome.UNKNOWN, NOW)
    assert [r.outcome for r in sent.receipts] == [Outcome.OFFLINE]


def test_actions_are_handed_out_once(cluster):
    cluster.push(Conn("c0"))
    look_up_now = cluster.router.take_look_up()
    cluster.router.looked_up(look_up_now, Found([cluster.owners["c0"]], []), None, NOW)
    assert [type(a) for a in cluster.router.take_actions()] == [Flight]
    assert cluster.router.take_actions() == []
    assert cluster.router.take_look_up() is None
    assert not any(isinstance(a, Forget) for a in cluster.router.take_actions())
