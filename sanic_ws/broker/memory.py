"""The broker in this process's own memory: for one process, with the same promises as RabbitMQ's."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sanic_ws.errors import BrokerUnavailable, Unroutable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.broker.port import OnBatch, OnReply


DEAD_MESSAGES = 1000


@dataclass(slots=True)
class _Bus:
    """Hold what all brokers of one URL share."""

    nodes: dict[str, OnBatch] = field(default_factory=dict)
    replies: dict[str, OnReply] = field(default_factory=dict)
    dead: deque[bytes] = field(default_factory=lambda: deque(maxlen=DEAD_MESSAGES))


_buses: dict[tuple[str, str], _Bus] = {}


class MemoryBroker:
    """Carry batches within one event loop; brokers of one URL and prefix share the queues.

    Args:
        url: ``memory://`` and a name, if several are wanted.
        prefix: keeps several gateways apart.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._bus = _buses.setdefault((url, prefix), _Bus())
        self._address = f"memory-{secrets.token_hex(8)}"
        self._node: str | None = None
        self._open = False

    @property
    def connected(self) -> bool:
        """Whether it is open."""
        return self._open

    @property
    def blocked(self) -> bool:
        """Whether it can hear and not send: never."""
        return False

    async def open(self, on_reply: OnReply, on_batch: OnBatch | None = None, node: str | None = None) -> None:
        """Open the queues at once."""
        self._bus.replies[self._address] = on_reply
        if on_batch is not None and node is not None:
            self._node = node
            self._bus.nodes[node] = on_batch
        self._open = True

    async def wait_connected(self, timeout_s: float) -> bool:  # noqa: ARG002 - the port's
        """Say whether it is open."""
        return self._open

    async def send(self, node: str, body: bytes, ttl_ms: int) -> None:  # noqa: ARG002
        """Hand a batch to a node, in the next turn of the event loop."""
        self._check()
        on_batch = self._bus.nodes.get(node)
        if on_batch is None:
            raise Unroutable(node)
        asyncio.get_running_loop().call_soon(self._hand_over, on_batch, body, self._address)

    async def broadcast(self, body: bytes, ttl_ms: int) -> None:  # noqa: ARG002
        """Hand a batch to all nodes."""
        self._check()
        if not self._bus.nodes:
            raise Unroutable("")
        for on_batch in list(self._bus.nodes.values()):
            asyncio.get_running_loop().call_soon(self._hand_over, on_batch, body, self._address)

    async def answer(self, address: str, body: bytes) -> None:
        """Hand a reply to who waits for it."""
        on_reply = self._bus.replies.get(address)
        if on_reply is not None:
            asyncio.get_running_loop().call_soon(self._hand_over, on_reply, body)

    async def leave(self) -> None:
        """Take no more batches; what was handed over before is carried out first."""
        if self._node is not None:
            self._bus.nodes.pop(self._node, None)
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close the queues."""
        self._open = False
        self._bus.replies.pop(self._address, None)
        if self._node is not None:
            self._bus.nodes.pop(self._node, None)

    def _hand_over(self, take: Callable[..., bool], body: bytes, *address: str) -> None:
        if body and not take(body, *address):
            self._bus.dead.append(body)

    def _check(self) -> None:
        if not self._open:
            raise BrokerUnavailable("the broker is closed")
