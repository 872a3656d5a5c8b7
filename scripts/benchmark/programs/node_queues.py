"""Answer for many nodes in one process, each with its queue: `node_queues REDIS_URL AMQP_URL PREFIX`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from sanic_ws.backends import make_broker, make_registry
from sanic_ws.core.batch import decode_batch, encode_reply
from sanic_ws.core.flights import Owner
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reception import refuse
from sanic_ws.registry import Claim, NodeInfo
from sanic_ws.tasks import start

from . import control

if TYPE_CHECKING:
    from sanic_ws.broker import Broker, Headers

LEASE_S = 300.0
CONNECT_S = 30.0
AT_ONCE = 20


class Queue:
    """A node that says of every item that it was delivered."""

    def __init__(self, amqp_url: str, prefix: str, node: str) -> None:
        self.node = node
        self._broker: Broker = make_broker(amqp_url, prefix)
        self._answers: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open the queue."""
        await self._broker.open(lambda _: True, self._on_batch, self.node)
        if not await self._broker.wait_connected(CONNECT_S):
            raise TimeoutError(f"the queue of {self.node} is not there")

    def _on_batch(self, body: bytes, reply_to: str, _headers: Headers | None = None) -> bool:
        reply = refuse(decode_batch(body), self.node, Answer.DELIVERED)
        start(self._broker.answer(reply_to, encode_reply(reply)), self._answers)
        return True


class Commands:
    """The commands that the benchmark gives to this process."""

    def __init__(self, redis_url: str, amqp_url: str, prefix: str) -> None:
        self._registry = make_registry(redis_url, prefix)
        self._amqp_url, self._prefix = amqp_url, prefix
        self._queues: list[Queue] = []

    async def open(self, *, nodes: list[str], connections: list[list[str]]) -> dict[str, Any]:
        """Open the nodes' queues and register each node's connections."""
        queues = [Queue(self._amqp_url, self._prefix, node) for node in nodes]
        for at in range(0, len(queues), AT_ONCE):
            await asyncio.gather(*(queue.open() for queue in queues[at : at + AT_ONCE]))
        self._queues += queues
        for node, conns in zip(nodes, connections, strict=True):
            await self._registry.heartbeat(NodeInfo(node, node, len(conns), "", "ready", ""), LEASE_S)
            await self._registry.claim([Claim(conn, Owner(node, conn)) for conn in conns])
        return {}


async def main() -> None:
    """Serve the benchmark until it hangs up."""
    await control.serve({"open": Commands(*sys.argv[1:]).open})


if __name__ == "__main__":
    uvloop.run(main())
