"""``GET /metrics``: this process in Prometheus's text format (exposition format 0.0.4).

Everything is read when it is asked for: a push pays for nothing but counting. No label holds an id.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import text

from sanic_ws.core.closing import CloseCode
from sanic_ws.http.auth import scope
from sanic_ws.http.openapi import Answer, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from sanic_ws.core.histograms import Histogram
    from sanic_ws.node import Node

PREFIX = "sanic_ws"
GAVE_WAY = "gave_way"
"""Stands for the outcome of what `overflow` let newer pushes take the place of, or may have."""

blueprint = Blueprint("metrics")


@blueprint.get("/metrics")
@describe({200: Answer("Page", "in Prometheus's text format", CONTENT_TYPE_LATEST)})
@scope("read")
async def get_metrics(request: Request[Any, Any]) -> HTTPResponse:
    """Give this process's metrics."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(request.app.ctx.node))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return text(generate_latest(registry).decode(), content_type=CONTENT_TYPE_LATEST)


class NodeCollector(Collector):
    """Read a node's counters.

    Args:
        node: whose.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Return all metrics as they are now."""
        yield from self._state()
        yield from self._clients()
        yield from self._pushes()

    def _state(self) -> Iterator[Metric]:
        node = self._node
        yield _gauge("ready", "Whether registry and queue are up and the node does not leave.", node.ready)
        yield _gauge("draining", "Whether the node leaves.", node.draining)
        yield _gauge("redis_up", "Whether the registry believes in this node.", node.registered)
        yield _gauge("rabbitmq_up", "Whether the node has its queue.", node.broker.connected)
        yield _counter("assertions", "Connections registered again.", node.membership.reasserted)
        if node.presence is not None:
            events = node.presence.events
            told = {"published": events.published, "dropped": events.dropped}
            yield _by("events", "Events of presence for back ends.", "outcome", told)
        yield _counter("set_aside", "Messages that nobody could read.", node.set_aside)

    def _clients(self) -> Iterator[Metric]:
        node = self._node
        yield _gauge("connections", "Open connections.", len(node.hub))
        yield _gauge("connections_limit", "How many there may be.", node.settings.max_connections)
        yield _by("handshakes", "Clients that were let in, or why not.", "outcome", node.handshakes)
        yield _by("closes", "Connections closed from here.", "code", node.closes)
        drained = node.closes[CloseCode.RESTART]
        yield _by("inbound", "Clients' messages for back ends.", "outcome", node.inbound)
        yield _by("calls", "Calls of back ends over AMQP.", "outcome", node.calls)
        yield _by("answers", "Acks and replies of clients.", "kind", node.answers)
        yield _counter("drained", "Connections told to come back elsewhere.", drained)

    def _pushes(self) -> Iterator[Metric]:
        dispatcher = self._node.dispatcher
        router = dispatcher.router
        deliveries = CounterMetricFamily(
            f"{PREFIX}_pushes", "Deliveries of pushes made through this node.", labels=["route", "outcome"]
        )
        gave_way: Counter[str] = Counter()
        for (route, outcome), number in router.deliveries.items():
            gone = router.gave_way.get((route, outcome), 0)
            gave_way[str(route or "none")] += gone
            deliveries.add_metric([str(route or "none"), str(outcome)], number - gone)
        for name, number in (+gave_way).items():
            deliveries.add_metric([name, GAVE_WAY], number)
        yield deliveries
        yield from self._mail()
        yield _gauge("queue_depth", "Deliveries under way from this node.", dispatcher.open_items)
        yield _by("fallbacks", "Deliveries for which all nodes were asked.", "cause", router.fallbacks)
        yield _counter("stale_hits", "Deliveries that went to the wrong node first.", router.stale_hits)
        yield _histogram("receipt_seconds", "From a push to its receipt.", dispatcher.receipt_s)
        yield _histogram("redis_seconds", "How long look-ups took.", dispatcher.look_up_s)
        yield _histogram("rabbitmq_seconds", "How long RabbitMQ took to confirm a batch.", dispatcher.send_s)
        yield _histogram("batch_size", "Deliveries in a batch to a node.", dispatcher.batch_sizes)

    def _mail(self) -> Iterator[Metric]:
        replay = self._node.mail.replay
        yield _counter("stored", "Durable messages stored from here.", self._node.dispatcher.stored)
        yield _counter("replayed", "Durable messages sent from mailboxes.", replay.replayed)
        yield _counter("gaps", "Times that something was missing before one.", replay.gaps)
        yield _by(
            "recoveries", "Sessions that went on, and whether that was whole.", "whole", replay.recoveries
        )


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, float(value))


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", about, float(value))


def _by(name: str, about: str, label: str, values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", about, labels=[label])
    for value, number in values.items():
        family.add_metric([str(int(value)) if isinstance(value, int) else str(value)], number)
    return family


def _histogram(name: str, about: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", about)
    buckets = [("+Inf" if bound == inf else str(float(bound)), n) for bound, n in histogram.buckets]
    family.add_metric([], buckets, histogram.total)
    return family
