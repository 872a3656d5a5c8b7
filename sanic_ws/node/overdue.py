"""Overdue: letters that a session should have had, and that nobody could bring to it live.

A push that is stored may never come live: its publisher was killed, or the node's queue was full, or RabbitMQ
was away. While nothing else comes no gap shows either. So a node that hears again looks into the mailboxes of
all its sessions, and every now and then into those that are being read.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.errors import MailboxUnavailable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sanic_ws.core.hub import Hub, Socket
    from sanic_ws.core.mail import Position
    from sanic_ws.mailbox import Mailbox
    from sanic_ws.node.mail import Mail

EVERY_S = 30.0
"""How often mailboxes that are being read are looked into."""
TICK_S = 1.0
STEP, STEP_S = 500, 0.2
"""Sessions that are looked after together, and the pause between these."""

log = event_log("sanic_ws.node")


class Overdue:
    """Look for letters that are overdue.

    Args:
        hub: the connections.
        mail: brings letters to them.
        mailbox: all mailboxes.
        openings: says how many times the node began to hear.
    """

    def __init__(self, hub: Hub, mail: Mail, mailbox: Mailbox, openings: Callable[[], int]) -> None:
        self._hub = hub
        self._mail = mail
        self._mailbox = mailbox
        self._openings = openings
        self._opened = 0
        self._due_at = -inf
        self._todo: list[Socket] = []

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(STEP_S if self._todo else TICK_S)
            try:
                await self.step()
            except MailboxUnavailable as exc:
                log.debug("mailboxes not looked into", reason=str(exc))
                await asyncio.sleep(TICK_S)
            except Exception as exc:  # noqa: BLE001 - a fault of ours must not end it
                log.fault("mailboxes not looked into", exc)

    async def step(self) -> None:
        """Look after the next few sessions.

        Raises:
            MailboxUnavailable: their turn is the next one again.
        """
        self._plan()
        sockets = [socket for socket in self._todo[:STEP] if not socket.left]
        if sockets:
            await self._look(sockets)
        del self._todo[:STEP]

    def _plan(self) -> None:
        opened, now = self._openings(), monotonic()
        if opened != self._opened:
            self._todo = list(self._hub)
            self._opened = opened
        elif not self._todo and now >= self._due_at:
            self._todo = self._mail.readers
        else:
            return
        self._due_at = now + EVERY_S

    async def _look(self, sockets: Sequence[Socket]) -> None:
        boxes = list(dict.fromkeys(box for socket in sockets for box in self._mail.boxes_of(socket)))
        now, found = await self._mailbox.newest(boxes)
        newest: dict[str, Position | None] = dict(zip(boxes, found, strict=True))
        for socket in sockets:
            self._mail.catch_up(socket, newest, now)
