"""The lease: keeps the registry believing in this node, and tells it again what it may have lost."""

from __future__ import annotations

import asyncio
import random
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.errors import BrokerError, RegistryUnavailable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.dispatch import Dispatcher
    from sanic_ws.node.membership import Membership
    from sanic_ws.registry import NodeInfo, Registry

CLOSE_TIMEOUT_S = 2.0
RETRY_S = 1.0
"""How often the lease is tried while the registry is away."""
ROLL_CALL_PAUSE_S = 0.1

log = event_log("sanic_ws.node")


class Lease:
    """Renew a node's lease thrice in its time; assert everything where the registry may have lost some.

    A new node that finds an empty registry asks who is there. Where all who answer are in it the cluster is
    new, and the registry is whole at once. Otherwise it is when all have noticed that it was lost.

    Args:
        registry: where the node is to be known.
        membership: its connections.
        dispatcher: is told which nodes there are.
        info: returns what the node is and holds.
        lease_s: for how long it is believed after each beat.
    """

    def __init__(
        self,
        registry: Registry,
        membership: Membership,
        dispatcher: Dispatcher,
        info: Callable[[], NodeInfo],
        lease_s: float,
    ) -> None:
        self._registry = registry
        self._membership = membership
        self._dispatcher = dispatcher
        self._info = info
        self._lease_s = lease_s
        self._ends = -inf
        self._new = True
        self._owed = False
        self._ended = False
        self._loop: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._rolling: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        """Whether the registry believes in the node, which knows the others. One missed beat is no matter."""
        known = not self._new and (self._rolling is None or self._rolling.done())
        return known and monotonic() < self._ends

    def start(self) -> None:
        """Begin to renew the lease, in the background."""
        self._loop = asyncio.create_task(self._keep(), name="sanic_ws.lease")

    async def stop(self) -> None:
        """Renew it no more."""
        self._ended = True
        tasks = [task for task in (self._loop, self._telling, self._rolling) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            # Bounded, and told by a flag as well: a library may swallow a cancellation.
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)

    async def _keep(self) -> None:
        interval = self._lease_s / 3
        while not self._ended:
            began = monotonic()
            pause = interval
            try:
                await self._beat(interval)
            except RegistryUnavailable as exc:
                log.debug("lease not renewed", reason=str(exc))
                pause = min(interval, RETRY_S)
            except Exception:
                # A node whose lease nobody renews is lost to all others, and does not know it.
                log.exception("lease not renewed")
                pause = min(interval, RETRY_S)
            # Jittered, so that the nodes of a cluster do not assert all at the same moment.
            pause *= random.uniform(0.8, 1.0)  # noqa: S311
            await asyncio.sleep(max(0.0, pause - (monotonic() - began)))

    async def _beat(self, interval: float) -> None:
        if not self._new and monotonic() >= self._ends:
            # Nobody believed in this node, and may have removed what it holds: first that, and then the node.
            self._owed = not await self._membership.assert_all()
        began = monotonic()
        owes = self._owed or self._membership.owes
        told = not owes and (self._telling is None or self._telling.done())
        whole = await self._registry.heartbeat(self._info(), self._lease_s, told=told)
        self._ends = began + self._lease_s
        self._owed = self._owed or not whole
        listing = await self._registry.listing()
        self._dispatcher.learn(listing)
        if self._new:
            self._new = False
            if not listing.whole:
                self._rolling = asyncio.create_task(self._call_roll(), name="sanic_ws.roll_call")
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(interval), name="sanic_ws.asserting")

    async def _tell(self, elapsed_s: float) -> None:
        """Assert what is owed, or else some: beside the beats, as it may take longer than a lease."""
        if not self._owed:
            await self._membership.sweep(elapsed_s)
            return
        self._owed = False
        if not await self._membership.assert_all():
            self._owed = True

    async def _call_roll(self) -> None:
        """Make the registry of a new cluster whole."""
        until = monotonic() + self._lease_s
        while monotonic() < until:
            try:
                there = await self._dispatcher.call_roll()
                if there <= set((await self._registry.listing()).live):
                    await self._registry.vouch()
                    self._dispatcher.learn(await self._registry.listing())
                    return
            except (BrokerError, RegistryUnavailable) as exc:
                log.debug("who else is there is not known yet", reason=str(exc))
            await asyncio.sleep(ROLL_CALL_PAUSE_S)
