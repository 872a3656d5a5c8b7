"""The node: puts hub, registry, broker and dispatcher together."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from sanic_ws.backends import make_broker, make_registry
from sanic_ws.core.ages import Ages
from sanic_ws.core.batch import decode_batch, encode_reply
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import base36
from sanic_ws.core.messages import timestamp
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reception import carry_out, refuse
from sanic_ws.dispatch import Dispatcher
from sanic_ws.errors import MalformedBatch, RegistryUnavailable
from sanic_ws.node.membership import Membership
from sanic_ws.registry import NodeInfo

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from sanic_ws.core.batch import Batch
    from sanic_ws.settings import Settings

CLOSE_TIMEOUT_S = 2.0
VERSION = version("sanic-ws")

log = logging.getLogger("sanic_ws.node")


class Node:
    """Be one node of the cluster; belongs to one event loop.

    Args:
        settings: the operator's.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = f"{settings.node_name}-{secrets.token_hex(4)}"
        self.hub = Hub()
        self.registry = make_registry(settings.redis_url, settings.prefix)
        self.broker = make_broker(settings.amqp_url, settings.prefix)
        self.dispatcher = Dispatcher(self.registry, self.broker, self.id, self.hub)
        self.membership = Membership(self.id, self.hub, self.registry, self.broker)
        self.draining = False
        self.registered = False
        self.started = timestamp()
        self.batches = 0
        self._sessions = 0
        self._ages = Ages()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether registry and queue are up and it does not leave."""
        return self.registered and self.broker.connected and not self.draining

    @property
    def info(self) -> NodeInfo:
        """What this node is and holds."""
        state = "draining" if self.draining else "ready" if self.broker.connected else "deaf"
        name = self.settings.node_name
        return NodeInfo(self.id, name, len(self.hub), self.started, state, VERSION)

    def new_session(self) -> str:
        """Return a session's number, new on this node."""
        self._sessions += 1
        return base36(self._sessions)

    async def start(self) -> None:
        """Open the queue and begin to renew the lease, in the background: no backend needs to be there."""
        await self.broker.open(self.dispatcher.on_reply, self._on_batch, self.id)
        self.spawn(self._keep_lease())

    async def stop(self) -> None:
        """Leave the registry, then close the queue. The connections have left before."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.membership.close()
                await self.registry.withdraw(self.id)
        except (RegistryUnavailable, TimeoutError) as exc:
            log.warning("left without telling the registry: %s", exc)
        await self.dispatcher.close()
        await self.broker.close()
        await self.registry.close()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside, until it ends or the node stops."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The queue

    def _on_batch(self, body: bytes, reply_to: str) -> None:
        """Carry out a batch and answer it; what cannot be read is logged and dropped."""
        try:
            batch = decode_batch(body)
            reply = self._carry_out(batch, reply_to)
        except MalformedBatch as exc:
            log.warning("batch refused: %s", exc)
            return
        if batch.id:
            self.spawn(self.broker.answer(reply_to, encode_reply(reply)))
        if batch.seek:
            self._assert_found(batch, reply.answers)

    def _carry_out(self, batch: Batch, sender: str) -> Any:
        self.batches += 1
        if self._ages.age_s(sender, batch.sent_at, time.time()) * 1000 > batch.ttl_ms:
            return refuse(batch, self.id, Answer.EXPIRED)
        return carry_out(self.hub, batch, self.id)

    def _assert_found(self, batch: Batch, answers: bytes) -> None:
        """Whoever had to be sought is not in the registry as it should be."""
        for target, answer in zip(batch.targets, answers, strict=True):
            socket = self.hub.get(target) if answer == Answer.DELIVERED else None
            if socket is not None:
                self.spawn(self.membership.assert_again(socket))

    # The lease

    async def _keep_lease(self) -> None:
        """Renew the lease thrice in its time; after the registry was emptied, assert everything."""
        interval = self.settings.lease_s / 3
        known = False
        while True:
            try:
                had = await self.registry.heartbeat(self.info, self.settings.lease_s)
                if known and not had:
                    await self.membership.assert_all()
                else:
                    await self.membership.sweep(interval)
                known = self.registered = True
            except RegistryUnavailable as exc:
                self.registered = False
                log.warning("lease not renewed: %s", exc)
            await asyncio.sleep(interval if self.registered else min(interval, 1.0))
