"""A client's life: it connects, says who it is, and comes back until it is told not to."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING

from sanic_ws.client.conversation import Conversation
from sanic_ws.client.events import State, StateChanged
from sanic_ws.client.link import NORMAL, LinkRefused, open_link
from sanic_ws.client.outbox import Outbox
from sanic_ws.core import json
from sanic_ws.core.closing import describe_close
from sanic_ws.core.comeback import Comeback
from sanic_ws.errors import ClientAway, ClientClosed, ClientError, ClientRefused
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.client.address import Address
    from sanic_ws.client.link import Link
    from sanic_ws.client.messages import Sender
    from sanic_ws.client.options import Options

_LATER = frozenset({"unavailable", "internal_error", "busy", "rate_limited"})
"""Errors that another attempt may not meet."""

log = event_log("sanic_ws.client")


class Lifecycle:
    """Keep a client connected.

    Args:
        sender: what messages are answered with.
        addresses: the gateway's; they are taken in turn.
        options: the client's.

    Attributes:
        state: what the client does.
        conversation: what is said on its connections.
        groups: those that it joins on each connection.
        outbox: what waits to be sent.
        error: why there is no connection any more, once that is so.
        settled: set once the first connection is open, or there will be none.
    """

    def __init__(self, sender: Sender, addresses: Sequence[Address], options: Options) -> None:
        self._addresses = cycle(addresses)
        self._options = options
        self._comeback = Comeback(renews=options.renews)
        self._link: Link | None = None
        self._give_up_at: float | None = asyncio.get_running_loop().time() + options.open_timeout_s
        self.state = State.CLOSED
        self.conversation = Conversation(sender, options, self._pause)
        self.groups = dict.fromkeys(options.groups)
        self.outbox = Outbox(options.queue_size)
        self.error: ClientError | None = None
        self.settled = asyncio.Event()

    @property
    def link(self) -> Link | None:
        """The connection, while it is open."""
        link = self._link
        return link if link is not None and self.state is State.OPEN and link.is_up else None

    async def run(self) -> None:
        """Connect, again and again, until nothing more can come of it, or this is cancelled."""
        error: ClientError | None = None
        try:
            while (wait_s := await self._live_once()) is not None:
                await asyncio.sleep(wait_s)
                await self.conversation.inbox.has_room()
            error = self.error
        except asyncio.CancelledError:
            self.error = ClientClosed(NORMAL, "this client was closed")
            raise
        except Exception as exc:  # noqa: BLE001 - a fault of ours: whoever waits is told
            log.fault("client failed", exc)
            error = self.error = ClientError(f"the client failed: {type(exc).__name__}")
        finally:
            self._end(error)

    async def _live_once(self) -> float | None:
        """Have one connection; return after how many seconds to have another, or None: there is none."""
        self._become(State.CONNECTING)
        try:
            link = await self._connect()
        except LinkRefused as exc:
            wait_s = self._comeback.after_refusal(exc.status, exc.retry_after)
            return self._next(wait_s, ClientClosed(exc.status, str(exc)))
        except ClientAway as exc:
            return self._next(self._comeback.after_failure(), exc)
        try:
            return await self._live(link)
        finally:
            self._link = None
            await link.close()

    async def _live(self, link: Link) -> float | None:
        """Use a connection until it ends."""
        loop = asyncio.get_running_loop()
        link.ended.add_done_callback(lambda _: self.conversation.ended("the connection has ended"))
        self._link = link
        open_s = 0.0
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                await self._enter(link)
            began = loop.time()
            self._open(link)
            await asyncio.wait([link.ended])
            open_s = loop.time() - began
        except ClientRefused as exc:
            return self._next(self._comeback.after_failure() if exc.code in _LATER else None, exc)
        except (ClientAway, TimeoutError):
            link.abort("the node does not say that this client is connected")
        code, reason = await link.ended
        wait_s = self._comeback.after_close(code, reason, open_s, self.conversation.after_ms)
        return self._next(wait_s, ClientClosed(code, describe_close(code, reason)))

    async def _connect(self) -> Link:
        address, timeout_s = next(self._addresses), self._options.connect_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                token = await self._options.read_token()
                self.conversation.begin()
                return await open_link(
                    address.query(self._options.sign, self.conversation.follower.since),
                    {} if token is None else {"Authorization": f"Bearer {token}"},
                    self.conversation.heard,
                    tls=self._options.tls,
                    max_message_bytes=self._options.max_message_bytes,
                    timeout_s=timeout_s,
                )
        except TimeoutError:
            raise ClientAway(f"{address} does not answer: nothing within {timeout_s:g} s") from None

    async def _enter(self, link: Link) -> None:
        """Wait until the node says that this is connected, then say whose it is."""
        conversation, user = self.conversation, self._options.user
        await conversation.connected
        if conversation.heartbeat_s > 0:
            link.watch(conversation.heartbeat_s)
        if user is not None and conversation.user != user:
            await conversation.ask(link, "user_info", user.to_json(), self._options.connect_timeout_s)

    def _open(self, link: Link) -> None:
        """Take in that it is open: be in its groups again, and send what has waited."""
        self._give_up_at = None
        self._become(State.OPEN)
        self.settled.set()
        for group in self.groups:
            link.write(json.dumps({"type": "join", "data": {"group": group}}))
        self.outbox.flush(link)
        if self.conversation.inbox.full:
            link.pause(True)

    def _next(self, wait_s: float | None, error: ClientError) -> float | None:
        """Say what happens next; an error is final if that is nothing."""
        if wait_s is None or not self._tries_again(wait_s):
            self.error = error
            return None
        self._become(State.WAITING, str(error), wait_s)
        return wait_s

    def _tries_again(self, wait_s: float) -> bool:
        if self._give_up_at is None:
            return self._options.reconnect
        return asyncio.get_running_loop().time() + wait_s < self._give_up_at

    def _pause(self, paused: bool) -> None:
        # Before it is open its answers have to be read.
        if self.link is not None:
            self.link.pause(paused)

    def _become(self, state: State, reason: str = "", wait_s: float = 0.0) -> None:
        self.state = state
        log.debug("client", state=state.value)
        self.conversation.tell(StateChanged(state, reason, wait_s))

    def _end(self, error: ClientError | None) -> None:
        assert self.error is not None
        self._become(State.CLOSED, str(self.error))
        self.conversation.ended(str(self.error))
        self.outbox.end(self.error)
        self.conversation.inbox.end(error)
        self.settled.set()
