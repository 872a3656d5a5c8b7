"""What a broker can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Headers = Mapping[str, str]
"""What goes along with a message; only those of traces (`sanic_ws.tracing`) are carried."""
OnBatch = Callable[[bytes, str, Headers | None], bool]
"""Called with a batch, the address that its reply goes to, and its headers; must not block nor raise.

Says whether the batch could be read: what cannot is set aside.
"""
OnReply = Callable[[bytes], bool]
"""Called with a reply; the same."""


@dataclass(frozen=True, slots=True)
class Call:
    """Hold what a back end asks for.

    Attributes:
        body: opaque bytes.
        answered: whether the back end said where the answer goes.
        redelivered: whether a node has had it before, and may have carried it out.
        expires_s: for how long it was good when it was sent, if the back end said so.
        headers: of the message.
    """

    body: bytes
    answered: bool = True
    redelivered: bool = False
    expires_s: float | None = None
    headers: Headers | None = None


OnCall = Callable[[Call], Awaitable[bytes | None]]
"""Called with a call; must not raise. Returns the answer, or None: it is set aside."""


class BackEnds(Protocol):
    """Take calls from back ends in any language, and hand them what clients send; bodies are opaque bytes.

    One node takes a call, whichever it is. It takes a bounded number at a time, and confirms each when it
    has been answered or set aside: a call that a dead node had is handed to another one, as redelivered.
    """

    def serve(self, on_call: OnCall) -> None:
        """Begin to take calls, now or as soon as the broker is connected."""

    async def publish_inbound(self, kind: str, body: bytes, headers: Headers | None = None) -> None:
        """Hand a client's message to the back ends that are bound to its type; wait for the confirm.

        Messages arrive in the order of the calls.

        Args:
            kind: the message's type, at most 255 bytes in UTF-8.
            body: the message.
            headers: of the message.

        Raises:
            BrokerUnavailable: it is not connected, or blocked; certainly not sent.
            Unroutable: nobody is bound to the type; certainly not sent.
            QueueFull: a back end's queue refuses it.
            BrokerLost: the connection broke meanwhile, or no confirm came in time; it may have been sent.
        """

    async def publish_event(self, kind: str, body: bytes) -> None:
        """Tell the back ends that are bound to a kind of event, if there are any; wait for no confirm.

        Raises:
            BrokerUnavailable: it is not connected, or blocked; certainly not sent.
            BrokerLost: the connection broke meanwhile; it may have been sent.
        """

    async def leave(self) -> None:
        """Take no more calls; those under way go on."""


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
    def openings(self) -> int:
        """How many times it has connected: between two of them it may have missed something."""

    @property
    def blocked(self) -> bool:
        """Whether it can hear and not send, because the broker is short of memory or disk."""

    @property
    def back_ends(self) -> BackEnds:
        """What it carries between nodes and back ends."""

    async def open(self, on_reply: OnReply, on_batch: OnBatch | None = None, node: str | None = None) -> None:
        """Start to connect. With a node's id its queue is opened as well."""

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait until it is connected; say `False` if that takes longer."""

    async def send(self, node: str, body: bytes, ttl_ms: int, headers: Headers | None = None) -> None:
        """Send a batch to a node's queue and wait until the broker has confirmed it.

        Raises:
            BrokerUnavailable: it is not connected, or blocked; certainly not sent.
            Unroutable: the queue is gone; certainly not sent.
            QueueFull: the queue refuses it; certainly not sent.
            BrokerLost: the connection broke meanwhile, or no confirm came within ``ttl_ms``; it may have
                been sent.
        """

    async def broadcast(self, body: bytes, ttl_ms: int, headers: Headers | None = None) -> None:
        """Send a batch to all nodes; raises as `send`."""

    async def answer(self, address: str, body: bytes) -> None:
        """Send a reply. It is lost silently if nobody waits for it any more."""

    async def leave(self, last_calls_s: float = 0.0) -> None:
        """Take no more batches; what was in the queue has been handed over when this returns.

        First none for this node alone, so that who looks finds it gone; those for all nodes still come for
        `last_calls_s`, from those who found it there just before.
        """

    async def close(self) -> None:
        """Answer the calls under way, in bounded time; close the queues and the connections."""
