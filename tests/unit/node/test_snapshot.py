from __future__ import annotations

import json

import pytest

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.groups import WATCHERS, Groups
from sanic_ws.core.identity import User
from sanic_ws.node import Node
from sanic_ws.node.snapshot import describe_node, describe_nodes
from sanic_ws.registry import NodeInfo
from sanic_ws.settings import read_settings
from tests.integration.peers import unique


class Socket:
    session, opened, generation = "1", True, 1

    def __init__(self, conn, user=None, groups=()):
        self.conn, self.user, self.groups = conn, user, Groups(frozenset(groups))


@pytest.fixture
async def node():
    return Node(read_settings("dev", prefix=unique(), node_name="me"))


async def test_node_is_described_and_who_watches_is_not_counted(node):
    node.hub.add(Socket("a", User(1), ["g", "h"]))
    node.hub.add(Socket("b", User(1)))
    node.hub.groups.add(Socket("w"), [WATCHERS])
    node.handshakes["accepted"] += 2
    node.closes[CloseCode.KICKED] += 1
    node.dispatcher.receipt_s.observe(0.0007)
    node.dispatcher.receipt_s.observe(99.0)
    shown = json.loads(json.dumps(describe_node(node, 7, 0.0123)))
    assert (shown["node"], shown["name"], shown["seq"], shown["state"]) == (node.id, "me", 7, "deaf")
    assert (shown["ready"], shown["registered"]) == (False, False)
    assert shown["broker"] == {"connected": False, "blocked": False}
    assert (shown["connections"], shown["users"], shown["groups"]) == (2, 1, 2)
    assert shown["handshakes"] == {"accepted": 2}
    assert shown["closes"] == {"4403": 1}
    assert shown["pushes"] == {"by_route": {"local": 0, "direct": 0, "fallback": 0}, "by_outcome": {}}
    latency = shown["latency"]
    assert latency["bounds_ms"][:3] == [0.5, 1.0, 2.5]
    assert latency["counts"] == [0, *[1] * (len(latency["bounds_ms"]) - 1), 2]
    assert shown["process"]["lag_ms"] == 12.3
    assert shown["process"]["memory_bytes"] > 1 << 20
    assert shown["process"]["cpu_s"] > 0


async def test_snapshot_names_nobody(node):
    node.hub.add(Socket("somebodys-id", User("somebody"), ["somebodys-group"]))
    assert "somebod" not in json.dumps(describe_node(node, 1, 0.0))


def test_nodes_are_described_by_id_and_the_teller_is_known():
    infos = [NodeInfo(name, name[0], 1, "then", "ready", "1") for name in ("b-1", "a-2", "a-1")]
    shown = describe_nodes(infos, "a-2")
    assert [entry["node"] for entry in shown] == ["a-1", "a-2", "b-1"]
    assert [entry["self"] for entry in shown] == [False, True, False]
