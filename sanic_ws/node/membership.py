"""Membership: which connections the registry believes to be here, and that it is true."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.flights import Owner
from sanic_ws.core.identity import are_two
from sanic_ws.core.messages import BadMessage, error_frame
from sanic_ws.core.outcomes import Answer
from sanic_ws.dispatch import Rounds
from sanic_ws.errors import IdentityTaken, RegistryUnavailable
from sanic_ws.logs import event_log
from sanic_ws.node.grouping import Grouping
from sanic_ws.node.moves import Moves
from sanic_ws.registry import Claim, Claimed, Release
from sanic_ws.registry.port import ENTRY_S
from sanic_ws.tasks import end, start, take_failure

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from typing import Any

    from sanic_ws.broker import Broker
    from sanic_ws.core.groups import Change
    from sanic_ws.core.hub import Hub, Socket
    from sanic_ws.core.identity import User
    from sanic_ws.node.presence import Presence
    from sanic_ws.registry import Registry

AT_ONCE = 1000
"""Connections asserted together; the rest wait until the registry has taken them."""
CLOSE_TIMEOUT_S = 1.0

log = event_log("sanic_ws.node")


class Membership:
    """Register this node's connections, keep them registered, and take them out again.

    Args:
        node_id: this node.
        hub: its connections; one that joins is in the hub before it is in the registry, so that a push
            that follows the registry never misses it.
        registry: where they are registered.
        broker: tells another node that one of its connections has moved here.
        rejoin_s: for how long a connection's groups are kept after it has left.
        presence: is told who comes and goes, if anybody wants to know.

    Attributes:
        grouping: tells the registry which groups have members here.
        reasserted: how many connections the registry had to be told of again.
    """

    def __init__(
        self,
        node_id: str,
        hub: Hub,
        registry: Registry,
        broker: Broker,
        rejoin_s: float = 0.0,
        presence: Presence | None = None,
    ) -> None:
        self._node_id = node_id
        self._hub = hub
        self._registry = registry
        self._rejoin_s = rejoin_s
        self._presence = presence
        self._grace_s = None if presence is None else presence.grace_s
        self.grouping = Grouping(node_id, hub, registry)
        self._claims: Rounds[Claim, Claimed] = Rounds(self._claim_all)
        self._releases: Rounds[Release, None] = Rounds(self._release)
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_sweep: list[Socket] = []
        self._moves = Moves(broker)
        self.reasserted = 0

    async def join(self, socket: Socket) -> None:
        """Register a new connection as the newest session of its id, and take its binding over.

        With the registry out of reach the connection is taken in all the same, and asserted later.

        Raises:
            IdentityTaken: the id is bound to another user; who has it keeps it.
        """
        here = self._hub.get(socket.conn)
        if here is not None and are_two(socket.user, here.user):
            raise IdentityTaken(_TAKEN)
        replaced = self._hub.add(socket)
        if replaced is not None and replaced.groups.joined:
            self._hub.regroup(socket, socket.groups.join(replaced.groups.joined))
        claim = self._claims.add(self._claim(socket))
        try:
            claimed = await asyncio.shield(claim)
        except RegistryUnavailable as exc:
            log.debug("connection taken in unregistered", reason=str(exc))
        except asyncio.CancelledError:
            self._start(self._undo(socket, replaced, claim))
            raise
        else:
            if claimed.taken:
                await self._step_back(socket, replaced)
                raise IdentityTaken(_TAKEN)
            self._take(socket, claimed)
        if replaced is not None:
            replaced.close(CloseCode.REPLACED)
        if socket.groups.all:
            await self.grouping.tell(socket.groups.all)

    async def _step_back(self, socket: Socket, replaced: Socket | None) -> None:
        """Give an id back to the connection here that had it."""
        if self._hub.remove(socket) and replaced is not None:
            self._hub.add(replaced)
            if replaced.left:
                self.leave(replaced)
            else:
                await self.assert_again(replaced)

    async def _undo(self, socket: Socket, replaced: Socket | None, claim: asyncio.Future[Claimed]) -> None:
        """Give an id back that a client has claimed and not waited for."""
        here = self._hub.remove(socket)
        if here and replaced is not None and not replaced.left:
            self._hub.add(replaced)
        with suppress(RegistryUnavailable):
            await claim
        if replaced is not None and self._hub.get(socket.conn) is replaced:
            await self._reclaim(replaced, self._owner(socket))
        else:
            self._let_go(self._release_of(socket, socket.user))

    async def _reclaim(self, socket: Socket, gone: Owner) -> None:
        """Take an id back from a session of this node that is not here any more."""
        try:
            await self._releases.add(Release(socket.conn, gone, socket.user, grace_s=self._grace_s))
        except RegistryUnavailable as exc:
            log.debug("stale session stays", reason=str(exc))
        socket.generation = 0
        await self.assert_again(socket)

    async def bind(self, socket: Socket, user: User) -> None:
        """Bind a connection to a user, in the hub at once and in the registry before this returns."""
        before = socket.user
        self._hub.bind(socket, user)
        if before is not None and before.key != user.key:
            self._let_go(
                Release(socket.conn, self._owner(socket), before, conn_too=False, grace_s=self._grace_s)
            )
        await self.assert_again(socket)

    async def change_group(self, change: Change) -> Answer:
        """Have a connection join or leave a group, in hub and registry before this returns.

        Where the registry cannot be told it has not joined, and that is `Answer.NOT_YET`.
        """
        answer = self._hub.change(change)
        return await self.confirm(change) if answer is Answer.DELIVERED else answer

    async def confirm(self, change: Change) -> Answer:
        """Tell the registry of a change in the hub, or take it back."""
        socket = self._hub.get(change.conn)
        if socket is None:
            return Answer.NOT_MINE
        told, _ = await asyncio.gather(self.grouping.tell([change.group]), self.assert_again(socket))
        if told or not change.joins:
            return Answer.DELIVERED
        groups = socket.groups
        self._hub.regroup(socket, groups._replace(joined=groups.joined - {change.group}))
        self.grouping.note_left()
        return Answer.NOT_YET

    async def grant(self, socket: Socket, groups: frozenset[str]) -> None:
        """Have a connection be in the groups of its proof of identity, and not in those of the last one."""
        before = socket.groups
        self._hub.regroup(socket, before._replace(granted=groups))
        await self.grouping.tell(before.all ^ socket.groups.all)

    async def assert_again(self, socket: Socket) -> bool:
        """Tell the registry once more that a connection is here; say whether it could be told."""
        try:
            claimed = await self._claims.add(self._claim(socket))
        except RegistryUnavailable as exc:
            log.debug("connection not asserted", reason=str(exc))
            return False
        self._take(socket, claimed)
        return True

    def leave(self, socket: Socket) -> None:
        """Take a connection out; nothing happens to an id that a newer session has."""
        if self._hub.remove(socket):
            self._let_go(self._release_of(socket, socket.user))
            self.grouping.note_left()

    @property
    def owes(self) -> bool:
        """Whether there are members of groups here that the registry could not be told of."""
        return bool(self.grouping.owed)

    async def assert_all(self) -> bool:
        """Tell the registry of every connection here, as after it was emptied; say whether it knows all."""
        sockets, told = list(self._hub), 0
        for first in range(0, len(sockets), AT_ONCE):
            part = sockets[first : first + AT_ONCE]
            told += sum(await asyncio.gather(*(self.assert_again(socket) for socket in part)))
            if told < first + len(part):
                break
        if sockets:
            log.info("connections asserted", asserted=told, connections=len(sockets))
        return await self.grouping.assert_all() and told == len(sockets)

    async def sweep(self, elapsed_s: float) -> None:
        """Assert the next few connections, so that in a third of an entry's life all have had their turn."""
        if not self._next_sweep:
            self._next_sweep = list(self._hub)
        share = max(1, int(len(self._hub) * elapsed_s * 3 / ENTRY_S) + 1)
        sockets = list(islice(self._next_sweep, share))
        del self._next_sweep[:share]
        unclaimed = [socket for socket in self._hub if not socket.generation]
        here = [socket for socket in sockets if self._hub.get(socket.conn) is socket]
        await asyncio.gather(*(self.assert_again(socket) for socket in (*unclaimed, *here)))
        await self.grouping.sweep(elapsed_s)

    async def close(self) -> None:
        """Wait until what has left is out of the registry."""
        await self._claims.join()
        await self._releases.join()
        await self.grouping.close()
        await end([*self._tasks, *self._moves.tasks], CLOSE_TIMEOUT_S)

    def _claim(self, socket: Socket) -> Claim:
        joined = socket.groups.joined
        return Claim(socket.conn, self._owner(socket), socket.generation, socket.user, socket.began, joined)

    def _release_of(self, socket: Socket, user: User | None) -> Release:
        return Release(socket.conn, self._owner(socket), user, rejoin_s=self._rejoin_s, grace_s=self._grace_s)

    def _owner(self, socket: Socket) -> Owner:
        return Owner(self._node_id, socket.session)

    def _take(self, socket: Socket, claimed: Claimed) -> None:
        """Take in what the registry says of a connection here."""
        if claimed.taken:
            # It was let in while the registry was away.
            self._hub.remove(socket)
            socket.write(error_frame(BadMessage("identity_taken", _TAKEN)))
            socket.close(CloseCode.POLICY, _TAKEN)
            return
        if not claimed.accepted:
            before = claimed.before
            if before is not None and before.node == self._node_id and self._hub.get(socket.conn) is socket:
                self._start(self._reclaim(socket, before))
            else:
                socket.close(CloseCode.REPLACED)
            return
        self.reasserted += claimed.missing
        is_new = not socket.generation
        socket.generation = claimed.generation
        if self._hub.get(socket.conn) is not socket:
            # It left while the claim was under way: the release was too early to find it.
            self._let_go(self._release_of(socket, socket.user or claimed.user))
            return
        if socket.user is None and claimed.user is not None:
            self._hub.bind(socket, claimed.user)
        if is_new and not claimed.groups <= socket.groups.joined:
            self._hub.regroup(socket, socket.groups.join(claimed.groups))
            self._start(self._tell_groups(socket.groups.all))
        if claimed.before is not None and claimed.before.node != self._node_id:
            self._moves.add(socket.conn, claimed.before)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        start(coroutine, self._tasks)

    async def _tell_groups(self, groups: Iterable[str]) -> None:
        await self.grouping.tell(groups)

    async def _claim_all(self, claims: Sequence[Claim]) -> list[Claimed]:
        claimed = await self._registry.claim(claims)
        if self._presence is not None:
            self._presence.claimed(claims, claimed)
        return claimed

    def _let_go(self, release: Release) -> None:
        self._releases.add(release).add_done_callback(take_failure)

    async def _release(self, releases: Sequence[Release]) -> list[None]:
        try:
            await self._registry.release(releases)
        except RegistryUnavailable as exc:
            # Harmless: a push that meets a stale entry finds out, and removes it.
            log.warning("connections not released", connections=len(releases), reason=str(exc))
            raise
        if self._presence is not None:
            self._presence.released()
        return [None] * len(releases)


_TAKEN = "this id is bound to another user"
