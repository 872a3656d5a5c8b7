"""A node that is told to leave, and what it counts of what comes over its queue."""

from __future__ import annotations

import asyncio

import pytest

from sanic_ws.core.batch import LEAVE_TARGET, WATCHERS_TARGET, Batch, encode_batch
from sanic_ws.core.groups import WATCHERS
from sanic_ws.node import Node
from sanic_ws.settings import read_settings
from tests.integration.peers import WAIT_S, eventually, unique

PREFIX = unique()


@pytest.fixture
async def make_node():
    made = []

    async def make(leave=None, name="node"):
        made.append(Node(read_settings("dev", prefix=PREFIX, node_name=name, drain_s=0), leave))
        await made[-1].start()
        await eventually(lambda: made[-1].ready, "the node to be ready")
        return made[-1]

    yield make
    for node in made:
        await node.stop()


async def test_node_obeys_once_it_has_answered(make_node):
    left = []
    told = await make_node(lambda: left.append("told"))
    teller = await make_node(name="teller")
    assert await teller.dispatcher.order_to_leave(told.id, 5)
    await eventually(lambda: left == ["told"], "it to leave")


async def test_new_node_is_not_in_the_registry_before_its_queue_is_there(monkeypatch):
    node, other = (Node(read_settings("dev", prefix=PREFIX, drain_s=0)) for _ in range(2))
    connected = asyncio.Event()

    async def wait_connected(timeout_s):
        return await asyncio.wait_for(connected.wait(), WAIT_S)

    monkeypatch.setattr(node.broker, "wait_connected", wait_connected)
    starting = asyncio.create_task(node.start())
    await other.start()
    await eventually(lambda: other.ready, "another node to be ready")
    assert node.id not in (await other.registry.listing()).live
    connected.set()
    await starting
    await eventually(lambda: node.ready, "the node to be ready")
    assert node.id in (await other.registry.listing()).live
    await node.stop()
    await other.stop()


async def test_node_whose_queue_does_not_come_is_registered_all_the_same(make_node, monkeypatch):
    async def never(self, timeout_s):
        return False

    monkeypatch.setattr("sanic_ws.broker.memory.MemoryBroker.wait_connected", never)
    node = await make_node()
    assert node.id in (await node.registry.listing()).live


async def test_node_that_cannot_be_told_to_leave_says_so(make_node):
    told, teller = await make_node(), await make_node(name="teller")
    assert not await teller.dispatcher.order_to_leave(told.id, 5)


async def test_all_nodes_are_never_told_to_leave(make_node):
    left = []
    node = await make_node(lambda: left.append("told"))
    body = encode_batch(Batch(1, 0.0, 1000, [LEAVE_TARGET], [b""], seek=True))
    assert not node._on_batch(body, "nobody")
    assert (left, node.set_aside) == ([], 1)


async def test_order_that_is_too_old_is_not_obeyed(make_node):
    left = []
    node = await make_node(lambda: left.append("told"))
    node._ages.age_s = lambda *_: 5.0
    assert node._on_batch(encode_batch(Batch(1, 0.0, 1000, [LEAVE_TARGET], [b""])), "nobody")
    assert left == []
    assert node._tasks
    await eventually(lambda: not node._tasks, "the answer to be sent")
    assert left == []


async def test_feed_is_not_counted_among_the_batches(make_node):
    class Watcher:
        opened, shown = True, ()

        def write(self, frame):
            self.shown = (*self.shown, frame)
            return True

    node, watcher = await make_node(), Watcher()
    node.hub.groups.add(watcher, [WATCHERS])
    before = node.batches
    for targets in ([WATCHERS_TARGET], ["nobody"]):
        node._on_batch(encode_batch(Batch(0, 0.0, 1000, targets, [b"frame"])), "nobody")
    assert (watcher.shown, node.batches - before) == ((b"frame",), 1)
