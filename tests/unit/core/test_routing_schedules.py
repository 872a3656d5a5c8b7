"""The router's promises under any schedule of what can happen in a cluster.

More than 10,000 schedules together; ``ROUTING_EXAMPLES=10000`` plays so many in each test.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Outcome
from sanic_ws.core.reports import Said
from tests.unit.core.cluster import CONNS, GROUP, NODES, Cluster, check, check_total_order

EXAMPLES = int(os.environ.get("ROUTING_EXAMPLES", "350"))
SINGLE_USERS = (User(1), User(1, from_type="web"), User(1), User(2))
SEVERAL = (
    (Conn("c0"), Conn("c1")),
    (Conn("c0"), User(1)),
    (User(1), User(2)),
    (User(1), User(1, from_type="web")),
)


ORDERS = (
    Order("", wait="ack"),
    Order("", wait="reply"),
    Order("", wait="ack", first=True),
    Order("", wait="reply", first=True),
)

ONCE = Order("", once=True)
ONCE_LATE = (
    Order("", once=True, overflow="drop_oldest"),
    Order("", once=True, overflow="coalesce", key="a"),
    Order("", once=True, overflow="coalesce", key="a", wait="ack"),
)


LATE = (
    Order("", overflow="drop_oldest"),
    Order("", overflow="drop_oldest", expires=0.5),
    Order("", overflow="coalesce", key="a"),
    Order("", overflow="coalesce", key="b", expires=1.0),
    Order("", overflow="coalesce", key="a", wait="ack"),
    Order("", overflow="drop_oldest", wait="reply", first=True),
)


def rest(cluster: Cluster, arg: int) -> None:
    pass


def push_conn(cluster: Cluster, arg: int) -> None:
    cluster.push(Conn(CONNS[arg % 3]))


def push_user(cluster: Cluster, arg: int) -> None:
    cluster.push(SINGLE_USERS[arg % 4])


def push_several(cluster: Cluster, arg: int) -> None:
    cluster.push(*SEVERAL[arg % 4])


def push_except(cluster: Cluster, arg: int) -> None:
    cluster.push(User(1), exclude=[CONNS[arg % 2]])


def push_everyone(cluster: Cluster, arg: int) -> None:
    cluster.push(Everyone())


def push_group(cluster: Cluster, arg: int) -> None:
    cluster.push(Group(GROUP), exclude=[CONNS[0]] if arg % 4 == 0 else [])


def push_hastily(cluster: Cluster, arg: int) -> None:
    cluster.push(Conn(CONNS[arg % 3]), timeout_s=0.2)


def ask_conn(cluster: Cluster, arg: int) -> None:
    cluster.push(Conn(CONNS[arg % 3]), order=ORDERS[arg % 4])


def ask_user(cluster: Cluster, arg: int) -> None:
    cluster.push(SINGLE_USERS[arg % 4], order=ORDERS[arg // 3])


def ask_several(cluster: Cluster, arg: int) -> None:
    cluster.push(*SEVERAL[arg % 4], order=ORDERS[arg // 3])


def push_late(cluster: Cluster, arg: int) -> None:
    cluster.push(Conn(CONNS[arg % 3]) if arg < 6 else SINGLE_USERS[arg % 4], order=LATE[arg % 6])


def push_late_to_many(cluster: Cluster, arg: int) -> None:
    cluster.push(Everyone() if arg % 2 else Group(GROUP), order=LATE[arg % 4])


def push_once(cluster: Cluster, arg: int) -> None:
    target = Conn(CONNS[arg % 3]) if arg < 8 else SINGLE_USERS[arg % 4]
    cluster.push(target, order=ONCE)


def push_once_late(cluster: Cluster, arg: int) -> None:
    target = Conn(CONNS[arg % 3]) if arg < 8 else SINGLE_USERS[arg % 4]
    cluster.push(target, order=ONCE_LATE[arg % 3])


def copy(cluster: Cluster, arg: int) -> None:
    """One of the last pushes with an id is made once more."""
    pushes = [sent for sent in cluster.sent if sent.push.order is not None and sent.push.order.once]
    if pushes:
        cluster.copy(pushes[-1 - arg % min(3, len(pushes))])


def say(cluster: Cluster, arg: int) -> None:
    """A client answers one of the pushes that it got, or that was for another one."""
    if cluster.sockets and cluster.sent:
        socket = cluster.sockets[-1 - arg % min(3, len(cluster.sockets))]
        number = socket.received[-1] if socket.received else len(cluster.sent) - 1
        cluster.say(socket, number, Said.ACK if arg % 2 else Said.REPLY)
        cluster.seen["a client answered"] += number in socket.said


def happen(cluster: Cluster, arg: int) -> None:
    cluster.happen(arg)


def read(cluster: Cluster, arg: int) -> None:
    cluster.read(_node(cluster, arg))


def reply(cluster: Cluster, arg: int) -> None:
    cluster.reply(arg)


def settle(cluster: Cluster, arg: int) -> None:
    cluster.settle()


def wait_briefly(cluster: Cluster, arg: int) -> None:
    cluster.pass_time(0.11)


def wait_long(cluster: Cluster, arg: int) -> None:
    cluster.pass_time(1.6)


def connect(cluster: Cluster, arg: int) -> None:
    cluster.connect(CONNS[arg % 4], NODES[arg // 4 % 3], registered=False)


def disconnect(cluster: Cluster, arg: int) -> None:
    here = list(cluster.where)
    if here:
        cluster.disconnect(here[arg % len(here)])


def move(cluster: Cluster, arg: int) -> None:
    """A client loses its connection and comes back elsewhere; release and claim are under way."""
    here = list(cluster.where.items())
    if here:
        socket, node = here[arg % len(here)]
        cluster.disconnect(socket)
        others = [name for name in NODES if name != node.id]
        cluster.connect(socket.conn, others[arg // 6], registered=False)


def kill(cluster: Cluster, arg: int) -> None:
    cluster.kill(cluster.nodes[NODES[1 + arg % 2]])


def cut_while_working(cluster: Cluster, arg: int) -> None:
    cluster.cut_while_working(_node(cluster, arg))


def end_leases(cluster: Cluster, arg: int) -> None:
    cluster.end_leases()


def pause(cluster: Cluster, arg: int) -> None:
    cluster.pause(_node(cluster, arg))


def resume(cluster: Cluster, arg: int) -> None:
    cluster.resume(_node(cluster, arg))


def leave(cluster: Cluster, arg: int) -> None:
    """One node leaves at a time, and `arg` says little about which."""
    leaving = [node for node in cluster.nodes.values() if node.leaving and node.alive]
    cluster.leave(leaving[0] if leaving else cluster.nodes[NODES[1 + arg % 2]])


def heartbeat(cluster: Cluster, arg: int) -> None:
    cluster.heartbeat(_node(cluster, arg))


def empty_registry(cluster: Cluster, arg: int) -> None:
    if not cluster.registry_away:
        cluster.empty_registry()


def deafen(cluster: Cluster, arg: int) -> None:
    cluster.deafen(_node(cluster, arg))


def hear(cluster: Cluster, arg: int) -> None:
    for node in cluster.nodes.values():
        node.hears = node.alive


def toggle_registry(cluster: Cluster, arg: int) -> None:
    cluster.registry_away = not cluster.registry_away


def lose_owner(cluster: Cluster, arg: int) -> None:
    cluster.owners.pop(CONNS[arg % 4], None)


def lose_user_entry(cluster: Cluster, arg: int) -> None:
    for listed in cluster.users.values():
        listed.pop(CONNS[arg % 4], None)


def toggle_broker(cluster: Cluster, arg: int) -> None:
    cluster.broker_away = not cluster.broker_away


def lose_reply(cluster: Cluster, arg: int) -> None:
    if cluster.replies:
        del cluster.replies[arg % len(cluster.replies)]


def fill(cluster: Cluster, arg: int) -> None:
    if cluster.sockets:
        socket = cluster.sockets[arg % len(cluster.sockets)]
        socket.full = not socket.full


def slow(cluster: Cluster, arg: int) -> None:
    """Have a client read slowly, or take all that waits."""
    if cluster.sockets:
        socket = cluster.sockets[arg % len(cluster.sockets)]
        if socket.slow:
            socket.read_on(cluster.now)
        else:
            socket.slow = True


def _node(cluster: Cluster, arg: int):
    return cluster.nodes[NODES[arg % 3]]


BASE = [rest, push_conn, push_conn, push_user, happen, happen, happen, read, read, reply, reply, settle]
MOVES = [connect, connect, disconnect]
TROUBLES = {
    "moves": [*MOVES, move, move],
    "deaths": [kill, end_leases, lose_owner, wait_briefly, push_hastily, connect],
    "deaf nodes": [deafen, hear, cut_while_working, lose_owner, wait_briefly, push_hastily, connect],
    "registry away": [toggle_registry, connect],
    "entries missing": [lose_owner, lose_user_entry, connect],
    "nodes leaving": [leave, leave, leave, leave, move, connect, heartbeat],
    "nodes paused": [*[pause, resume, end_leases, heartbeat, move, connect] * 2, wait_briefly, push_hastily],
    "broker away": [toggle_broker, connect],
    "answers lost": [lose_reply, wait_briefly, wait_long, push_hastily],
    "full sockets": [fill, connect],
    "registry emptied": [empty_registry, heartbeat, heartbeat, heartbeat, move, connect],
    "answers of clients": [*[ask_conn, ask_user, ask_several] * 2, *[say] * 6, *MOVES, wait_long, lose_owner],
    "slow clients": [
        *[push_late] * 6,
        *[slow] * 4,
        *[say, push_late_to_many, *MOVES, move, wait_briefly, wait_long, lose_owner, fill, kill, lose_reply],
    ],
    "copies": [*[push_once, copy, copy] * 2, *[move, connect, disconnect], settle, lose_owner, kill],
    "copies of what waits": [
        *[push_once_late, push_once_late, copy, copy, slow] * 2,
        *[say, move, connect, disconnect, settle, wait_briefly, lose_owner, kill],
    ],
    "several targets": [push_several, push_several, push_except, push_everyone, toggle_registry],
}
TROUBLES["groups"] = [
    *[push_group] * 4,
    *[move, connect, disconnect, leave, kill, deafen, hear, end_leases, heartbeat, pause, resume],
    *[empty_registry, heartbeat, toggle_registry, push_hastily, wait_briefly],
]
TROUBLES["everything"] = [step for steps in TROUBLES.values() for step in steps]
MOVED = ["claimed before the old release", "release after the new claim"]
HAPPENS = {
    "moves": MOVED,
    "copies": ["copies of what was written", "a copy after the receipt", "killed", *MOVED],
    "deaths": ["killed", *MOVED],
    "nodes leaving": ["left in order", "read while leaving", "refused while leaving", *MOVED],
    "nodes paused": ["resumed as a zombie", "lease ended while paused", "asserted again", *MOVED],
    "everything": ["killed", "left in order", "refused while leaving", *MOVED],
    "answers of clients": ["a client answered", "acked", "replied", "first of several"],
    "slow clients": ["WRITTEN", "DROPPED"],
    "copies of what waits": ["WRITTEN", "DROPPED", "copies of what was written", "a copy after the receipt"],
    "registry emptied": ["registry emptied", "asserted again", "older session refused", *MOVED],
}

PUSHES = {
    ask_conn,
    ask_user,
    ask_several,
    push_once,
    push_once_late,
    copy,
    push_conn,
    push_user,
    push_several,
    push_except,
    push_everyone,
    push_group,
    push_hastily,
    push_late,
    push_late_to_many,
}


def run(
    schedule, *, local: bool, closing: bool = False, settled: bool = False, knowing: bool = False
) -> Cluster:
    """Run a schedule to its end, or until the router is closed.

    Two clients are connected; a third is about to be, unless all is ``settled``. A ``knowing`` router has
    met all nodes before.
    """
    cluster = Cluster(local=local)
    cluster.connect("c0", "n1")
    cluster.connect("c1", "n0" if local else "n2")
    if knowing:
        cluster.push(Everyone())
        cluster.settle()
    cluster.connect("c2", "n2" if local else "n0", registered=settled)
    for step, arg in schedule:
        step(cluster, arg)
        if step not in PUSHES:
            cluster.advance()
    if closing:
        cluster.close()
    else:
        cluster.end()
    return cluster


def schedules(steps):
    """Draw steps, each with a number that says which of what there is it is about; one draw each is quick."""
    choices = [(step, arg) for step in steps for arg in range(12)]
    return st.lists(st.sampled_from(choices), min_size=20, max_size=60)


look = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # `shorten` is quicker, and ends with steps that can be read
    suppress_health_check=list(HealthCheck),
)


def broken_promise(schedule, seen: Counter[str], **how) -> str:
    """Run a schedule; return what did not hold, or an empty text, and count what happened in it."""
    try:
        cluster = run(schedule, **how)
        check(cluster)
    except AssertionError as exc:
        return str(exc).partition("\n")[0] or "an assertion in the router"
    seen.update(kind for kind, times in cluster.seen.items() if times)
    return ""


def shorten(schedule, **how):
    """Leave out every step without which a promise is still broken."""
    for number in reversed(range(len(schedule))):
        shorter = schedule[:number] + schedule[number + 1 :]
        if broken_promise(shorter, Counter(), **how):
            schedule = shorter
    return schedule


def hold_promises(steps, happens=(), **how) -> None:
    """Play schedules of these steps; what is said to happen must happen in many of them."""
    seen: Counter[str] = Counter()

    @look
    @given(schedules(steps))
    def promises_hold(schedule):
        if broken_promise(schedule, seen, **how):
            shortest = shorten(schedule, **how)
            listed = "".join(f"\n    {step.__name__} {arg}" for step, arg in shortest)
            pytest.fail(f"{broken_promise(shortest, Counter(), **how)}\nafter{listed}", pytrace=False)

    promises_hold()
    rare = [kind for kind in happens if seen[kind] * 100 < EXAMPLES]
    assert not rare, f"hardly ever: {rare}; {dict(seen)}"


@pytest.mark.parametrize("local", [False, True], ids=["publisher", "node"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_promises_hold_in_trouble(trouble, local):
    steps = BASE + TROUBLES[trouble]
    hold_promises(steps, HAPPENS.get(trouble, ()), local=local)


UNLISTED = {
    "emptied registry": [(empty_registry, 0), (heartbeat, 0), (push_conn, 0)],
    "ended lease": [(lose_owner, 0), (pause, 1), (end_leases, 0), (push_conn, 0)],
}


@pytest.mark.parametrize("local", [False, True], ids=["publisher", "node"])
@pytest.mark.parametrize("schedule", UNLISTED.values(), ids=UNLISTED)
def test_offline_is_not_said_while_a_node_is_unlisted(schedule, local):
    check(run(schedule, local=local))


@pytest.mark.parametrize("local", [False, True], ids=["publisher", "node"])
@pytest.mark.parametrize("schedule", UNLISTED.values(), ids=UNLISTED)
def test_offline_is_not_said_while_a_node_is_unlisted_that_was_met_before(schedule, local):
    check(run(schedule, local=local, knowing=True))


@pytest.mark.parametrize("local", [False, True], ids=["publisher", "node"])
def test_promises_hold_when_the_router_is_closed(local):
    hold_promises(BASE + TROUBLES["everything"], local=local, closing=True)


@pytest.mark.parametrize("local", [False, True], ids=["publisher", "node"])
def test_without_trouble_everything_is_delivered_in_order(local):
    @look
    @given(schedules([*BASE, push_several, push_everyone, push_group]))
    def all_delivered(schedule):
        cluster = run(schedule, local=local, settled=True)
        check(cluster)
        check_total_order(cluster)
        assert not {outcome for _, outcome in cluster.router.deliveries} - {
            Outcome.DELIVERED,
            Outcome.OFFLINE,
        }

    all_delivered()
