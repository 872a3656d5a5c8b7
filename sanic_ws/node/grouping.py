"""Grouping: which groups the registry believes to have members here, and that it is true."""

from __future__ import annotations

import asyncio
from itertools import count, islice
from typing import TYPE_CHECKING

from sanic_ws.dispatch import Rounds
from sanic_ws.errors import RegistryUnavailable
from sanic_ws.logs import event_log
from sanic_ws.registry import Mark
from sanic_ws.registry.port import ENTRY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sanic_ws.core.hub import Hub
    from sanic_ws.registry import Registry

log = event_log("sanic_ws.node")


class Grouping:
    """Tell the registry which groups have members on this node.

    One round at a time says how it is when the round begins, so that the last that is told is true.

    Args:
        node_id: this node.
        hub: its connections.
        registry: where it is told.

    Attributes:
        owed: groups with members here that the registry could not be told of. One that has none any more is
            not owed: what the registry believes too much fades by itself, and costs a message until then.
    """

    def __init__(self, node_id: str, hub: Hub, registry: Registry) -> None:
        self._node_id = node_id
        self._hub = hub
        self._registry = registry
        self._rounds: Rounds[str, bool] = Rounds(self._mark)
        self._turns = count(1)
        self._known: set[str] = set()
        self._next_sweep: list[str] = []
        self.owed: set[str] = set()

    async def tell(self, groups: Iterable[str]) -> bool:
        """Have the registry know of groups that have members here; say whether it does."""
        self.note_left()
        unknown = [group for group in groups if group not in self._known]
        return all(await asyncio.gather(*map(self._rounds.add, unknown)))

    def note_left(self) -> None:
        """Have the registry know, in a moment, of groups whose last members have left."""
        emptied = self._hub.groups.take_emptied()
        self._known -= emptied
        self.owed -= emptied
        for group in emptied:
            self._rounds.add(group)

    async def assert_all(self) -> bool:
        """Tell the registry of every group here, as after it was emptied; say whether it knows all."""
        self._known.clear()
        return await self.tell(self._hub.groups)

    async def sweep(self, elapsed_s: float) -> None:
        """Tell what is owed and the next few: in a third of an entry's life all have had their turn."""
        if not self._next_sweep:
            self._next_sweep = list(self._hub.groups)
        share = int(len(self._hub.groups) * elapsed_s * 3 / ENTRY_S) + 1
        groups = list(islice(self._next_sweep, share))
        del self._next_sweep[:share]
        self._known -= set(groups)
        await self.tell([*groups, *self.owed])

    async def close(self) -> None:
        """Wait until the registry knows who has left."""
        await self._rounds.join()

    async def _mark(self, groups: Sequence[str]) -> list[bool]:
        turn = next(self._turns)
        marks = [Mark(group, self._node_id, turn, group in self._hub.groups) for group in set(groups)]
        try:
            await self._registry.mark(marks)
        except RegistryUnavailable as exc:
            log.debug("groups not told", reason=str(exc))
            self.owed.update(group for group in groups if group in self._hub.groups)
            return [False] * len(groups)
        self.owed.difference_update(groups)
        self._known.update(mark.group for mark in marks if mark.here and mark.group in self._hub.groups)
        return [True] * len(groups)
