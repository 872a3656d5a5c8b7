"""Choose registry, mailboxes and broker by the scheme of their URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sanic_ws.broker.memory import MemoryBroker
from sanic_ws.broker.rabbitmq import RabbitBroker
from sanic_ws.errors import InvalidField
from sanic_ws.mailbox.memory import MemoryMailbox
from sanic_ws.mailbox.redis import RedisMailbox
from sanic_ws.registry.memory import MemoryRegistry
from sanic_ws.registry.redis import RedisRegistry

if TYPE_CHECKING:
    from sanic_ws.broker import Broker
    from sanic_ws.mailbox import Bounds, Mailbox
    from sanic_ws.registry import Registry


def make_registry(url: str, prefix: str) -> Registry:
    """Return the registry for a URL: ``memory://``, or one of `core.redis_url`.

    Raises:
        InvalidField: the URL is not one; says what is wrong.
    """
    if url.startswith("memory://"):
        return MemoryRegistry(url, prefix)
    return RedisRegistry(url, prefix)


def make_mailbox(url: str, prefix: str, bounds: Bounds) -> Mailbox:
    """Return the mailboxes that are where the registry of a URL is.

    Raises:
        InvalidField: the URL is not one; says what is wrong.
    """
    if url.startswith("memory://"):
        return MemoryMailbox(url, prefix, bounds)
    return RedisMailbox(url, prefix, bounds)


def make_broker(url: str, prefix: str) -> Broker:
    """Return the broker for a URL: ``amqp://`` or ``amqps://`` (several, by commas) or ``memory://``.

    Raises:
        InvalidField: a URL has another scheme.
    """
    schemes = {urlsplit(part.strip()).scheme for part in url.split(",")}
    if schemes == {"memory"}:
        return MemoryBroker(url, prefix)
    if schemes <= {"amqp", "amqps"}:
        return RabbitBroker(url, prefix)
    raise InvalidField("amqp_url", "must begin with amqp://, amqps:// or memory://")
