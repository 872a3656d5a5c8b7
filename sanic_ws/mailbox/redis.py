"""Mailboxes in Redis streams: one server, one behind Sentinels, or a Cluster; what they hold is in `scripts`.

A user of Redis needs these besides those of the registry::

    +xadd +xdel +xlen +xrange +xrevrange +xtrim +pttl +pexpire, and +wait where replicas are waited for
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sanic_ws.core.mail import NOWHERE, Contents, Place, Position, Stored
from sanic_ws.core.redis_url import parse_redis_url
from sanic_ws.errors import MailboxAway, MailboxUnavailable, RegistryAway, RegistryUnavailable
from sanic_ws.mailbox.port import Bounds
from sanic_ws.mailbox.scripts import NEWEST, STORE
from sanic_ws.registry.redis_clients import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sanic_ws.core.mail import Letter
    from sanic_ws.registry.redis_cluster import Call
    from sanic_ws.registry.scripts import Script

STORE_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 1.0
WAIT_MS = 500
"""How long replicas are waited for."""
PAGE = 100


class RedisMailbox:
    """Keep mailboxes in Redis, over connections of its own.

    Args:
        url: as the registry's.
        prefix: of every key.
        bounds: of each mailbox.

    Raises:
        InvalidField: the URL is not one; says what is wrong.
    """

    def __init__(self, url: str, prefix: str, bounds: Bounds | None = None) -> None:
        self._servers = connect(parse_redis_url(url))
        self._prefix = prefix
        self._bounds = bounds or Bounds()

    async def store(self, letters: Sequence[Letter]) -> list[Place | MailboxUnavailable]:
        """Put letters into their mailboxes, those with an id of the caller's unless they are there."""
        marks = await self._mark(letters)
        todo = [at for at, mark in enumerate(marks) if not isinstance(mark, RegistryUnavailable)]
        calls = [self._store_call(letters[at], look=marks[at] is not None) for at in todo]
        waits: list[Call] = []
        if self._bounds.replicas:
            waits = [(key, ("WAIT", self._bounds.replicas, WAIT_MS)) for key, _ in calls]
        answers = await self._servers.run_each([*calls, *waits], STORE_TIMEOUT_S, STORE) if calls else []
        stored = dict(zip(todo, answers, strict=False))
        replicas = dict(zip(todo, answers[len(calls) :], strict=False))
        return [
            self._place(stored[at], replicas.get(at, 0)) if at in stored else MailboxAway(str(mark))
            for at, mark in enumerate(marks)
        ]

    async def _mark(self, letters: Sequence[Letter]) -> list[Any]:
        """Note which letters are about to be stored; say of each if that was noted before, or what failed."""
        calls: list[Call] = []
        for letter in letters:
            if letter.repeatable:
                key = f"{self._prefix}:mailed:{{{letter.box}}}:{letter.id}"
                calls.append((key, ("SET", key, 1, "NX", "GET", "PX", int(letter.ttl_s * 1000))))
        answers = iter(await self._servers.run_each(calls, STORE_TIMEOUT_S) if calls else ())
        return [next(answers) if letter.repeatable else None for letter in letters]

    def _store_call(self, letter: Letter, *, look: bool) -> Call:
        return STORE.call(
            self._key(letter.box),
            letter.id,
            letter.payload,
            letter.only,
            int(letter.ttl_s * 1000),
            self._bounds.letters,
            self._bounds.octets,
            int(look),
        )

    def _place(self, stored: Any, replicas: Any) -> Place | MailboxUnavailable:
        if isinstance(stored, RegistryUnavailable):
            return _failure(stored)
        place = _place(*stored)
        certain = isinstance(replicas, int) and replicas >= self._bounds.replicas
        return place if certain else replace(place, certain=False)

    async def find(self, box: str, push_id: str) -> Position | None:
        """Return where a letter is, or the one before that which followed it; the newest are read first."""
        key, end = self._key(box), "+"
        while True:
            call: Call = (key, ("XREVRANGE", key, end, "-", "COUNT", PAGE))
            (entries,) = await self._run([call], READ_TIMEOUT_S)
            for entry_id, fields in entries:
                if fields[1].decode() == push_id:
                    return Position.parse(entry_id.decode())
                if fields[3].decode() == push_id:
                    return Position.parse(fields[5].decode())
            if len(entries) < PAGE:
                return None
            end = f"({entries[-1][0].decode()}"

    async def read(self, box: str, after: Position, most: int) -> list[Stored]:
        """Return the letters after a position, the oldest first."""
        key = self._key(box)
        start = "-" if after == NOWHERE else f"({after}"
        calls: list[Call] = [(key, ("TIME",)), (key, ("XRANGE", key, start, "+", "COUNT", most))]
        (seconds, micros), entries = await self._run(calls, READ_TIMEOUT_S)
        now = int(seconds) * 1000 + int(micros) // 1000
        return [_stored(entry_id, fields, now) for entry_id, fields in entries]

    async def newest(self, boxes: Sequence[str]) -> tuple[Position, list[Position | None]]:
        """Return where a letter would be put now, and of each mailbox where its newest letter is, if any."""
        calls = [NEWEST.call(self._key(box)) for box in boxes]
        clock: Call = (calls[0][0], ("TIME",))
        (seconds, micros), *found = await self._run([clock, *calls], READ_TIMEOUT_S, NEWEST)
        now = Position(int(seconds) * 1000 + int(micros) // 1000)
        return now, [None if at is None else Position.parse(at.decode()) for at in found]

    async def describe(self, box: str) -> Contents:
        """Return what is in a mailbox."""
        key = self._key(box)
        calls: list[Call] = [
            (key, ("XLEN", key)),
            (key, ("XRANGE", key, "-", "+", "COUNT", 1)),
            (key, ("XREVRANGE", key, "+", "-", "COUNT", 1)),
        ]
        size, first, last = await self._run(calls, READ_TIMEOUT_S)
        if not first or not last:
            return Contents(0, 0, None, None)
        (_, oldest), (_, newest) = first[0], last[0]
        octets = int(newest[7]) - int(oldest[7]) + len(oldest[13])
        return Contents(int(size), octets, oldest[1].decode(), newest[1].decode())

    async def clear(self, box: str, up_to: Position | None = None) -> bool:
        """Throw away what is in a mailbox, all or up to a letter; say whether there was anything."""
        key = self._key(box)
        command: tuple[Any, ...] = ("DEL", key)
        if up_to is not None:
            command = ("XTRIM", key, "MINID", str(up_to._replace(number=up_to.number + 1)))
        (gone,) = await self._run([(key, command)], STORE_TIMEOUT_S)
        return bool(gone)

    async def close(self) -> None:
        """Close all connections."""
        await self._servers.close()

    def _key(self, box: str) -> str:
        return f"{self._prefix}:mail:{{{box}}}"

    async def _run(self, calls: Sequence[Call], timeout_s: float, script: Script | None = None) -> list[Any]:
        try:
            return await self._servers.run(calls, timeout_s, script)
        except RegistryUnavailable as exc:
            raise _failure(exc) from exc


def _failure(exc: RegistryUnavailable) -> MailboxUnavailable:
    return (MailboxAway if isinstance(exc, RegistryAway) else MailboxUnavailable)(str(exc))


def _place(at: bytes, after: bytes, after_id: bytes) -> Place:
    return Place(Position.parse(at.decode()), Position.parse(after.decode()), after_id.decode())


def _stored(entry_id: bytes, fields: list[bytes], now: int) -> Stored:
    _, push_id, _, before_id, _, before, _, _, _, expires, _, only, _, payload = fields
    return Stored(
        _place(entry_id, before, before_id),
        push_id.decode(),
        only.decode(),
        None if int(expires) <= now else payload,
        max(0, int(expires) - now) / 1000,
    )
