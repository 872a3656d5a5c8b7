"""One trace from the publisher over broker and node to the socket, exported by real nodes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.collector import Collector, Exported
from tests.integration.back_end import BackEnd
from tests.integration.peers import (
    Client,
    Cluster,
    call,
    describe_nodes,
    eventually,
    only,
    push_body,
    run_command,
    start_all,
    stop_all,
    unique,
)
from tests.integration.secured import KEY
from tests.servers import GatewayNode, RabbitServer, RedisServer
from tests.tokens import SECRET

EXAMPLE = Path(__file__).with_name("examples") / "traced.py"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture(scope="module")
def traced(redis: RedisServer, rabbit: RabbitServer, collector: Collector) -> Iterator[Cluster]:
    """Two nodes that export."""
    env = {"SANIC_WS_OTEL": "true", "SANIC_WS_LEASE_S": "300", **collector.env}
    cluster = describe_nodes(redis, rabbit, unique("traced"), ["t1", "t2"], env)
    try:
        start_all(cluster.nodes)
        yield cluster
    finally:
        stop_all(cluster.nodes)


@pytest.fixture
async def client(traced: Cluster) -> AsyncIterator[Client]:
    """A client of the second node."""
    opened = await Client.open(traced.nodes[1], unique())
    yield opened
    await opened.close()


@pytest.fixture
async def back_end(traced: Cluster) -> AsyncIterator[BackEnd]:
    opened = await BackEnd.open(traced.rabbit.url, traced.prefix)
    yield opened
    await opened.close()


def new_parent() -> tuple[str, str]:
    """Return a `traceparent` and the id of its trace."""
    trace_id = os.urandom(16).hex()
    return f"00-{trace_id}-b7ad6b7169203331-01", trace_id


async def spans_of(collector: Collector, trace_id: str, *names: str) -> list[Exported]:
    """Wait for spans of a trace; return them in this order, each below the one before."""

    def found() -> list[Exported]:
        named = {span.name: span for span in collector.spans if span.trace_id == trace_id}
        return [named[name] for name in names] if named.keys() >= set(names) else []

    spans = await eventually(found, f"spans {names}")
    parents = [span.parent_id for span in spans]
    assert parents[1:] == [span.span_id for span in spans[:-1]]
    return spans


async def test_publisher_broker_node_and_socket_are_one_trace(traced, collector, client):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLE,
        client.conn,
        env={**os.environ, **traced.env, **collector.env, "OTEL_SERVICE_NAME": "orders"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out == b"delivered\n"
    await client.next("order_placed")
    placed = await eventually(
        lambda: next((s for s in collector.spans if s.name == "order placed"), None), "it"
    )
    direct = f"{traced.prefix}.direct"
    spans = await spans_of(
        collector, placed.trace_id, "order placed", "push", f"send {direct}", f"write {direct}"
    )
    assert [(span.service, span.kind) for span in spans] == [
        ("orders", "internal"),
        ("orders", "client"),
        ("orders", "producer"),
        ("sanic-ws", "consumer"),
    ]
    assert spans[-1].instance == traced.nodes[1].node_id
    assert collector.paths == {"/v1/traces"}


async def test_push_over_http_goes_on_with_the_publishers_trace(traced, collector, client):
    parent, trace_id = new_parent()
    body = push_body({"conn": client.conn})
    answer = await call(traced.nodes[0], "POST", "/api/v1/push", body, headers={"traceparent": parent})
    assert only(answer.json)["route"] == "direct"
    direct = f"{traced.prefix}.direct"
    server, _, wrote = await spans_of(
        collector, trace_id, "POST /api/v1/push", f"send {direct}", f"write {direct}"
    )
    assert server.parent_id == parent.split("-")[2]
    assert server.attributes["http.response.status_code"] == 200
    assert (server.instance, wrote.instance) == tuple(node.node_id for node in traced.nodes)


async def test_batch_that_falls_back_is_one_trace(traced, collector, client):
    await traced.forget(client.conn)
    parent, trace_id = new_parent()
    pushes = {"pushes": [push_body({"conn": client.conn}) for _ in range(3)]}
    answer = await call(
        traced.nodes[0], "POST", "/api/v1/push/batch", pushes, headers={"traceparent": parent}
    )
    assert {only(receipt)["outcome"] for receipt in answer.json["receipts"]} == {"delivered"}
    fanout = f"{traced.prefix}.fanout"
    *_, wrote = await spans_of(
        collector, trace_id, "POST /api/v1/push/batch", f"send {fanout}", f"write {fanout}"
    )
    assert wrote.instance == traced.nodes[1].node_id


async def test_call_over_amqp_goes_on_with_the_back_ends_trace(traced, collector, client, back_end):
    parent, trace_id = new_parent()
    receipt = await back_end.call(push_body({"conn": client.conn}), headers={"traceparent": parent})
    assert receipt["outcome"] == "delivered"
    (taken,) = await spans_of(collector, trace_id, f"process {traced.prefix}.rpc")
    assert taken.parent_id == parent.split("-")[2]


async def test_client_message_goes_to_back_ends_with_its_trace(traced, collector, client, back_end):
    inbox = await back_end.bind("chat")
    await client.send("chat", {"text": "hello"})
    message = await inbox.next_message()
    _, trace_id, span_id, flags = message.headers["traceparent"].split("-")
    (sent,) = await spans_of(collector, trace_id, f"send {traced.prefix}.inbound")
    assert sent.span_id == span_id
    assert int(flags, 16) & 1


@pytest.mark.parametrize("parent", ["junk", "00-0-0-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "ä"])
async def test_malformed_context_is_ignored(traced, client, back_end, parent):
    body = push_body({"conn": client.conn})
    headers = {"traceparent": parent.encode().decode("latin-1")}
    answer = await call(traced.nodes[0], "POST", "/api/v1/push", body, headers=headers)
    assert answer.json["outcome"] == "delivered"
    for given in (parent, bytearray(parent.encode()), 7, [parent], {"a": parent}, None):
        receipt = await back_end.call(body, headers={"traceparent": given, "traceparents": given})
        assert receipt["outcome"] == "delivered"


async def test_no_payload_and_no_id_is_exported(traced, collector, client):
    secret, parent = unique("payload"), new_parent()[0]
    for to in ({"conn": client.conn}, {"user": {"userId": secret}}, {"group": secret}):
        body = push_body(to, data=secret, id=secret)
        await call(traced.nodes[0], "POST", "/api/v1/push", body, headers={"traceparent": parent})
    before = len(collector.spans)
    await eventually(lambda: len(collector.spans) > before, "spans")
    assert secret not in collector.text
    assert client.conn not in collector.text


async def test_nodes_that_do_not_trace_take_pushes_of_those_that_do(traced, collector, client):
    """And the other way round, as during an upgrade."""
    settings = traced.env | {"SANIC_WS_LEASE_S": "300", "SANIC_WS_DRAIN_S": "0.1"}
    with GatewayNode("dev", name="untraced", env=settings) as node:
        silent = await Client.open(node, unique())
        for sender, target in ((traced.nodes[0], silent), (node, client)):
            parent = new_parent()[0]
            body = push_body({"conn": target.conn})
            answer = await call(sender, "POST", "/api/v1/push", body, headers={"traceparent": parent})
            assert only(answer.json)["outcome"] == "delivered"
        await silent.close()


async def test_what_is_left_is_exported_at_the_end():
    with Collector() as own:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": own.env["OTEL_EXPORTER_OTLP_ENDPOINT"]}
        settings = {"SANIC_WS_OTEL": "true", "SANIC_WS_DRAIN_S": "0.1"}
        with GatewayNode("dev", name="ends", env=env | settings) as node:
            await call(node, "POST", "/api/v1/push", push_body({"conn": unique()}))
        assert {span.name for span in own.spans} == {"POST /api/v1/push", "send sanic_ws.fanout"}


async def test_refused_request_is_traced_as_that():
    settings = {"REDIS_URL": "memory://", "AMQP_URL": "memory://", "API_KEYS": f"backend:{KEY}"}
    settings |= {"JWT_SECRET": SECRET, "OTEL": "true", "DRAIN_S": "0.1"}
    with Collector() as own:
        env = own.env | {f"SANIC_WS_{name}": value for name, value in settings.items()}
        with GatewayNode("serve", name="keyed", env=env) as node:
            body = push_body({"conn": unique()})
            assert (await call(node, "POST", "/api/v1/push", body)).status == 401
            assert (await call(node, "GET", "/api/v1/stats", key=KEY)).status == 200
    (refused,) = own.spans
    assert (refused.name, refused.attributes["http.response.status_code"]) == ("POST /api/v1/push", 401)


async def test_without_the_extra_the_setting_is_refused_by_name(tmp_path):
    hidden = tmp_path / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").touch()
    env = {"SANIC_WS_OTEL": "true", "PYTHONPATH": str(tmp_path)}
    ended = await run_command("dev", env=env)
    assert ended.code == 2
    assert "SANIC_WS_OTEL" in ended.err
    assert "sanic-ws[otel]" in ended.err
