"""The node: puts hub, registry, broker and dispatcher together."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING

from sanic_ws.backends import make_broker, make_mailbox, make_registry
from sanic_ws.core.acks import Acks
from sanic_ws.core.ages import Ages
from sanic_ws.core.batch import WATCHERS_TARGET, decode_batch, encode_reply, read_unless_target
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import base36
from sanic_ws.core.messages import timestamp
from sanic_ws.core.orders import bare_target
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reception import carry_out, refuse
from sanic_ws.core.reports import encode_reports
from sanic_ws.dispatch import Dispatcher
from sanic_ws.errors import MalformedBatch, RegistryUnavailable
from sanic_ws.logs import event_log
from sanic_ws.mailbox import Bounds
from sanic_ws.node.calls import Calls
from sanic_ws.node.lease import Lease
from sanic_ws.node.mail import Mail
from sanic_ws.node.membership import Membership
from sanic_ws.node.overdue import Overdue
from sanic_ws.node.presence import Presence
from sanic_ws.node.reporting import Reporting
from sanic_ws.registry import NodeInfo
from sanic_ws.tasks import end, start

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from sanic_ws.broker import Call, Headers
    from sanic_ws.core.batch import Batch, Reply
    from sanic_ws.core.reports import Report
    from sanic_ws.mailbox import Mailbox
    from sanic_ws.settings import Settings
    from sanic_ws.tracing import Tracing

CLOSE_TIMEOUT_S = 2.0
LAST_CALLS_S = 0.5
"""How long a push may take to the queue from reading the registry, or from seeing that the queue is there."""
QUEUE_FIRST_S = 2.0
"""How long a new node stays out of the registry for want of its queue."""
VERSION = version("sanic-ws")

log = event_log("sanic_ws.node")


class Node:
    """Be one node of the cluster; belongs to one event loop.

    Args:
        settings: the operator's.
        leave: has its process leave as on SIGTERM; None: it cannot be told to.

    Attributes:
        batches: how many came over its queue.
        set_aside: how many messages nobody could read.
        handshakes: how many clients were accepted, or refused and why.
        closes: how many connections were closed from here, by code.
        inbound: how many messages of clients back ends took, or why not.
        answers: how many acks and replies clients have sent.
        overdue: looks for letters that nobody brings; to be run beside.
        tracing: makes spans, if that is wanted.
    """

    def __init__(self, settings: Settings, leave: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self.leave = leave
        self.id = f"{settings.node_name}-{secrets.token_hex(4)}"
        self.hub = Hub()
        self.registry = make_registry(settings.redis_url, settings.prefix)
        self.broker = make_broker(settings.amqp_url, settings.prefix)
        self._reporting = Reporting(self._report)
        self.mailbox = self._make_mailbox()
        self.mail = Mail(self.hub, self.mailbox, late_identity=settings.trust_client_identity)
        self.overdue = Overdue(self.hub, self.mail, self.mailbox, lambda: self.broker.openings)
        self.acks = Acks(self.hub, self._reporting.add, post=self.mail.deliver)
        self.tracing = self._make_tracing() if settings.otel else None
        self.dispatcher = Dispatcher(
            self.registry, self.broker, self.id, self.hub, self.acks, self.tracing, self.mailbox
        )
        self.presence = self._make_presence() if settings.events else None
        self.membership = Membership(
            self.id, self.hub, self.registry, self.broker, settings.lease_s, self.presence
        )
        self._calls = Calls(self.dispatcher, settings.max_message_bytes, self.tracing)
        self._lease = Lease(
            self.registry, self.membership, self.dispatcher, lambda: self.info, settings.lease_s
        )
        self.draining = False
        self.started = timestamp()
        self.batches = 0
        self.set_aside = 0
        self.handshakes: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.inbound: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self._last_calls_s = min(LAST_CALLS_S, settings.drain_s)
        self._sessions = 0
        self._ages = Ages()
        self._tasks: set[asyncio.Task[object]] = set()

    def _make_mailbox(self) -> Mailbox:
        settings = self.settings
        bounds = Bounds(settings.mailbox_messages, settings.mailbox_bytes, settings.mailbox_wait_replicas)
        return make_mailbox(settings.redis_url, settings.prefix, bounds)

    def _make_presence(self) -> Presence:
        absences, back_ends = self.registry.absences, self.broker.back_ends
        return Presence(self.id, absences, back_ends, self.settings.presence_grace_s)

    def _make_tracing(self) -> Tracing:
        from sanic_ws.tracing import make_node_tracing  # noqa: PLC0415 - it is an extra

        return make_node_tracing(self.settings.amqp_url, self.settings.prefix, self.id)

    @property
    def calls(self) -> Counter[str]:
        """How many calls of back ends were `answered`, `failed`, or were `set_aside`."""
        return self._calls.outcomes

    @property
    def registered(self) -> bool:
        """Whether the registry believes in this node."""
        return self._lease.runs

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
        """Open the queue and begin to renew the lease, in the background: no backend needs to be there.

        The queue comes first: what is for all is waited for from whoever is in the registry.
        """
        await self.broker.open(self.dispatcher.on_reply, self._on_batch, self.id)
        self.broker.back_ends.serve(self._on_call)
        await self.broker.wait_connected(QUEUE_FIRST_S)
        self._lease.start()
        if self.presence is not None:
            self.presence.start()

    async def drain(self) -> None:
        """Begin to leave: not ready any more, and no more calls from back ends."""
        self.draining = True
        await self.broker.back_ends.leave()

    async def stop(self) -> None:
        """Leave the registry, then the queue, and answer what was in it. The connections have left before."""
        await self._withdraw()
        if self.presence is not None:
            await self.presence.stop()
        await self.broker.leave(self._last_calls_s)
        # Answers go out.
        await end(self._tasks, CLOSE_TIMEOUT_S)
        await self.dispatcher.close()
        await self.mail.close()
        await self.broker.close()
        await self.registry.close()

    async def _withdraw(self) -> None:
        """Take connections and node out of the registry; wait for those who have read it before."""
        await self._lease.stop()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.membership.close()
                await self.registry.withdraw(self.id)
        except (RegistryUnavailable, TimeoutError) as exc:
            log.warning("left without telling the registry", reason=str(exc))
        await asyncio.sleep(self._last_calls_s)

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run something beside, until it ends or the node stops."""
        start(coroutine, self._tasks)

    # The queue

    def _on_batch(self, body: bytes, reply_to: str, headers: Headers | None = None) -> bool:
        """Carry out a batch and answer it; say whether it could be read."""
        began_ns = time.time_ns() if headers else 0
        try:
            batch = decode_batch(body)
            reply = self._carry_out(batch, reply_to)
        except MalformedBatch as exc:
            self.set_aside += 1
            log.warning("batch set aside", reason=str(exc))
            return False
        if headers and self.tracing is not None:
            self.tracing.wrote(headers, began_ns, batch, reply)
        if reply.leaves:
            self.spawn(self._obey(reply, reply_to))
        elif batch.id and reply.changes:
            self.spawn(self._confirm(reply, reply_to))
        elif batch.id:
            self.spawn(self.broker.answer(reply_to, encode_reply(reply)))
        if batch.seek:
            self._assert_found(batch, reply.answers)
        return True

    async def _obey(self, reply: Reply, reply_to: str) -> None:
        """Leave as the node is told to, once who tells it knows that it does."""
        leave = self.leave
        if leave is None:
            reply.answers = bytes([Answer.NOT_MINE]) * len(reply.answers)
        await self.broker.answer(reply_to, encode_reply(reply))
        if leave is not None:
            log.info("told to leave")
            leave()

    async def _on_call(self, call: Call) -> bytes | None:
        """Carry a back end's call out; return its answer, or None: it could not be read."""
        answer = await self._calls.answer(call)
        self.set_aside += answer is None
        return answer

    async def _confirm(self, reply: Reply, reply_to: str) -> None:
        """Answer a batch once the registry knows which groups it has changed."""
        confirmed = await asyncio.gather(*map(self.membership.confirm, reply.changes.values()))
        answers = bytearray(reply.answers)
        for number, answer in zip(reply.changes, confirmed, strict=True):
            answers[number] = answer
        reply.answers = bytes(answers)
        await self.broker.answer(reply_to, encode_reply(reply))

    def _carry_out(self, batch: Batch, sender: str) -> Reply:
        # Those of the console's feed are left out, so that it does not count itself.
        self.batches += batch.targets != [WATCHERS_TARGET]
        age_s = self._ages.age_s(sender, batch.sent_at, time.time())
        if age_s * 1000 > batch.ttl_ms:
            return refuse(batch, self.id, Answer.EXPIRED)
        return carry_out(self.hub, batch, self.id, self.acks, sender, time.monotonic() - age_s)

    def _report(self, address: str | None, reports: list[Report]) -> None:
        """Tell a sender, or this node's own, what clients say."""
        if address is None:
            self.dispatcher.reported(reports)
        else:
            self.spawn(self.broker.answer(address, encode_reports(self.id, reports)))

    def _assert_found(self, batch: Batch, answers: bytes) -> None:
        """Whoever had to be sought is not in the registry as it should be."""
        for target, answer in zip(batch.targets, answers, strict=True):
            if answer not in (Answer.DELIVERED, Answer.WAITING, Answer.LEFT_OUT):
                continue
            target = bare_target(target)  # noqa: PLW2901 - the order before it does not matter here
            socket = self.hub.get(read_unless_target(target)[0] if target[0] == "^" else target)
            if socket is not None:
                self.spawn(self.membership.assert_again(socket))
