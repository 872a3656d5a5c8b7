"""A node that is told to leave, and what it counts of what comes over its queue."""

from __future__ import annotations

import pytest

from sanic_ws.core.batch import LEAVE_TARGET, WATCHERS_TARGET, Batch, encode_batch
from sanic_ws.core.groups import WATCHERS
from sanic_ws.node import Node
from sanic_ws.settings import read_settings
from tests.integration.peers import eventually, unique

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
