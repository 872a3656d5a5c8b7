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
from sanic_ws.mailbox.scripts import STORE
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
        parsed = parse_redis_url(url)
        self._servers = connect(parsed)
        # Of several servers others may have stored their part.
        self._is_one = parsed.kind != "cluster"
        self._prefix = prefix
        self._bounds = bounds or Bounds()

    async def store(self, letters: Sequence[Letter]) -> list[Place]:
        """Put letters into their mailboxes, those with an id of the caller's unless they are there."""
        seen = await self._mark([letter for letter in letters if letter.repeatable])
        calls = [
            STORE.call(
                self._key(letter.box),
                letter.id,
                letter.payload,
                letter.only,
                int(letter.ttl_s * 1000),
                self._bounds.letters,
                self._bounds.octets,
                int((letter.box, letter.id) in seen),
            )
            for letter in letters
        ]
        waits: list[Call] = []
        if self._bounds.replicas:
            waits = [(key, ("WAIT", self._bounds.replicas, WAIT_MS)) for key, _ in calls]
        answers = await self._run([*calls, *waits], STORE_TIMEOUT_S, STORE)
        places = [_place(*answer) for answer in answers[: len(calls)]]
        for number, replicas in enumerate(answers[len(calls) :]):
            if replicas < self._bounds.replicas:
                places[number] = replace(places[number], certain=False)
        return places

    async def _mark(self, letters: Sequence[Letter]) -> set[tuple[str, str]]:
        """Note that letters are about to be stored; return those for which that was noted before."""
        calls: list[Call] = []
        for letter in letters:
            key = f"{self._prefix}:mailed:{{{letter.box}}}:{letter.id}"
            calls.append((key, ("SET", key, 1, "NX", "GET", "PX", int(letter.ttl_s * 1000))))
        answers = await self._run(calls, STORE_TIMEOUT_S) if calls else []
        return {
            (letter.box, letter.id) for letter, was in zip(letters, answers, strict=True) if was is not None
        }

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
            away = self._is_one and isinstance(exc, RegistryAway)
            raise (MailboxAway if away else MailboxUnavailable)(str(exc)) from exc


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
