"""Pushes to many, split up by node."""

from __future__ import annotations

import pytest

from sanic_ws.core.identity import Everyone, Group
from sanic_ws.core.outcomes import Outcome
from tests.unit.core.cluster import GROUP, three_connected


@pytest.fixture(params=[False, True], ids=["publisher", "node"])
def cluster(request):
    """c0 is on n1, c1 on n2, c2 on n0."""
    yield from three_connected(local=request.param)


@pytest.mark.parametrize("target", [Everyone(), Group(GROUP)])
def test_every_node_counts_its_share(cluster, target):
    sent = cluster.push(target)
    cluster.settle()
    members = [s for s in cluster.sockets if sent.number in s.received]
    assert members
    assert sent.receipts[0].counts == {Outcome.DELIVERED: len(members)}


@pytest.mark.parametrize("target", [Everyone(), Group(GROUP)])
def test_who_is_left_out_is_not_counted(cluster, target):
    sent = cluster.push(target, exclude=["c0"])
    cluster.settle()
    assert not any(sent.number in s.received for s in cluster.sockets if s.conn == "c0")


def test_node_that_does_not_answer_may_have_delivered_it(cluster):
    cluster.push(Everyone())
    cluster.settle()
    cluster.pause(cluster.nodes["n1"])
    sent = cluster.push(Everyone())
    cluster.end()
    assert sent.receipts[0].counts == {Outcome.DELIVERED: 2, Outcome.UNKNOWN: 1}
