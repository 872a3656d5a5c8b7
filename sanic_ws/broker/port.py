"""What a broker can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

OnBatch = Callable[[bytes, str], bool]
"""Called with a batch and the address that its reply goes to; must not block and must not raise.

Says whether the batch could be read: what cannot is set aside.
"""
OnReply = Callable[[bytes], bool]
"""Called with a reply; the same."""


class Broker(Protocol):
    """Carry batches to nodes and replies back; bodies are opaque bytes.

    It connects, and connects again, in the background, also when nothing is heard though it seems to be
    connected; while it is not connected everything that is to be sent raises `BrokerUnavailable` at once.
    Empty bodies are its own.
    """

    @property
    def connected(self) -> bool:
        """Whether it can send and hear."""

    @property
    def blocked(self) -> bool:
        """Whether it can hear and not send, because the broker is short of memory or disk."""

    async def open(self, on_reply: OnReply, on_batch: OnBatch | None = None, node: str | None = None) -> None:
        """Start to connect. With a node's id its queue is opened as well."""

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait until it is connected; say `False` if that takes longer."""

    async def send(self, node: str, body: bytes, ttl_ms: int) -> None:
        """Send a batch to a node's queue and wait until the broker has confirmed it.

        Raises:
            BrokerUnavailable: it is not connected, or blocked; certainly not sent.
            Unroutable: the queue is gone; certainly not sent.
            QueueFull: the queue refuses it; certainly not sent.
            BrokerLost: the connection broke meanwhile, or no confirm came within ``ttl_ms``; it may have
                been sent.
        """

    async def broadcast(self, body: bytes, ttl_ms: int) -> None:
        """Send a batch to all nodes; raises as `send`."""

    async def answer(self, address: str, body: bytes) -> None:
        """Send a reply. It is lost silently if nobody waits for it any more."""

    async def leave(self) -> None:
        """Take no more batches; what was in the queue has been handed over when this returns."""

    async def close(self) -> None:
        """Close the queues and the connections."""
