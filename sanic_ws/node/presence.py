"""Presence: events of connections and users that come and go, once per change in the cluster.

Who claims a connection that was nowhere says that it was opened; who ends its absence, that it was closed.
Both learn it from the registry, which tells it to one node only.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.errors import RegistryUnavailable
from sanic_ws.logs import event_log
from sanic_ws.node.events import Events
from sanic_ws.tasks import end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.broker import BackEnds
    from sanic_ws.core.identity import User
    from sanic_ws.core.messages import EventType
    from sanic_ws.registry import Absences, Claim, Claimed, Gone

STEP_S = 1.0
"""How often it is looked who is gone."""
CLEAR_EVERY_S = 3.0
"""How often it is looked for dead nodes."""
CLEAR_PAUSE_S = 0.02
"""Between the steps of clearing up what a dead node held."""
CLOSE_TIMEOUT_S = 2.0

log = event_log("sanic_ws.node")


class Presence:
    """Tell back ends who comes and who goes.

    Args:
        node_id: this node.
        absences: of the registry.
        back_ends: who is told.
        grace_s: how long a connection may be away and come back, and nobody is told.
    """

    def __init__(self, node_id: str, absences: Absences, back_ends: BackEnds, grace_s: float) -> None:
        self._node_id = node_id
        self._absences = absences
        self.events = Events(back_ends)
        self.grace_s = grace_s
        self._released = asyncio.Event()
        self._ended = False
        self._loop: asyncio.Task[None] | None = None
        self._clearing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look who is gone, in the background."""
        self._loop = asyncio.create_task(self._run(), name="sanic_ws.presence")

    async def stop(self) -> None:
        """Look no more, and tell what is known; other nodes see to the rest."""
        self._ended = True
        self._released.set()
        if self._clearing is not None:
            self._clearing.cancel()
        # Not cancelled at once: what the registry has just told would be lost.
        await end([task for task in (self._loop, self._clearing) if task is not None], CLOSE_TIMEOUT_S)
        await self._end()
        await self.events.close()

    def claimed(self, claims: Sequence[Claim], answers: Sequence[Claimed]) -> None:
        """Tell of connections that were nowhere before they were claimed here."""
        for claim, answer in zip(claims, answers, strict=True):
            if answer.appeared:
                self._tell_connection("connection_opened", claim.conn, answer.user, self._node_id)
            if answer.first and answer.user is not None:
                self._tell_user("user_online", claim.conn, answer.user, self._node_id)

    def released(self) -> None:
        """Look who is gone at once, where no connection may come back."""
        if not self.grace_s:
            self._released.set()

    def _tell_gone(self, gone: Gone) -> None:
        if gone.closed:
            self._tell_connection("connection_closed", gone.conn, gone.user, gone.owner.node)
        if gone.offline and gone.user is not None:
            self._tell_user("user_offline", gone.conn, gone.user, gone.owner.node)

    def _tell_connection(self, kind: EventType, conn: str, user: User | None, node: str) -> None:
        self.events.add(kind, conn=conn, user=None if user is None else user.to_json(), node=node)

    def _tell_user(self, kind: EventType, conn: str, user: User, node: str) -> None:
        whole = {name: text for name, text in user.to_json().items() if name != "fromType"}
        self.events.add(kind, user=whole, conn=conn, node=node)

    async def _run(self) -> None:
        clear_at = 0.0
        while not self._ended:
            if monotonic() >= clear_at:
                clear_at = monotonic() + CLEAR_EVERY_S * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
                await self._watch()
            await self._end()
            try:
                async with asyncio.timeout(STEP_S * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                    await self._released.wait()
            except TimeoutError:
                continue
            self._released.clear()

    async def _watch(self) -> None:
        try:
            await self._absences.watch(self.grace_s)
        except RegistryUnavailable as exc:
            log.debug("nobody knows that events are wanted", reason=str(exc))
        except Exception:
            log.exception("nobody knows that events are wanted")
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.create_task(self._clear(), name="sanic_ws.clearing")

    async def _end(self) -> None:
        try:
            while gone := await self._absences.end():
                for one in gone:
                    self._tell_gone(one)
                if self._ended:
                    return
        except RegistryUnavailable as exc:
            log.debug("who is gone is not known", reason=str(exc))
        except Exception:
            log.exception("who is gone is not known")

    async def _clear(self) -> None:
        """Release what dead nodes hold, step by step."""
        released = 0
        try:
            async with aclosing(self._absences.clear(self._node_id)) as steps:
                async for number in steps:
                    released += number
                    await asyncio.sleep(CLEAR_PAUSE_S)
        except RegistryUnavailable as exc:
            log.debug("what dead nodes held is not cleared up", reason=str(exc))
        except Exception:
            log.exception("what dead nodes held is not cleared up")
        if released:
            log.info("connections of dead nodes released", connections=released)
