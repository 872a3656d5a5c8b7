from types import SimpleNamespace

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from sanic_ws.core.batch import Batch, Reply
from sanic_ws.core.outcomes import Answer, Outcome, Receipt
from sanic_ws.core.push import Item, Push
from sanic_ws.errors import Unroutable
from sanic_ws.tracing import HEADER, MOST_TRACES, Trace, Tracing, make_node_tracing, make_tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = 0x0AF7651916CD43DD8448EB211C80319C
MALFORMED = [
    "",
    "junk",
    PARENT.upper(),
    f"{PARENT}-00",
    PARENT[:-3],
    PARENT.replace("00-", "ff-", 1),
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    "x" * 10_000,
]


class World:
    def __init__(self, sampler=None):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler, Resource({}), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(self.provider.get_tracer("test"), "rabbitmq", "p")

    @property
    def spans(self):
        return self.exporter.get_finished_spans()


@pytest.fixture
def world():
    return World()


def items(*traces):
    pushes = {trace: push(trace) for trace in traces}
    return [Item(pushes[trace], "secret-conn", None) for trace in traces]


def push(trace):
    return Push("secret-id", [], b"payload", started=0, deadline=1, done=Push.receipt, trace=trace)


def request(wait="written"):
    return SimpleNamespace(wait=wait)


def batch(number, *, seek=False):
    return Batch(1, 0.0, 1000, ["c"] * number, [b"f"] * number, seek)


def about(span):
    return {name.removeprefix("messaging."): value for name, value in span.attributes.items()}


def test_one_trace_from_the_publisher_to_the_writing(world):
    with world.tracing.push(1) as trace:
        with world.tracing.send(items(trace), "direct", "n1") as headers:
            pass
        trace.note([request()], [Receipt("i", (), {Outcome.DELIVERED: 1})])
    world.tracing.wrote(headers, 5, batch(1), Reply(1, "n1", bytes([Answer.DELIVERED])))
    sent, pushed, wrote = world.spans
    assert [(s.name, s.kind) for s in (pushed, sent, wrote)] == [
        ("push", SpanKind.CLIENT),
        ("send p.direct", SpanKind.PRODUCER),
        ("write p.direct", SpanKind.CONSUMER),
    ]
    assert (sent.parent.span_id, wrote.parent.span_id) == (pushed.context.span_id, sent.context.span_id)
    assert len({s.context.trace_id for s in world.spans}) == 1
    assert pushed.parent is None
    assert wrote.start_time == 5
    assert about(pushed) == {
        "system": "rabbitmq",
        "operation.name": "push",
        "operation.type": "send",
        "sanic_ws.outcomes": ("delivered",),
    }
    assert about(sent) == {
        "system": "rabbitmq",
        "operation.name": "send",
        "operation.type": "send",
        "destination.name": "p.direct",
        "rabbitmq.destination.routing_key": "n1",
    }
    assert about(wrote) == {
        "system": "rabbitmq",
        "operation.name": "write",
        "operation.type": "process",
        "destination.name": "p.direct",
        "sanic_ws.answers": ("delivered",),
    }


def test_nothing_of_a_push_is_in_a_span(world):
    with world.tracing.push(2) as trace, world.tracing.send(items(trace, trace), "direct", "n1") as headers:
        pass
    world.tracing.wrote(headers, 1, batch(2), Reply(1, "n1", bytes([1, 3])))
    for span in world.spans:
        assert "secret" not in span.to_json()
        assert "payload" not in span.to_json()


def test_traces_of_a_batch_are_kept_apart(world):
    requests = [world.tracing.start_request("POST", "/r", {}) for _ in range(2)]
    one, other = map(world.tracing.trace, requests)
    with world.tracing.send(items(one, other, None, other, one), "direct", "n1") as headers:
        pass
    world.tracing.wrote(headers, 1, batch(5), Reply(1, "n1", bytes([1, 1, 1, 3, 1])))
    wrote = [span for span in world.spans if span.name.startswith("write")]
    assert [about(span)["batch.message_count"] for span in wrote] == [2, 2]
    assert [about(span)["sanic_ws.answers"] for span in wrote] == [("delivered",), ("delivered", "not_mine")]
    assert [span.context.trace_id for span in wrote] == [
        trace.span.get_span_context().trace_id for trace in (one, other)
    ]


def test_batch_without_a_trace_has_no_header_and_no_span(world):
    with world.tracing.send(items(None, None), "direct", "n1") as headers:
        assert headers is None
    assert world.spans == ()


def test_what_is_not_sampled_goes_along_with_nothing():
    world = World(ALWAYS_OFF)
    with world.tracing.push(1) as trace:
        assert trace is None
    with world.tracing.call({"traceparent": PARENT}) as trace:
        assert trace is None
    span = world.tracing.start_request("POST", "/r", {"traceparent": [PARENT]})
    assert world.tracing.trace(span) is None


def test_unsampled_parent_stays_unsampled(world):
    with world.tracing.call({"traceparent": f"{PARENT[:-1]}0"}) as trace:
        assert trace is None
    assert world.spans == ()


def test_failure_is_named_and_says_nothing_else(world):
    trace = Trace(world.tracing.start_request("POST", "/r", {}))
    with pytest.raises(Unroutable), world.tracing.send(items(trace), "direct", "n1"):
        raise Unroutable("payload")
    sent = world.spans[0]
    assert (sent.status.status_code, sent.attributes["error.type"]) == (StatusCode.ERROR, "Unroutable")
    assert (sent.status.description, sent.events) == (None, ())


@pytest.mark.parametrize(
    ("wait", "outcome", "failed"),
    [
        ("written", Outcome.DELIVERED, False),
        ("written", Outcome.OFFLINE, False),
        ("written", Outcome.UNKNOWN, True),
        ("ack", Outcome.UNAVAILABLE, True),
        ("none", Outcome.UNKNOWN, False),
    ],
)
def test_push_has_failed_where_its_receipt_says_so(world, wait, outcome, failed):
    with world.tracing.push(1) as trace:
        trace.note([request(wait)], [Receipt("i", (), {outcome: 1})])
    assert world.spans[0].status.is_ok is not failed
    assert world.spans[0].attributes.get("error.type") == (outcome if failed else None)


def test_request_is_below_who_sent_it(world):
    span = world.tracing.start_request(
        "POST", "/api/v1/push", {"traceparent": [PARENT], "tracestate": ["a=1"]}
    )
    world.tracing.end_request(span, 504)
    (made,) = world.spans
    assert (made.name, made.kind, made.context.trace_id) == ("POST /api/v1/push", SpanKind.SERVER, TRACE)
    assert (made.parent.is_remote, made.context.trace_state.get("a")) == (True, "1")
    assert dict(made.attributes) == {
        "http.request.method": "POST",
        "http.route": "/api/v1/push",
        "url.path": "/api/v1/push",
        "url.scheme": "http",
        "http.response.status_code": 504,
        "error.type": "504",
    }


@pytest.mark.parametrize("parents", [[parent] for parent in MALFORMED] + [[PARENT, PARENT], []])
def test_malformed_context_of_a_request_is_ignored(world, parents):
    span = world.tracing.start_request("POST", "/r", {"traceparent": parents})
    world.tracing.end_request(span, 400)
    assert world.spans[0].parent is None
    assert world.spans[0].status.is_ok


@pytest.mark.parametrize("headers", [None, {}, *({"traceparent": parent} for parent in MALFORMED)])
def test_malformed_context_of_a_call_is_ignored(world, headers):
    with world.tracing.call(headers) as trace:
        assert trace is not None
    assert (world.spans[0].parent, world.spans[0].name) == (None, "process p.rpc")


@pytest.mark.parametrize(
    "text",
    [
        *MALFORMED,
        PARENT,
        f"{PARENT} ",
        f"{PARENT} 2",
        f"{PARENT} -,x",
        f"{PARENT} 99999999999999999999",
        ";;;",
        *(f"{parent} 0" for parent in MALFORMED),
    ],
)
def test_malformed_contexts_of_a_batch_are_ignored(world, text):
    world.tracing.wrote({HEADER: text}, 1, batch(2), Reply(1, "n1", bytes([1, 1])))
    world.tracing.wrote({}, 1, batch(2), Reply(1, "n1", bytes([1, 1])))
    assert world.spans == ()


def test_who_does_not_have_it_makes_no_span_of_a_fallback(world):
    headers = {HEADER: f"{PARENT} 0,1"}
    world.tracing.wrote(headers, 1, batch(2, seek=True), Reply(1, "n1", bytes([Answer.NOT_MINE] * 2)))
    assert world.spans == ()
    world.tracing.wrote(headers, 1, batch(2, seek=True), Reply(1, "n1", bytes([1, Answer.NOT_MINE])))
    assert (world.spans[0].name, world.spans[0].context.trace_id) == ("write p.fanout", TRACE)


def test_header_is_bounded(world):
    traces = [Trace(world.tracing.start_request("POST", "/r", {})) for _ in range(2 * MOST_TRACES)]
    with world.tracing.send(items(*traces), "direct", "n1") as headers:
        assert len(headers[HEADER]) < 64 * MOST_TRACES
    world.tracing.wrote(headers, 1, batch(1000), Reply(1, "n1", bytes([1] * 1000)))
    assert len([s for s in world.spans if s.name == "write p.direct"]) == MOST_TRACES


def test_client_message_is_handed_on_with_its_context(world):
    with world.tracing.inbound() as headers:
        pass
    (sent,) = world.spans
    assert (sent.name, sent.kind) == ("send p.inbound", SpanKind.PRODUCER)
    assert headers["traceparent"].split("-")[1:3] == [
        f"{sent.context.trace_id:032x}",
        f"{sent.context.span_id:016x}",
    ]


def test_publisher_passes_on_what_it_is_part_of():
    """Without an SDK too, as in an application that only takes requests on."""
    tracing = make_tracing("amqp://x/", "p")
    assert not tracing.wanted
    with tracing.call({"traceparent": PARENT}) as trace, tracing.send(items(trace), "direct") as headers:
        assert headers == {HEADER: f"{PARENT} 0"}
        assert tracing.wanted


def test_node_names_itself_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=push")
    tracing = make_node_tracing("amqp://x/", "p", "n1-1")
    attributes = tracing._provider.resource.attributes
    tracing.close()
    assert (attributes["service.name"], attributes["service.instance.id"]) == ("push", "n1-1")


def test_disabled_sdk_makes_no_spans(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing = make_node_tracing("amqp://x/", "p", "n1-1")
    with tracing.push(1) as trace:
        assert trace is None
    tracing.close()
