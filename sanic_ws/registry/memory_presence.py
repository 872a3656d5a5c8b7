"""Who has left and may come back, in this process's memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sanic_ws.core.flights import Owner
from sanic_ws.core.identity import User
from sanic_ws.registry.port import ENTRY_S, LINGER_S, Gone, Release

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sanic_ws.registry.memory import MemoryRegistry, Store

GONE = "-"
"""What marks a connection that was called gone."""
GRACE_KNOWN_S = 60.0


class MemoryAbsences:
    """Keep who is absent.

    Args:
        store: what all registries of one URL share.
        registry: one of them.
    """

    def __init__(self, store: Store, registry: MemoryRegistry) -> None:
        self._store = store
        self._registry = registry

    async def watch(self, grace_s: float) -> None:
        """Have connections that others presume gone be absent for that long."""
        self._store.grace = grace_s, time.monotonic() + GRACE_KNOWN_S

    def grace(self) -> float | None:
        """Return for how long such connections are absent; None: nobody wants to know."""
        grace_s, until = self._store.grace or (0.0, 0.0)
        return grace_s if until > time.monotonic() else None

    def expect(self, release: Release, grace_s: float) -> None:
        """Have an absence ended after its grace unless somebody comes back."""
        absent = (release.conn, release.mark, "" if release.user is None else release.user.key)
        self._store.leaving[absent] = time.monotonic() + grace_s

    async def end(self) -> list[Gone]:
        """End absences that have lasted long enough; return whose."""
        now = time.monotonic()
        self._store.offline = {key: until for key, until in self._store.offline.items() if until > now}
        due = [absent for absent, at in self._store.leaving.items() if at <= now]
        gone: list[Gone] = []
        for absent in due:
            del self._store.leaving[absent]
            gone += self._end(*absent, now)
        return gone

    def _end(self, conn: str, mark: str, user_key: str, now: float) -> list[Gone]:
        entry = self._store.conns.get(conn)
        owner = Owner(*mark.removesuffix("?").rsplit("/", 1))
        remembered_s = ENTRY_S if mark.endswith("?") else LINGER_S
        closed = entry is not None and entry.owner is None and entry.mark == mark
        known = entry.user if entry is not None and closed else None
        if entry is not None and closed:
            entry.mark = GONE
            if entry.user is None and not entry.groups_left():
                entry.unbound_at = now + remembered_s
        asked = User.from_token(user_key) if user_key else None
        users: dict[str, User] = {}
        for user in filter(None, (known, asked)):
            users.setdefault(user.key, user)
        ended = [Owner("", mark), owner] if closed else [Owner("", mark)]
        return [
            Gone(
                conn,
                owner,
                user,
                closed=closed and not number,
                offline=self._end_user(conn, user.key, ended, now + remembered_s),
            )
            for number, user in enumerate(users.values())
        ] or [Gone(conn, owner, None, closed, offline=False)]

    def _end_user(self, conn: str, key: str, ended: Sequence[Owner], until: float) -> bool:
        conns = self._store.users.get(key, {})
        if conn not in conns or conns[conn][0] not in ended:
            return False
        del conns[conn]
        if conns:
            return False
        del self._store.users[key]
        self._store.offline[key] = until
        return True

    async def clear(self, node: str) -> AsyncGenerator[int, None]:  # noqa: ARG002 - the port's
        """Release what nodes hold whose leases ran out and that did not leave."""
        lapsed = set((await self._registry.listing()).lapsed)
        releases = [
            Release(conn, entry.owner, entry.user, presumed=True)
            for conn, entry in self._store.conns.items()
            if entry.owner is not None and entry.owner.node in lapsed
        ]
        if releases:
            await self._registry.release(releases)
        yield len(releases)
