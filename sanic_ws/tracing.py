"""Traces: one from the publisher over broker and node to the socket (OpenTelemetry, the extra ``otel``).

What a push came in is a span, and the push carries it (`Push.trace`) if it is sampled. Whoever sends a batch
with such pushes makes a span for each of their traces; its context goes along in a header of the message, and
the node makes a span of the writing::

    traceparents: <traceparent> <item>,<item>,…;<traceparent> <item>,…

Contexts are W3C's, and one that is malformed is ignored. Names and attributes follow OpenTelemetry's semantic
conventions for HTTP and messaging; what is ours begins with ``sanic_ws.``. No payload, and no id of a push,
connection, user or group, is in any of them.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as otel
from opentelemetry.trace import ProxyTracerProvider, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sanic_ws import __version__
from sanic_ws.core.outcomes import Answer, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from sanic_ws.core.batch import Batch, Reply
    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.core.push import Item
    from sanic_ws.core.requests import PushRequest

HEADER = "traceparents"
MOST_TRACES = 500
"""In one batch; a message's headers have to fit into one frame (AMQP 0-9-1, section 4.2.6)."""
CLOSE_TIMEOUT_S = 2.0
SERVER_ERROR = 500
_NUMBER = re.compile("[0-9]{1,9}")
_FAILED = frozenset({Outcome.UNAVAILABLE, Outcome.UNKNOWN})
_W3C = TraceContextTextMapPropagator()


class Trace:
    """Stand for the span that pushes came in."""

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span

    def note(self, requests: Sequence[PushRequest], receipts: Sequence[Receipt]) -> None:
        """Write down what became of the pushes."""
        outcomes = {receipt.outcome for receipt in receipts}
        self.span.set_attribute("sanic_ws.outcomes", sorted(outcomes))
        for request, receipt in zip(requests, receipts, strict=True):
            if receipt.outcome in _FAILED and request.wait != "none":
                _fail(self.span, receipt.outcome)


class Tracing:
    """Make the spans of a node or a publisher; safe to use from one event loop.

    Args:
        tracer: makes them.
        system: ``messaging.system`` of the broker.
        prefix: of its exchanges and queues.
        provider: shut down at the end, if it is this one's own.
    """

    def __init__(self, tracer: Tracer, system: str, prefix: str, provider: Any = None) -> None:
        self._tracer = tracer
        self._system = system
        self._prefix = prefix
        self._provider = provider

    # What pushes come in

    @property
    def wanted(self) -> bool:
        """Whether a publisher's application traces at all: it has set that up, or is part of a trace."""
        set_up = self._provider or not isinstance(otel.get_tracer_provider(), ProxyTracerProvider)
        return bool(set_up) or otel.get_current_span() is not otel.INVALID_SPAN

    @contextmanager
    def push(self, number: int) -> Iterator[Trace | None]:
        """Make the span of a publisher's call, below the current one.

        Args:
            number: of pushes.
        """
        about = self._about("push", "send", "", number)
        with self._current("push", SpanKind.CLIENT, about) as span:
            yield self.trace(span)

    @contextmanager
    def call(self, headers: Mapping[str, str] | None) -> Iterator[Trace | None]:
        """Make the span of a back end's call over AMQP, below the one that its headers name."""
        name = f"{self._prefix}.rpc"
        about = self._about("process", "process", name)
        with self._current(f"process {name}", SpanKind.CONSUMER, about, _W3C.extract(headers or {})) as span:
            yield self.trace(span)

    def start_request(self, method: str, route: str, headers: Mapping[str, Sequence[str]]) -> Span:
        """Start the span of an HTTP request, below the one that its headers name.

        Args:
            method: of the request.
            route: its path, without what varies.
            headers: of each name all values.
        """
        parents = headers.get("traceparent", ())
        context = _W3C.extract(headers if len(parents) == 1 else {})
        about = {"http.request.method": method, "http.route": route, "url.path": route, "url.scheme": "http"}
        return self._tracer.start_span(f"{method} {route}", context, SpanKind.SERVER, about)

    @staticmethod
    def trace(span: Span) -> Trace | None:
        """Return what pushes carry that came in a span, if it is sampled."""
        return Trace(span) if span.get_span_context().trace_flags.sampled else None

    @staticmethod
    def end_request(span: Span, status: int) -> None:
        """End the span of an HTTP request."""
        span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            _fail(span, str(status))
        span.end()

    # What goes out

    @contextmanager
    def send(self, items: Iterable[Item], exchange: str, node: str = "") -> Iterator[dict[str, str] | None]:
        """Make the spans of a batch while it is sent; gives the message's headers, or None.

        Args:
            items: what is in it.
            exchange: without the prefix.
            node: who gets it, if one.
        """
        numbers: dict[Span, list[int]] = {}
        for number, item in enumerate(items):
            trace = item.push.trace
            if isinstance(trace, Trace):
                numbers.setdefault(trace.span, []).append(number)
        if not numbers:
            yield None
            return
        spans = {self._start_send(parent, exchange, node, len(of)): of for parent, of in numbers.items()}
        try:
            yield {HEADER: _write(spans)}
        except Exception as exc:
            for span in spans:
                _fail(span, type(exc).__qualname__)
            raise
        finally:
            for span in spans:
                span.end()

    def _start_send(self, parent: Span, exchange: str, node: str, number: int) -> Span:
        name = f"{self._prefix}.{exchange}"
        about = self._about("send", "send", name, number, node)
        context = otel.set_span_in_context(parent)
        return self._tracer.start_span(f"send {name}", context, SpanKind.PRODUCER, about)

    @contextmanager
    def inbound(self) -> Iterator[dict[str, str]]:
        """Make the span of a client's message while it is handed to back ends; gives the headers.

        The routing key, the message's type, is the client's choice, and not told.
        """
        name = f"{self._prefix}.inbound"
        about = self._about("send", "send", name)
        with self._current(f"send {name}", SpanKind.PRODUCER, about) as span:
            headers: dict[str, str] = {}
            _W3C.inject(headers, otel.set_span_in_context(span))
            yield headers

    # What comes in

    def wrote(self, headers: Mapping[str, str], began_ns: int, batch: Batch, reply: Reply) -> None:
        """Make the spans of a batch that was carried out, below those that its headers name.

        Args:
            headers: the message's.
            began_ns: when that began, since the epoch.
            batch: it.
            reply: what it is answered.
        """
        name = f"{self._prefix}.{'fanout' if batch.seek else 'direct'}"
        for context, numbers in _read(headers.get(HEADER, ""), len(reply.answers)):
            answers = {Answer(reply.answers[number]) for number in numbers}
            if batch.seek and answers == {Answer.NOT_MINE}:
                # Of all who are asked the one that has it is of interest.
                continue
            about = self._about("write", "process", name, len(numbers))
            about["sanic_ws.answers"] = sorted(answer.name.lower() for answer in answers)
            span = self._tracer.start_span(f"write {name}", context, SpanKind.CONSUMER, about, (), began_ns)
            span.end()

    def close(self) -> None:
        """Export what is left, in bounded time."""
        if self._provider is not None:
            closing = threading.Thread(target=self._provider.shutdown, name="sanic_ws.tracing", daemon=True)
            closing.start()
            closing.join(CLOSE_TIMEOUT_S)

    def _about(self, name: str, kind: str, where: str, number: int = 1, key: str = "") -> dict[str, Any]:
        about: dict[str, Any] = {
            "messaging.system": self._system,
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
        }
        if where:
            about["messaging.destination.name"] = where
        if number > 1:
            about["messaging.batch.message_count"] = number
        if key:
            about["messaging.rabbitmq.destination.routing_key"] = key
        return about

    @contextmanager
    def _current(
        self, name: str, kind: SpanKind, about: dict[str, Any], context: Context | None = None
    ) -> Iterator[Span]:
        """Make a span that is the current one meanwhile; what fails is named, and nothing that it says."""
        with self._tracer.start_as_current_span(
            name, context, kind, about, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except Exception as exc:
                _fail(span, type(exc).__qualname__)
                raise


def make_tracing(amqp_url: str, prefix: str) -> Tracing:
    """Trace with what the application has set up; without that, pass its context on at most."""
    return Tracing(_tracer(otel.get_tracer_provider()), _system(amqp_url), prefix)


def make_node_tracing(amqp_url: str, prefix: str, node: str) -> Tracing:
    """Trace with what the application has set up, or else export by the variables ``OTEL_*``.

    Args:
        amqp_url: of the broker.
        prefix: of its exchanges and queues.
        node: its id.
    """
    if not isinstance(otel.get_tracer_provider(), ProxyTracerProvider):
        return make_tracing(amqp_url, prefix)
    # Only here: whoever has set up another exporter starts without the library for this one.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    ours = {"service.name": "sanic-ws", "service.instance.id": node, "service.version": __version__}
    given = OTELResourceDetector().detect().attributes
    resource = Resource.create({name: value for name, value in ours.items() if name not in given})
    provider = Provider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(_tracer(provider), _system(amqp_url), prefix, provider)


def _system(amqp_url: str) -> str:
    return "memory" if amqp_url.startswith("memory://") else "rabbitmq"


def _tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("sanic_ws", __version__)


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _write(spans: Mapping[Span, Sequence[int]]) -> str:
    """Write the contexts of some spans, each with the numbers of its items."""
    parts: list[str] = []
    for span, numbers in list(spans.items())[:MOST_TRACES]:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, otel.set_span_in_context(span))
        parts.append(f"{carrier['traceparent']} {','.join(map(str, numbers))}")
    return ";".join(parts)


def _read(text: str, items: int) -> Iterator[tuple[Context, list[int]]]:
    """Read what `_write` wrote; leave out what cannot be read, or names no item."""
    for part in text.split(";")[:MOST_TRACES]:
        parent, _, listed = part.partition(" ")
        context = _W3C.extract({"traceparent": parent})
        numbers = [number for number in map(int, _NUMBER.findall(listed)) if number < items]
        if numbers and otel.get_current_span(context).get_span_context().is_valid:
            yield context, numbers
