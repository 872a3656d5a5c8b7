"""The dispatcher between a directory and a broker that are fakes."""

from __future__ import annotations

import asyncio
import time
from time import monotonic
from unittest.mock import ANY

import pytest

from sanic_ws.core.batch import Batch, Reply, decode_batch, encode_reply
from sanic_ws.core.flights import Found, Listing, Owner, UserConnection
from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import Conn, Everyone, User
from sanic_ws.core.orders import Order
from sanic_ws.core.outcomes import Answer, Outcome, Receipt, Route
from sanic_ws.core.push import Push
from sanic_ws.dispatch import Dispatcher
from sanic_ws.errors import BrokerLost, BrokerUnavailable, QueueFull, RegistryUnavailable, Unroutable
from tests.integration.peers import eventually

DELIVERED = bytes([Answer.DELIVERED])
NOT_MINE = bytes([Answer.NOT_MINE])


class FakeDirectory:
    """A directory that holds what it is told; `gate` keeps look-ups waiting."""

    def __init__(self):
        self.owners = {"c0": Owner("n1", "1")}
        self.users = {User(1).key: [UserConnection("c0", Owner("n1", "1"), "web")]}
        self.nodes = ["n1", "n2"]
        self.away = False
        self.looked_up: list[tuple[list[str], list[str]]] = []
        self.released = []
        self.receipts: dict[str, bytes] = {}
        self.kept = []
        self.keep_gate = asyncio.Event()
        self.keep_gate.set()
        self.asked_for: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.nodes_gate = asyncio.Event()
        self.nodes_gate.set()

    async def keep(self, kept):
        self._check()
        self.kept += kept
        await self.keep_gate.wait()
        return [self.receipts.get(each.key) for each in kept]

    async def look_up(self, conns, users, copies=()):
        self.looked_up.append((list(conns), list(users)))
        self.asked_for.append(list(copies))
        await self.gate.wait()
        self._check()
        owners, users = [self.owners.get(c) for c in conns], [self.users.get(u, []) for u in users]
        return Found(owners, users, records=[self.receipts.get(key) for key in copies])

    async def listing(self):
        await self.nodes_gate.wait()
        self._check()
        return Listing(self.nodes)

    async def release(self, releases):
        self._check()
        self.released += releases

    def _check(self):
        if self.away:
            raise RegistryUnavailable("away")


class FakeBroker:
    """A broker that keeps what is sent; `raises` says what happens instead, by node or ``*``."""

    def __init__(self):
        self.sent: list[tuple[str, Batch]] = []
        self.raises: dict[str, Exception] = {}
        self.something = asyncio.Event()

    async def send(self, node, body, ttl_ms, headers=None):
        self._take(node, body, ttl_ms)

    async def broadcast(self, body, ttl_ms, headers=None):
        self._take("*", body, ttl_ms)

    def _take(self, node, body, ttl_ms):
        batch = decode_batch(body)
        assert batch.ttl_ms == ttl_ms or not batch.id
        self.sent.append((node, batch))
        self.something.set()
        if node in self.raises:
            raise self.raises[node]

    async def next(self) -> tuple[str, Batch]:
        async with asyncio.timeout(5):
            while not self.sent:
                self.something.clear()
                await self.something.wait()
        return self.sent.pop(0)


class FakeSocket:
    def __init__(self, conn):
        self.conn, self.session, self.user, self.opened, self.generation = conn, "1", None, True, 1
        self.groups, self.written = NO_GROUPS, []

    @property
    def writable(self):
        return True

    def write(self, frame):
        self.written.append(frame)
        return True


@pytest.fixture
def directory():
    return FakeDirectory()


@pytest.fixture
def broker():
    return FakeBroker()


@pytest.fixture
async def dispatcher(directory, broker):
    dispatcher = Dispatcher(directory, broker)
    yield dispatcher
    await dispatcher.close()


def submit(dispatcher, *targets, timeout_s=2.0, order=None) -> asyncio.Future[Receipt]:
    future = asyncio.get_running_loop().create_future()
    now = monotonic()
    push = Push(
        "p",
        targets,
        b"frame",
        started=now,
        deadline=now + timeout_s,
        done=lambda push: future.set_result(push.receipt()),
        order=order,
    )
    dispatcher.submit([push])
    return future


def answer(dispatcher, batch, node, answers=DELIVERED):
    dispatcher.on_reply(encode_reply(Reply(batch.id, node, answers * len(batch.targets))))


async def receipt_of(future) -> Receipt:
    async with asyncio.timeout(5):
        return await future


async def test_push_goes_to_its_owner_and_the_answer_makes_the_receipt(dispatcher, broker):
    future = submit(dispatcher, Conn("c0"))
    node, batch = await broker.next()
    assert (node, batch.targets, batch.frames, batch.seek) == ("n1", ["c0"], [b"frame"], False)
    answer(dispatcher, batch, "n1")
    receipt = await receipt_of(future)
    assert (receipt.outcome, receipt.deliveries[0].route) == (Outcome.DELIVERED, Route.DIRECT)
    assert dispatcher.open_items == 0
    assert dispatcher.counts == {"routes": {"direct": 1}, "outcomes": {"delivered": 1}}


async def test_batch_carries_what_is_left_of_its_time(dispatcher, broker):
    submit(dispatcher, Conn("c0"), timeout_s=1.5)
    _, batch = await broker.next()
    assert 1000 < batch.ttl_ms <= 1500
    assert abs(batch.sent_at - time.time()) < 5


async def test_pushes_of_one_turn_share_a_look_up_and_a_batch(dispatcher, broker, directory):
    for _ in range(3):
        submit(dispatcher, Conn("c0"))
    _, batch = await broker.next()
    assert batch.targets == ["c0"] * 3
    assert directory.looked_up == [(["c0"] * 3, [])]


async def test_one_look_up_is_under_way_at_a_time(dispatcher, broker, directory):
    directory.gate.clear()
    submit(dispatcher, Conn("c0"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for target in (Conn("c0"), User(1)):
        submit(dispatcher, target)
        await asyncio.sleep(0)
    assert len(directory.looked_up) == 1
    directory.gate.set()
    await broker.next()
    assert directory.looked_up[1:] == [(["c0"], [User(1).key])]


async def test_user_is_looked_up_by_key(dispatcher, broker, directory):
    submit(dispatcher, User(1, from_type="web"))
    node, batch = await broker.next()
    assert (node, batch.targets) == ("n1", ["=c0 1"])
    assert directory.looked_up == [([], [User(1).key])]


async def test_unlisted_connection_is_sought_at_all_nodes(dispatcher, broker):
    future = submit(dispatcher, Conn("c9"))
    node, batch = await broker.next()
    assert (node, batch.seek, batch.targets) == ("*", True, ["c9"])
    answer(dispatcher, batch, "n1", NOT_MINE)
    answer(dispatcher, batch, "n2")
    assert (await receipt_of(future)).deliveries[0].route is Route.FALLBACK


async def test_all_no_means_offline(dispatcher, broker):
    future = submit(dispatcher, Conn("c9"))
    _, batch = await broker.next()
    for node in ("n1", "n2"):
        answer(dispatcher, batch, node, NOT_MINE)
    assert (await receipt_of(future)).outcome is Outcome.OFFLINE


async def test_registry_away_means_fallback_and_never_offline(dispatcher, broker, directory):
    directory.away = True
    future = submit(dispatcher, Conn("c0"), timeout_s=0.1)
    node, batch = await broker.next()
    assert node == "*"
    for name in ("n1", "n2"):
        answer(dispatcher, batch, name, NOT_MINE)
    assert (await receipt_of(future)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (QueueFull("n1"), Outcome.OVERLOADED),
        (BrokerUnavailable("away"), Outcome.UNAVAILABLE),
        (BrokerLost("cut"), Outcome.UNKNOWN),
    ],
)
async def test_what_the_broker_raises_is_an_outcome(dispatcher, broker, error, outcome):
    broker.raises["n1"] = error
    assert (await receipt_of(submit(dispatcher, Conn("c0")))).outcome is outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unroutable("*"), Outcome.UNAVAILABLE),
        (BrokerUnavailable("away"), Outcome.UNAVAILABLE),
        (BrokerLost("cut"), Outcome.UNKNOWN),
    ],
)
async def test_what_the_broker_raises_at_a_fallback_is_an_outcome(dispatcher, broker, error, outcome):
    broker.raises["*"] = error
    assert (await receipt_of(submit(dispatcher, Conn("c9")))).outcome is outcome


async def test_fallback_refused_by_one_full_queue_waits_for_the_other_answers(dispatcher, broker):
    broker.raises["*"] = QueueFull("*")
    future = submit(dispatcher, Conn("c9"))
    _, batch = await broker.next()
    answer(dispatcher, batch, "n2")
    assert (await receipt_of(future)).outcome is Outcome.DELIVERED


async def test_unroutable_owner_is_looked_up_again_then_sought(dispatcher, broker, directory):
    broker.raises["n1"] = Unroutable("n1")
    future = submit(dispatcher, Conn("c0"))
    assert (await broker.next())[0] == "n1"
    assert (await broker.next())[0] == "n1"  # is its queue there before all are asked?
    node, batch = await broker.next()
    assert (node, len(directory.looked_up)) == ("*", 2)
    answer(dispatcher, batch, "n2")
    assert (await receipt_of(future)).outcome is Outcome.DELIVERED


async def test_stale_entry_is_released(dispatcher, broker, directory):
    future = submit(dispatcher, Conn("c0"))
    answer(dispatcher, (await broker.next())[1], "n1", NOT_MINE)
    _, seek = await broker.next()
    for node in ("n1", "n2"):
        answer(dispatcher, seek, node, NOT_MINE)
    assert (await receipt_of(future)).outcome is Outcome.OFFLINE
    await asyncio.sleep(0)
    (release,) = directory.released
    assert (release.conn, release.owner) == ("c0", Owner("n1", "1"))


async def test_silent_nodes_are_probed_and_those_without_a_queue_make_it_unknown(dispatcher, broker):
    broker.raises["n1"] = Unroutable("n1")
    future = submit(dispatcher, Conn("c9"))
    _, seek = await broker.next()
    answer(dispatcher, seek, "n2", NOT_MINE)
    node, probe = await broker.next()
    assert (node, probe.targets, probe.id) == ("n1", [], 0)
    assert (await receipt_of(future)).outcome is Outcome.UNKNOWN


async def test_unanswered_batch_ends_as_unknown(dispatcher, broker):
    future = submit(dispatcher, Conn("c0"), timeout_s=0.05)
    assert (await receipt_of(future)).outcome is Outcome.UNKNOWN


async def test_lane_sends_the_next_batch_when_the_answer_comes(dispatcher, broker):
    first = submit(dispatcher, Conn("c0"))
    _, batch = await broker.next()
    second, third = submit(dispatcher, Conn("c0")), submit(dispatcher, Conn("c0"))
    await asyncio.sleep(0)
    assert broker.sent == []
    answer(dispatcher, batch, "n1")
    _, batch = await broker.next()
    assert batch.targets == ["c0", "c0"]
    answer(dispatcher, batch, "n1")
    outcomes = [(await receipt_of(future)).outcome for future in (first, second, third)]
    assert outcomes == [Outcome.DELIVERED] * 3


async def test_push_to_everyone_goes_to_each_live_node(dispatcher, broker):
    submit(dispatcher, Everyone())
    sent = [await broker.next(), await broker.next()]
    assert sorted(node for node, _ in sent) == ["n1", "n2"]
    assert {target for _, batch in sent for target in batch.targets} == {"*"}


async def test_local_connection_needs_neither_registry_nor_broker(directory, broker):
    hub = Hub()
    socket = FakeSocket("here")
    hub.add(socket)
    dispatcher = Dispatcher(directory, broker, "n0", hub)
    receipt = await receipt_of(submit(dispatcher, Conn("here")))
    assert (receipt.deliveries[0].route, socket.written) == (Route.LOCAL, [b"frame"])
    assert (directory.looked_up, broker.sent) == ([], [])


@pytest.mark.parametrize("body", [b"", b"nonsense", b"SWR1" + bytes(40)])
async def test_reply_that_cannot_be_read_is_dropped(dispatcher, broker, body):
    future = submit(dispatcher, Conn("c0"))
    _, batch = await broker.next()
    dispatcher.on_reply(body)
    answer(dispatcher, batch, "n1")
    assert (await receipt_of(future)).outcome is Outcome.DELIVERED


async def test_fallback_whose_pushes_have_ended_is_not_sent(dispatcher, broker, directory):
    directory.nodes_gate.clear()
    assert (await receipt_of(submit(dispatcher, Conn("c9"), timeout_s=0.05))).outcome is not Outcome.OFFLINE
    directory.nodes_gate.set()
    await receipt_of(submit(dispatcher, Conn("c0"), timeout_s=0.1))
    assert "*" not in [node for node, _ in broker.sent]


async def test_stays_usable_when_a_look_up_fails_unexpectedly(dispatcher, broker, directory):
    directory.away = True
    submit(dispatcher, Conn("c0"))
    await broker.next()
    directory.away = False
    submit(dispatcher, Conn("c1"))
    directory.owners["c1"] = Owner("n2", "1")
    assert (await broker.next())[0] == "n2"


async def test_push_after_closing_ends_as_unavailable(dispatcher, broker):
    await dispatcher.close()
    assert (await receipt_of(submit(dispatcher, Conn("c0")))).outcome is Outcome.UNAVAILABLE
    assert broker.sent == []


async def test_closing_ends_what_is_open(directory, broker):
    dispatcher = Dispatcher(directory, broker)
    sent = submit(dispatcher, Conn("c0"))
    await broker.next()
    directory.gate.clear()
    waiting = submit(dispatcher, Conn("c1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await dispatcher.close()
    outcomes = [(await receipt_of(future)).outcome for future in (sent, waiting)]
    assert outcomes == [Outcome.UNKNOWN, Outcome.UNAVAILABLE]
    assert dispatcher.open_items == 0


ONCE = Order("mine", once=True)


async def test_receipt_is_kept_before_it_is_given_out(dispatcher, broker, directory):
    sent = submit(dispatcher, Conn("c0"), order=ONCE)
    _, batch = await broker.next()
    directory.keep_gate.clear()
    answer(dispatcher, batch, "n1")
    await eventually(lambda: directory.kept, "it to be kept")
    assert not sent.done()
    directory.keep_gate.set()
    assert (await receipt_of(sent)).outcome is Outcome.DELIVERED
    (kept,) = directory.kept
    directory.receipts[kept.key] = kept.record
    copy = await receipt_of(submit(dispatcher, Conn("c0"), order=ONCE))
    assert copy.to_json() == (await receipt_of(sent)).to_json() | {"deliveries": [ANY]}
    assert (broker.sent, len(directory.kept)) == ([], 1)


async def test_registry_that_keeps_nothing_holds_no_receipt_back(dispatcher, broker, directory):
    sent = submit(dispatcher, Conn("c0"), order=ONCE)
    _, batch = await broker.next()
    directory.away = True
    answer(dispatcher, batch, "n1")
    assert (await receipt_of(sent)).outcome is Outcome.DELIVERED
    assert directory.kept == []


async def test_closing_gives_out_what_is_being_kept(directory, broker):
    dispatcher = Dispatcher(directory, broker)
    sent = submit(dispatcher, Conn("c0"), order=ONCE)
    _, batch = await broker.next()
    directory.keep_gate.clear()
    answer(dispatcher, batch, "n1")
    await eventually(lambda: directory.kept, "it to be kept")
    closing = asyncio.create_task(dispatcher.close())
    assert not sent.done()
    directory.keep_gate.set()
    await closing
    assert (await receipt_of(sent)).outcome is Outcome.DELIVERED
    assert dispatcher.open_items == 0


async def test_push_without_an_id_looks_nothing_else_up(dispatcher, broker, directory):
    sent = submit(dispatcher, Conn("c0"))
    _, batch = await broker.next()
    answer(dispatcher, batch, "n1")
    await receipt_of(sent)
    assert (directory.asked_for, directory.kept) == ([[]], [])
