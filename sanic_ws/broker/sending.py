"""Publishing to RabbitMQ: what a library raises becomes what the port says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aio_pika.exceptions import DeliveryError, PublishError

from sanic_ws.broker.link import GONE, reason, transient
from sanic_ws.errors import BrokerLost, BrokerUnavailable, QueueFull, Unroutable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from aiormq import spec
    from aiormq.channel import Channel
    from pamqp.common import FieldValue

    from sanic_ws.broker.link import Link
    from sanic_ws.broker.port import Headers

CARRIED = ("traceparents", "traceparent", "tracestate")

log = event_log("sanic_ws.broker")


async def publish(
    link: Link,
    exchange: str,
    key: str,
    body: bytes,
    properties: spec.Basic.Properties,
    timeout_s: float,
    channel: Channel | None = None,
) -> None:
    """Publish and wait until the broker has confirmed it.

    Args:
        link: to the broker.
        exchange: empty: the broker's own, which knows every queue by its name.
        key: the routing key.
        body: of the message.
        properties: of the message, new for each attempt: two under one id get each other's result.
        timeout_s: how long the confirm is waited for.
        channel: one with confirms; the link's own if left out.

    Raises:
        BrokerUnavailable: the broker is blocked; certainly not sent.
        Unroutable: no queue is bound by this key; certainly not sent.
        QueueFull: a queue refuses it.
        BrokerLost: the connection broke meanwhile, or no confirm came in time; it may have been sent.
    """
    if link.blocked:
        raise BrokerUnavailable("RabbitMQ takes nothing: it is short of memory or disk")
    try:
        async with asyncio.timeout(timeout_s):
            await (channel or link.publishing).basic_publish(
                body,
                exchange=exchange,
                routing_key=key,
                properties=properties,
                mandatory=True,
                wait=False,
            )
    except PublishError as exc:
        raise Unroutable(key) from exc
    except DeliveryError as exc:
        raise QueueFull(key) from exc
    except GONE as exc:
        raise BrokerLost(f"RabbitMQ: {reason(exc)}") from exc


def read_headers(properties: spec.Basic.Properties) -> Headers | None:
    """Return those of a message's headers that are carried, if it has any."""
    found = properties.headers
    if not found:
        return None
    return {name: value for name in CARRIED if isinstance(value := found.get(name), str)}


def write_headers(headers: Headers | None) -> dict[str, FieldValue] | None:
    """Return headers as the library takes them."""
    return dict(headers) if headers else None


async def post(link: Link, key: str, body: bytes, timeout_s: float) -> None:
    """Send through the direct exchange without a confirm; what cannot be sent is lost silently."""
    try:
        async with asyncio.timeout(timeout_s):
            await link.answering.basic_publish(
                body, exchange=link.names.direct, routing_key=key, properties=transient(), wait=False
            )
    except GONE as exc:
        log.debug("not sent", reason=reason(exc))
