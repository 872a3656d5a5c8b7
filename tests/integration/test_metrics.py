"""``/metrics``: what Prometheus reads, and that the chart's alerts and panels ask for nothing else."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.peers import call, push, samples, unique

CHART = Path(__file__).parents[2] / "helm" / "sanic-ws"


async def test_pushes_are_counted_by_route_and_outcome(nodes, connect):
    here, there = await connect(nodes[0], unique()), await connect(nodes[1], unique())
    before = await samples(nodes[0])
    for client in (here, here, there):
        await push(nodes[0], {"conn": client.conn})
    await push(nodes[0], {"conn": unique("nobody")})
    grown = await samples(nodes[0])
    grown.subtract(before)
    assert grown["sanic_ws_pushes_total", "delivered", "local"] == 2
    assert grown["sanic_ws_pushes_total", "delivered", "direct"] == 1
    assert grown["sanic_ws_pushes_total", "offline", "none"] == 1
    assert grown["sanic_ws_fallbacks_total", "miss"] == 1
    assert grown["sanic_ws_receipt_seconds_count",] == 4
    assert grown["sanic_ws_batch_size_count",] == grown["sanic_ws_batch_size_sum",] == 1
    assert grown["sanic_ws_redis_seconds_count",] >= 2


async def test_pushes_to_many_are_counted_by_connection(make_cluster, connect):
    (node,) = make_cluster(1).nodes
    for _ in range(3):
        await connect(node, unique())
    await push(node, {"all": True})
    assert (await samples(node))["sanic_ws_pushes_total", "delivered", "local"] == 3


async def test_a_push_whose_node_does_not_have_the_connection_is_a_stale_hit(make_cluster, connect):
    cluster = make_cluster(2)
    one, other = cluster.nodes
    nowhere = unique()
    await cluster.pretend(nowhere, other.node_id)
    assert (await push(one, {"conn": nowhere}))["outcome"] == "offline"
    read = await samples(one)
    assert read["sanic_ws_stale_hits_total",] == 1
    assert read["sanic_ws_fallbacks_total", "stale"] == 1


async def test_clients_are_counted_by_how_they_came_and_were_closed(make_cluster, connect):
    (node,) = make_cluster(1, max_connections=1).nodes
    client = await connect(node, unique())
    assert (await call(node, "GET", "/ws")).status == 400
    read = await samples(node)
    assert read["sanic_ws_connections",] == 1
    assert read["sanic_ws_connections_limit",] == 1
    assert read["sanic_ws_handshakes_total", "accepted"] == 1
    assert read["sanic_ws_handshakes_total", "not_a_websocket"] == 1
    await call(node, "DELETE", f"/api/v1/connections/{client.conn}")
    assert (await client.closed())[0] == 4403
    assert (await samples(node))["sanic_ws_closes_total", "4403"] == 1


async def test_messages_for_back_ends_are_counted_by_what_became_of_them(make_cluster, connect):
    (node,) = make_cluster(1).nodes
    client = await connect(node, unique())
    await client.send("nobody.wants.this", 1)
    await client.next("error")
    assert (await samples(node))["sanic_ws_inbound_total", "unhandled_type"] == 1


async def test_state_of_a_node_that_is_well(nodes):
    read = await samples(nodes[0])
    up = {name: read[f"sanic_ws_{name}",] for name in ("ready", "redis_up", "rabbitmq_up", "draining")}
    assert up == {"ready": 1, "redis_up": 1, "rabbitmq_up": 1, "draining": 0}
    assert read["process_resident_memory_bytes",] > 1 << 20


async def test_the_chart_asks_for_nothing_that_is_not_there(nodes):
    body = (await call(nodes[0], "GET", "/metrics")).body.decode()
    there = {family.name for family in text_string_to_metric_families(body)}
    used = set()
    for place in ("templates/prometheusrule.yaml", "templates/scaledobject.yaml", "templates/hpa.yaml"):
        used |= set(re.findall(r"\bsanic_ws_[a-z_]+", (CHART / place).read_text()))
    used |= set(re.findall(r"\bsanic_ws_[a-z_]+", (CHART / "files" / "dashboard.json").read_text()))
    assert len(used) > 10
    assert {re.sub("_(total|bucket|count|sum)$", "", name) for name in used} <= there
