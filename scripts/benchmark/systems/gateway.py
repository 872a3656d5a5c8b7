"""The gateway itself: `sanic-ws serve` on real servers."""

from __future__ import annotations

import itertools
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmark.load import Endpoint
from scripts.benchmark.processes import Program, importing, python
from tests.servers import GatewayNode

from .push import MARKER, PushSystem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.benchmark.bench import Bench
    from tests.servers import Server

TITLE = "sanic-ws"
API_KEY = "bench-key-0123456789abcdef"
CONNECTED = ('"connected"', None)
BIND = ('"connected"', '{"type":"user_info","data":{"userId":{i},"fromType":"web"}}')
BOUND = ('"user_bound"', None)

_LIMITS = (
    "SANIC_WS_MAX_CONNECTIONS_PER_USER",
    "SANIC_WS_MAX_CONNECTIONS_PER_ADDRESS",
    "SANIC_WS_HANDSHAKES_PER_S",
    "SANIC_WS_HANDSHAKES_PER_S_PER_ADDRESS",
    "SANIC_WS_MESSAGES_PER_S",
    "SANIC_WS_BYTES_PER_S",
)
"""Off: all the load comes from one address."""

_prefixes = (f"bench{number}" for number in itertools.count(1))


def missing() -> str | None:
    """Say why the gateway cannot be measured, or None."""
    return (
        None
        if Path(sys.executable).with_name("sanic-ws").exists()
        else "sanic-ws is not installed beside Python"
    )


class Gateway(GatewayNode):
    """One node, trusting its clients, on the run's Redis and RabbitMQ."""

    title = TITLE

    program: Sequence[str] = ()

    def __init__(self, bench: Bench, prefix: str, *, env: Mapping[str, str] | None = None) -> None:
        settings = {
            "SANIC_WS_REDIS_URL": bench.redis.url,
            "SANIC_WS_AMQP_URL": bench.rabbit.url,
            "SANIC_WS_PREFIX": prefix,
            "SANIC_WS_API_KEYS": f"bench:{API_KEY}",
            "SANIC_WS_TRUST_CLIENT_IDENTITY": "true",
            "SANIC_WS_ALLOWED_ORIGINS": "*",
            "SANIC_WS_MAX_CONNECTIONS": "19500",
            "SANIC_WS_DRAIN_S": "0",
            **dict.fromkeys(_LIMITS, "0"),
        }
        self.prefix = prefix
        environment = {**settings, **(env or {})}
        if self.program:
            environment = importing(environment)
        super().__init__("serve", name="bench", env=environment, program=self.program)

    @property
    def endpoint(self) -> Endpoint:
        """Connections that are bound to a user each."""
        return endpoint([self])

    @property
    def unbound(self) -> Endpoint:
        """Connections that are registered, without a user."""
        return Endpoint([f"{self.ws_url}?sign=c{{i}}"], (CONNECTED,))

    @property
    def echo(self) -> Endpoint:
        """Connections on which `echo` is answered with the same data, see `HandlerGateway`."""
        return replace(self.endpoint, marker='"echoed"')

    @property
    def headers(self) -> dict[str, str]:
        """What an HTTP push carries."""
        return {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}


class HandlerGateway(Gateway):
    """A node in an application that has a handler for `echo`."""

    program = python("gateway_handlers")


def endpoint(nodes: Sequence[Server]) -> Endpoint:
    """Return the clients' way in: connection `c5` binds itself to user 5."""
    urls = [f"ws://127.0.0.1:{node.port}/ws?sign=c{{i}}" for node in nodes]
    return Endpoint(urls, (BIND, BOUND), f'"{MARKER}"')


def new_prefix() -> str:
    """Return a prefix that no earlier cluster of this run has used."""
    return next(_prefixes)


def push_system(bench: Bench) -> PushSystem:
    """Build a cluster of its own."""
    prefix = new_prefix()
    return PushSystem(
        TITLE, lambda: Gateway(bench, prefix), endpoint, lambda log: publisher(bench, prefix, log)
    )


def publisher(bench: Bench, prefix: str, log: Path) -> Program:
    """Start a process with a `Publisher` for the cluster."""
    command = python("gateway_publisher", bench.redis.url, bench.rabbit.url, prefix)
    return Program(command, log, env=importing(os.environ))
