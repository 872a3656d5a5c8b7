"""The dispatcher: an asyncio shell around the router.

It looks owners up, hands batches to the broker, feeds the answers back and ends what is past its
deadline. One look-up is under way at a time; what comes meanwhile goes into the next.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import nullcontext
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.batch import LEAVE_TARGET, Batch, count_target, decode_reply, encode_batch, read_count
from sanic_ws.core.calls import Cancel
from sanic_ws.core.copies import Remember
from sanic_ws.core.flights import Flight, Forget
from sanic_ws.core.histograms import SECONDS, SIZES, Histogram
from sanic_ws.core.outcomes import Answer, Outcome
from sanic_ws.core.reports import MAGIC, decode_reports
from sanic_ws.core.routing import Router
from sanic_ws.core.seeking import Probe, Seek
from sanic_ws.dispatch.asking import FIRST, Questions
from sanic_ws.dispatch.following import Followed
from sanic_ws.dispatch.rounds import Rounds
from sanic_ws.dispatch.storing import Storing
from sanic_ws.errors import (
    BrokerError,
    BrokerLost,
    BrokerUnavailable,
    MalformedBatch,
    QueueFull,
    RegistryUnavailable,
    Unroutable,
)
from sanic_ws.logs import event_log
from sanic_ws.registry import Kept, Release
from sanic_ws.tasks import hold, start

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from sanic_ws.broker import Broker
    from sanic_ws.core.acks import Acks
    from sanic_ws.core.flights import Listing, LookUp
    from sanic_ws.core.hub import Hub
    from sanic_ws.core.push import Push
    from sanic_ws.core.reports import Report
    from sanic_ws.core.routing import Action
    from sanic_ws.mailbox import Mailbox
    from sanic_ws.registry import Directory
    from sanic_ws.tracing import Tracing

TICK_S = 0.05
LISTING_S = 5.0
"""How old the list of nodes may be while pushes are under way."""
ROLL_CALL, ROLL_CALL_S = (1 << 32) - 1, 0.3
"""The number of a batch that only asks who is there, and how long answers are waited for."""
CLOSE_TIMEOUT_S = 1.0
CANCEL_TTL_MS = 5000

log = event_log("sanic_ws.dispatch")


class Dispatcher:
    """Send pushes on their way.

    Args:
        directory: who owns what.
        broker: opened by the owner of this dispatcher, with `on_reply`.
        node_id: the node that this dispatcher is part of, if any.
        hub: that node's connections.
        acks: carries out what is ordered beside of that node.
        tracing: makes spans of what is sent, if anything does.
        mailbox: where pushes are stored that are to be; without it none are.

    Attributes:
        look_up_s: how long the registry took for a round, seconds.
        send_s: how long the broker took for a batch.
        batch_sizes: how many deliveries there were in a batch.
        receipt_s: how long receipts took.
        followed: the pushes that are followed on their way.
    """

    def __init__(
        self,
        directory: Directory,
        broker: Broker,
        node_id: str | None = None,
        hub: Hub | None = None,
        acks: Acks | None = None,
        tracing: Tracing | None = None,
        mailbox: Mailbox | None = None,
    ) -> None:
        self._directory = directory
        self._broker = broker
        self._router = Router(node_id, hub, acks=acks)
        self._questions = Questions(broker)
        self._storing = None if mailbox is None else Storing(mailbox, self._send)
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancels: set[asyncio.Task[None]] = set()
        self._kept: Rounds[Kept, bytes | None] = Rounds(directory.keep)
        self._under_way: LookUp | None = None
        self._scheduled = False
        self._ticking = False
        self._listing = False
        self._listed_at = -inf
        self.closed = False
        self.followed = Followed()
        self.look_up_s, self.send_s = Histogram(SECONDS), Histogram(SECONDS)
        self.batch_sizes, self.receipt_s = Histogram(SIZES), Histogram(SECONDS)

    @property
    def open_items(self) -> int:
        """How many deliveries are under way."""
        return self._router.open_items

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many deliveries took which route and had which outcome, since the start."""
        routes: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        for (route, outcome), number in self._router.deliveries.items():
            outcomes[str(outcome)] += number
            if route is not None:
                routes[str(route)] += number
        return {"routes": routes, "outcomes": outcomes}

    @property
    def router(self) -> Router:
        """What decides, and counts."""
        return self._router

    @property
    def stored(self) -> int:
        """How many messages were stored, since the start."""
        return 0 if self._storing is None else self._storing.stored

    def submit(self, pushes: Sequence[Push], *, stored: bool = False) -> None:
        """Send pushes on their way; the ``done`` of each is called when it has its receipt.

        Args:
            pushes: they keep their order.
            stored: whether any of them is to be stored first.
        """
        if self._storing is not None and (stored or self._storing.busy):
            self._storing.submit(pushes)
        else:
            self._send(pushes)

    def _send(self, pushes: Sequence[Push]) -> None:
        if self.followed:
            self.followed.stored(pushes)
        self._router.submit_all(pushes, monotonic())
        if self.closed:
            self._router.close(None, monotonic())
        self._schedule()

    def on_reply(self, body: bytes) -> bool:
        """Take in a reply from the broker; say whether it could be read."""
        try:
            if body.startswith(MAGIC):
                self.reported(decode_reports(body)[1])
                return True
            reply = decode_reply(body)
        except MalformedBatch as exc:
            log.warning("reply set aside", reason=str(exc))
            return False
        if reply.id >= FIRST:
            self._questions.replied(reply)
            return True
        if self.followed:
            self.followed.answered(reply)
        self._router.replied(reply, monotonic())
        self._advance()
        return True

    def reported(self, reports: Sequence[Report]) -> None:
        """Take in what clients say of pushes that they were asked about."""
        self._router.reported(reports, monotonic())
        self._advance()

    async def close(self) -> None:
        """Stop; what is open ends as `unknown`, or as `unavailable` if it was certainly not sent."""
        if self._storing is not None:
            await self._storing.close()
        try:
            if self._cancels:
                await asyncio.wait(self._cancels, timeout=CLOSE_TIMEOUT_S)
        finally:
            self.closed = True
            for task in list(self._tasks):
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        await self._kept.join()
        self._router.close(self._under_way, monotonic())

    # What is to be done next

    def _schedule(self) -> None:
        """Advance once all that happens in this turn of the event loop has been submitted."""
        if not self._scheduled and self._router.open_items:
            self._scheduled = True
            self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        self._scheduled = False
        if self.closed:
            return
        if self._under_way is None:
            self._under_way = self._router.take_look_up()
            if self._under_way is not None:
                self._start(self._look_up(self._under_way))
        for action in self._router.take_actions():
            task = self._start(self._carry_out(action))
            if isinstance(action, Cancel):
                # Clients are told even if whoever pushed has the receipt and leaves at once.
                hold(task, self._cancels)
        if not self._ticking and self._router.open_items:
            self._ticking = True
            self._loop.call_later(TICK_S, self._tick)
            self._keep_list_fresh()

    def _keep_list_fresh(self) -> None:
        """Read which nodes there are before it is needed: when it is, the registry may be away."""
        if not self._listing and monotonic() - self._listed_at > LISTING_S:
            self._listing = True
            self._start(self._list_nodes())

    def _tick(self) -> None:
        self._ticking = False
        self._router.expire(monotonic())
        self._advance()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return start(coroutine, self._tasks)

    # Doing it

    async def _look_up(self, look_up: LookUp) -> None:
        found = listing = None
        groups: Sequence[Collection[str]] = ()
        began = monotonic()
        try:
            found = await self._directory.look_up(
                look_up.conns, look_up.users, [copy.key for copy in look_up.copies]
            )
            self.look_up_s.observe(monotonic() - began)
            if look_up.groups:
                listing, groups = await self._directory.look_up_groups(look_up.groups)
            elif look_up.nodes:
                listing = await self._directory.listing()
        except RegistryUnavailable as exc:
            log.debug("look-up failed", reason=str(exc))
        self._under_way = None
        now = monotonic()
        items = self.followed.among(look_up) if self.followed else None
        self._router.looked_up(look_up, found, listing, now, groups)
        if items:
            self.followed.looked_up(items, now, found=found is not None)
        self._advance()

    async def _list_nodes(self) -> None:
        try:
            self.learn(await self._directory.listing())
        except RegistryUnavailable as exc:
            log.debug("nodes not known", reason=str(exc))
        self._listing = False
        self._listed_at = monotonic()

    async def count(self, group: str, nodes: Iterable[str], timeout_s: float) -> dict[str, int | None]:
        """Ask nodes how many connections of a group they have; None: no answer in time."""
        replies = await self._questions.ask(nodes, count_target(group), timeout_s)
        return {node: None if reply is None else read_count(reply) for node, reply in replies.items()}

    async def order_to_leave(self, node: str, timeout_s: float) -> bool:
        """Have a node leave, as on SIGTERM; say `False` if it cannot be told to.

        Raises:
            BrokerUnavailable, Unroutable, QueueFull: certainly not told.
            BrokerLost, TimeoutError: no answer in time; it may have been told.
        """
        reply = await self._questions.ask_one(node, LEAVE_TARGET, timeout_s)
        return reply.answers == bytes([Answer.DELIVERED])

    def learn(self, listing: Listing) -> None:
        """Take in which nodes there are."""
        self._router.learn(listing, monotonic())

    async def call_roll(self) -> set[str]:
        """Return the nodes that are there: those that answer, and those that are listed.

        Raises:
            BrokerError: they cannot be asked.
        """
        ttl_ms = int(ROLL_CALL_S * 1000)
        await self._broker.broadcast(
            encode_batch(Batch(ROLL_CALL, time.time(), ttl_ms, [], [], seek=True)), ttl_ms
        )
        await asyncio.sleep(ROLL_CALL_S)
        return self._router.known_nodes

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Seek():
                await self._seek(action)
            case Flight():
                await self._fly(action)
            case Probe():
                await self._probe(action)
            case Forget():
                await self._forget(action)
            case Cancel():
                await self._tell_cancelled(action)
            case Remember():
                await self._remember(action)
        self._advance()

    async def _fly(self, flight: Flight) -> None:
        if self._is_over(flight):
            return
        body, ttl_ms = self._encode(flight)
        self.batch_sizes.observe(len(flight.items))
        began = monotonic()
        try:
            with self._traced(flight, "direct") as headers:
                await self._broker.send(flight.node, body, ttl_ms, headers)
            self.send_s.observe(monotonic() - began)
        except Unroutable:
            self._router.returned(flight, monotonic())
        except QueueFull:
            self._router.failed(flight, Outcome.OVERLOADED, monotonic())
        except BrokerUnavailable:
            self._router.failed(flight, Outcome.UNAVAILABLE, monotonic())
        except BrokerLost as exc:
            log.debug("batch lost", reason=str(exc))
            self._router.failed(flight, Outcome.UNKNOWN, monotonic())

    async def _seek(self, flight: Seek) -> None:
        listing: Listing | None = None
        try:
            listing = await self._directory.listing()
            doubted = self._router.doubt(listing, monotonic())
            await asyncio.gather(*(self._probe(Probe(node, flight)) for node in doubted))
        except RegistryUnavailable as exc:
            log.debug("nodes not known", reason=str(exc))
        self._router.expire_unsent(flight, monotonic())
        if self._is_over(flight):
            return
        self._router.expect(flight, listing)
        body, ttl_ms = self._encode(flight)
        try:
            with self._traced(flight, "fanout") as headers:
                await self._broker.broadcast(body, ttl_ms, headers)
            self._router.broadcast(flight, monotonic())
        except Unroutable:
            self._router.nobody_heard(flight, monotonic())
        except QueueFull:
            log.warning("fallback refused by a full queue")
        except BrokerUnavailable:
            self._router.failed(flight, Outcome.UNAVAILABLE, monotonic())
        except BrokerLost as exc:
            log.debug("fallback lost", reason=str(exc))
            self._router.failed(flight, Outcome.UNKNOWN, monotonic())

    def _is_over(self, flight: Flight) -> bool:
        """Say whether all that a batch was for has ended before it was sent, and end it."""
        if flight.trim():
            return False
        self._router.failed(flight, Outcome.UNAVAILABLE, monotonic())
        return True

    def _traced(self, flight: Flight, exchange: str) -> AbstractContextManager[dict[str, str] | None]:
        tracing = self._tracing
        spans = nullcontext() if tracing is None else tracing.send(flight.items, exchange, flight.node)
        return self.followed.send(flight, spans) if self.followed else spans

    def _encode(self, flight: Flight) -> tuple[bytes, int]:
        now = monotonic()
        last = max(item.push.expires for item in flight.items)
        ttl_ms = max(1, int((last - now) * 1000))
        frames = [item.push.frame for item in flight.items]
        seek = isinstance(flight, Seek)
        flight.sent = True
        return encode_batch(Batch(flight.id, time.time(), ttl_ms, flight.targets(now), frames, seek)), ttl_ms

    async def _probe(self, probe: Probe) -> None:
        body = encode_batch(Batch(0, time.time(), 1000, [], []))
        try:
            await self._broker.send(probe.node, body, 1000)
            self._router.probe_arrived(probe)
        except Unroutable:
            self._router.probe_returned(probe, monotonic())
        except (QueueFull, BrokerUnavailable, BrokerLost):
            log.debug("node could not be probed", node=probe.node)

    async def _forget(self, forget: Forget) -> None:
        try:
            # A connection that was reached through a user may be here all the same, for somebody else.
            conn_too = forget.user is None
            await self._directory.release(
                [Release(forget.conn, forget.owner, forget.user, conn_too, presumed=True)]
            )
        except RegistryUnavailable:
            log.debug("stale entry stays", node=forget.owner.node)

    async def _remember(self, remember: Remember) -> None:
        copy, record = remember
        earlier = None
        try:
            earlier = await self._kept.add(Kept(copy.key, record, replaces=copy.known))
        except RegistryUnavailable:
            log.debug("receipt not kept: for copies its owner's memory has to do")
        self._router.remembered(copy, earlier)

    async def _tell_cancelled(self, cancel: Cancel) -> None:
        """Tell clients that another one was quicker; once, as a time-out ends the question anyway."""
        frames = [cancel.frame] * len(cancel.targets)
        batch = Batch(0, time.time(), CANCEL_TTL_MS, cancel.targets, frames)
        try:
            await self._broker.send(cancel.node, encode_batch(batch), CANCEL_TTL_MS)
        except BrokerError as exc:
            log.debug(
                "clients not told that another was quicker", node=cancel.node, reason=type(exc).__name__
            )
