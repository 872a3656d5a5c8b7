"""The broker in this process's own memory: for one process, with the same promises as RabbitMQ's."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sanic_ws.errors import BrokerUnavailable, QueueFull, Unroutable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.broker.port import Call, Headers, OnBatch, OnCall, OnReply


DEAD_MESSAGES = 1000
OPEN_CALLS = 10_000


@dataclass(slots=True)
class _Bus:
    """Hold what all brokers of one URL share: who takes batches for one node, for all, and so on."""

    direct: dict[str, OnBatch] = field(default_factory=dict)
    fanout: dict[str, OnBatch] = field(default_factory=dict)
    replies: dict[str, OnReply] = field(default_factory=dict)
    dead: deque[bytes] = field(default_factory=lambda: deque(maxlen=DEAD_MESSAGES))
    takers: deque[OnCall] = field(default_factory=deque)
    open_calls: int = 0
    bound: list[tuple[re.Pattern[str], Callable[[str, bytes], None]]] = field(default_factory=list)
    watching: list[tuple[re.Pattern[str], Callable[[str, bytes], None]]] = field(default_factory=list)


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
        self._back_ends = MemoryBackEnds(self._bus)

    @property
    def back_ends(self) -> MemoryBackEnds:
        """What it carries between nodes and back ends."""
        return self._back_ends

    @property
    def connected(self) -> bool:
        """Whether it is open."""
        return self._open

    @property
    def openings(self) -> int:
        """Whether it was ever open."""
        return int(self._open)

    @property
    def blocked(self) -> bool:
        """Whether it can hear and not send: never."""
        return False

    async def open(self, on_reply: OnReply, on_batch: OnBatch | None = None, node: str | None = None) -> None:
        """Open the queues at once."""
        self._bus.replies[self._address] = on_reply
        if on_batch is not None and node is not None:
            self._node = node
            self._bus.direct[node] = self._bus.fanout[node] = on_batch
        self._open = self._back_ends.open = True

    async def wait_connected(self, timeout_s: float) -> bool:  # noqa: ARG002 - the port's
        """Say whether it is open."""
        return self._open

    async def send(
        self,
        node: str,
        body: bytes,
        ttl_ms: int,  # noqa: ARG002
        headers: Headers | None = None,
    ) -> None:
        """Hand a batch to a node, in the next turn of the event loop."""
        self._check()
        on_batch = self._bus.direct.get(node)
        if on_batch is None:
            raise Unroutable(node)
        asyncio.get_running_loop().call_soon(self._hand_over, on_batch, body, self._address, headers)

    async def broadcast(
        self,
        body: bytes,
        ttl_ms: int,  # noqa: ARG002
        headers: Headers | None = None,
    ) -> None:
        """Hand a batch to all nodes."""
        self._check()
        if not self._bus.fanout:
            raise Unroutable("")
        for on_batch in list(self._bus.fanout.values()):
            asyncio.get_running_loop().call_soon(self._hand_over, on_batch, body, self._address, headers)

    async def answer(self, address: str, body: bytes) -> None:
        """Hand a reply to who waits for it."""
        on_reply = self._bus.replies.get(address)
        if on_reply is not None:
            asyncio.get_running_loop().call_soon(self._hand_over, on_reply, body)

    async def leave(self, last_calls_s: float = 0.0) -> None:
        """Take no more batches: first none for this node alone, then none for all.

        What was handed over before is carried out first.
        """
        if self._node is not None:
            self._bus.direct.pop(self._node, None)
            await asyncio.sleep(last_calls_s)
            self._bus.fanout.pop(self._node, None)

    async def close(self) -> None:
        """Close the queues."""
        self._open = self._back_ends.open = False
        await self._back_ends.leave()
        self._bus.replies.pop(self._address, None)
        await self.leave()

    def _hand_over(self, take: Callable[..., bool], body: bytes, *about: str | Headers | None) -> None:
        if body and not take(body, *about):
            self._bus.dead.append(body)

    def _check(self) -> None:
        if not self._open:
            raise BrokerUnavailable("the broker is closed")


class MemoryBackEnds:
    """Take calls and hand out clients' messages; `call`, `bind` and `watch` are for the back ends themselves.

    Args:
        bus: what all brokers of one URL share.
    """

    def __init__(self, bus: _Bus) -> None:
        self._bus = bus
        self._on_call: OnCall | None = None
        self.open = False

    def serve(self, on_call: OnCall) -> None:
        """Begin to take calls."""
        self._on_call = on_call
        self._bus.takers.append(on_call)

    async def publish_inbound(self, kind: str, body: bytes, headers: Headers | None = None) -> None:  # noqa: ARG002
        """Hand a client's message to the back ends that are bound to its type."""
        if not self.open:
            raise BrokerUnavailable("the broker is closed")
        takers = [take for pattern, take in self._bus.bound if pattern.fullmatch(f".{kind}")]
        if not takers:
            raise Unroutable(kind)
        for take in takers:
            take(kind, body)

    async def publish_event(self, kind: str, body: bytes) -> None:
        """Tell the back ends that are bound to a kind of event, if there are any."""
        if not self.open:
            raise BrokerUnavailable("the broker is closed")
        for pattern, take in self._bus.watching:
            if pattern.fullmatch(f".{kind}"):
                take(kind, body)

    async def leave(self) -> None:
        """Take no more calls; those under way go on."""
        if self._on_call is not None:
            self._bus.takers.remove(self._on_call)
            self._on_call = None

    async def call(self, call: Call) -> bytes | None:
        """Have one of the nodes, in turn, carry a call out; return its answer.

        Raises:
            Unroutable: no node takes calls.
            QueueFull: too many are under way.
        """
        if not self._bus.takers:
            raise Unroutable("rpc")
        if self._bus.open_calls >= OPEN_CALLS:
            raise QueueFull("rpc")
        self._bus.takers.rotate(-1)
        self._bus.open_calls += 1
        try:
            answer = await self._bus.takers[-1](call)
        finally:
            self._bus.open_calls -= 1
        if answer is None:
            self._bus.dead.append(call.body)
        return answer

    def bind(self, pattern: str, take: Callable[[str, bytes], None]) -> None:
        """Have messages handed over whose types match; ``*`` stands for a word, ``#`` for any number."""
        self._bus.bound.append((_topic(pattern), take))

    def watch(self, pattern: str, take: Callable[[str, bytes], None]) -> None:
        """Have events handed over whose kinds match, as `bind` does with messages."""
        self._bus.watching.append((_topic(pattern), take))


def _topic(pattern: str) -> re.Pattern[str]:
    """Return what matches the routing keys that a topic exchange would route by a binding key."""
    words = {"*": r"\.[^.]*", "#": r"(\.[^.]*)*"}
    # Each word with the dot before it, so that `#` can be no word at all.
    parts = "".join(words.get(word, re.escape(f".{word}")) for word in pattern.split("."))
    return re.compile(parts, re.DOTALL)
