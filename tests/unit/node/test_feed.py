"""What a node shows to those who watch, and what that costs while nobody does."""

from __future__ import annotations

import asyncio
import json

import pytest

from sanic_ws.core.batch import WATCHERS_TARGET, decode_batch
from sanic_ws.core.flights import FoundGroups, Listing
from sanic_ws.core.frames import payload_start
from sanic_ws.core.groups import WATCHERS
from sanic_ws.errors import BrokerUnavailable, RegistryUnavailable, Unroutable
from sanic_ws.node import Node
from sanic_ws.node import feed as module
from sanic_ws.node.feed import Feed
from sanic_ws.registry import NodeInfo
from sanic_ws.settings import read_settings
from tests.integration.peers import eventually, unique

TOLD = NodeInfo("n1-1", "n1", 3, "2026-01-01T00:00:00.000Z", "ready", "1")


class FakeRegistry:
    """A registry in which some nodes have watchers."""

    def __init__(self):
        self.watched: list[str] = []
        self.live = ["n1-1", "n2-1"]
        self.whole, self.away = True, False
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def look_up_groups(self, groups):
        assert list(groups) == [WATCHERS]
        self._ask("watchers")
        await self.gate.wait()
        return FoundGroups(Listing(self.live, whole=self.whole), [self.watched])

    async def nodes(self):
        self._ask("nodes")
        return [TOLD]

    def _ask(self, what):
        self.asked.append(what)
        if self.away:
            raise RegistryUnavailable("away")


class FakeBroker:
    connected, blocked = True, False

    def __init__(self):
        self.sent: list[tuple[str, dict]] = []
        self.raises: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, node, body, ttl_ms, headers=None):
        batch = decode_batch(body)
        assert (batch.id, batch.targets, batch.ttl_ms) == (0, [WATCHERS_TARGET], ttl_ms)
        await self.gate.wait()
        if node in self.raises:
            raise self.raises[node]
        self.sent.append((node, read(batch.frames[0])))


class Watcher:
    opened = True

    def __init__(self):
        self.shown: list[dict] = []

    def write(self, frame):
        self.shown.append(read(frame))
        return True


def read(frame):
    return json.loads(frame[payload_start(frame) :])


@pytest.fixture
async def node():
    made = Node(read_settings("dev", prefix=unique()))
    made.registry, made.broker = FakeRegistry(), FakeBroker()
    return made


@pytest.fixture
async def feed(node, monkeypatch):
    monkeypatch.setattr(module, "WATCHED_S", 0.001)
    monkeypatch.setattr(module, "IDLE_S", 0.001)
    made = Feed(node)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await made.close()


@pytest.fixture
def watcher(node):
    made = Watcher()
    node.hub.groups.add(made, [WATCHERS])
    return made


def shown(watcher, kind):
    return [message["data"] for message in watcher.shown if message["type"] == kind]


async def test_nobody_watches_and_only_that_is_asked(node, feed, monkeypatch):
    monkeypatch.setattr(module, "describe_node", None)
    await eventually(lambda: len(node.registry.asked) > 3, "it to look a few times")
    assert set(node.registry.asked) == {"watchers"}
    assert node.broker.sent == []


async def test_who_watches_here_sees_node_and_cluster(node, feed, watcher):
    await eventually(lambda: len(shown(watcher, "node")) > 2 and shown(watcher, "cluster"), "both")
    snapshots = shown(watcher, "node")
    assert [data["seq"] for data in snapshots] == list(range(1, len(snapshots) + 1))
    assert snapshots[0]["node"] == node.id
    cluster = shown(watcher, "cluster")[-1]
    assert (cluster["registry"], cluster["broker"]) == ("up", "up")
    assert cluster["nodes"] == [
        {
            "node": "n1-1",
            "name": "n1",
            "connections": 3,
            "started": TOLD.started,
            "state": "ready",
            "version": "1",
            "self": False,
        }
    ]


async def test_who_watches_elsewhere_is_sent_to(node, feed):
    node.registry.watched = ["n1-1", "n3-not-live", node.id]
    await eventually(lambda: len(node.broker.sent) > 2, "some snapshots")
    assert {name for name, _ in node.broker.sent} == {"n1-1"}
    assert node.broker.sent[0][1]["type"] == "node"
    assert node.dispatcher.counts == {"routes": {}, "outcomes": {}}


async def test_registry_away_is_shown_and_who_was_known_is_sent_to_still(node, feed, watcher):
    node.registry.watched = ["n1-1"]
    await eventually(lambda: node.broker.sent, "a snapshot")
    node.registry.away = True
    await eventually(lambda: shown(watcher, "cluster")[-1]["registry"] == "down", "that to be seen")
    assert [each["node"] for each in shown(watcher, "cluster")[-1]["nodes"]] == ["n1-1"]
    before, seen = len(node.broker.sent), len(shown(watcher, "node"))
    await eventually(lambda: len(node.broker.sent) > before + 1, "more to be sent")
    await eventually(lambda: len(shown(watcher, "node")) > seen, "more to be shown")


async def test_registry_that_is_not_whole_makes_nobody_forgotten(node, feed):
    node.registry.watched = ["n1-1"]
    await eventually(lambda: node.broker.sent, "a snapshot")
    node.registry.watched, node.registry.whole = [], False
    before = len(node.broker.sent)
    await eventually(lambda: len(node.broker.sent) > before + 2, "more to be sent")
    node.registry.whole = True
    await eventually(lambda: not feed._elsewhere, "nobody to be sent to")


async def test_node_without_a_queue_is_sent_nothing_until_it_is_named_again(node, feed):
    node.registry.watched, node.broker.raises = ["n1-1", "n2-1"], {"n2-1": Unroutable("n2-1")}
    await eventually(lambda: node.broker.sent, "a snapshot")
    node.registry.away = True
    await eventually(lambda: feed._elsewhere == {"n1-1"}, "the other one to be forgotten")


async def test_broker_away_changes_nothing_here(node, feed, watcher):
    node.registry.watched, node.broker.raises = ["n1-1"], {"n1-1": BrokerUnavailable("away")}
    node.broker.connected = False
    await eventually(lambda: len(shown(watcher, "node")) > 3, "snapshots")
    await eventually(lambda: shown(watcher, "cluster")[-1]["broker"] == "down", "that to be seen")


async def test_slow_broker_holds_up_nothing_here_and_nothing_piles_up(node, feed, watcher):
    node.registry.watched = ["n1-1"]
    node.broker.gate.clear()
    await eventually(lambda: len(shown(watcher, "node")) > 20, "snapshots")
    node.broker.gate.set()
    await eventually(lambda: len(node.broker.sent) > 1, "two snapshots")
    first, second = [message["data"]["seq"] for _, message in node.broker.sent[:2]]
    assert second - first > 10


async def test_slow_registry_holds_up_nothing_but_looking(node, feed, watcher):
    node.registry.watched = ["n1-1"]
    await eventually(lambda: node.broker.sent, "a snapshot")
    node.registry.gate.clear()
    before, seen = len(node.broker.sent), len(shown(watcher, "node"))
    await eventually(lambda: len(node.broker.sent) > before + 10, "more to be sent")
    await eventually(lambda: len(shown(watcher, "node")) > seen + 10, "more to be shown")
    node.registry.gate.set()


async def test_fault_of_ours_does_not_end_it(node, feed, watcher, monkeypatch):
    real, calls = module.describe_node, []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) < 4:
            raise ValueError("not today")
        return real(*arguments)

    monkeypatch.setattr(module, "describe_node", broken)
    await eventually(lambda: len(calls) > 4 and shown(watcher, "node"), "it to go on")


async def test_last_snapshot_tells_that_the_node_leaves(node):
    made = Feed(node)
    made._elsewhere = {"n1-1"}
    node.draining = True
    await made.close()
    ((name, message),) = node.broker.sent
    assert (name, message["data"]["state"]) == ("n1-1", "draining")


async def test_end_is_bounded(node, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.01)
    made = Feed(node)
    made._elsewhere = {"n1-1"}
    node.broker.gate.clear()
    await made.close()
    assert node.broker.sent == []


async def test_fault_of_ours_does_not_keep_the_node(node, monkeypatch):
    monkeypatch.setattr(module, "describe_node", None)
    made = Feed(node)
    made._elsewhere = {"n1-1"}
    await made.close()
    assert node.broker.sent == []
