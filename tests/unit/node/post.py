"""A post office in memory for the tests of mail: mailboxes, nodes and clients, moved step by step.

Nothing happens by itself, and time stands still unless it is moved. Calls to mailboxes are answered one by
one, live letters arrive in any order or never, and what clients get is checked against all that was stored.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from sanic_ws.core.frames import payload_start, text_frame
from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.mail import Letter, Place, Position, Posted
from sanic_ws.core.outcomes import Answer
from sanic_ws.errors import MailboxUnavailable
from sanic_ws.mailbox import Bounds
from sanic_ws.mailbox.memory import MemoryMailbox
from sanic_ws.node.mail import Mail

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = User(7)
BOX = "@7"
KINDS: dict[str, str | None] = {"c0": "web", "c1": "app", "c2": None}
"""Connections: two devices of one user, and one of nobody's."""
NODES = 2
MOST = 12
TTL_S = 30.0
_names = count()


@dataclass(eq=False)
class Record:
    """A letter, as the model knows it.

    `number` says when it was stored; it is `lost` with a server, or `gone` from its mailbox otherwise.
    """

    id: str
    box: str
    only: str
    number: int
    place: Place
    lost: bool = False

    def is_for(self, socket: Client) -> bool:
        return self.box == socket.box and (not self.only or self.only in (socket.conn, f"@{socket.kind}"))


class Client:
    """A session, and what its client got."""

    def __init__(
        self, office: Office, conn: str, session: int, node: int, since: str | None, user: User | None
    ):
        self.office = office
        self.conn, self.session, self.node, self.since, self.user = conn, str(session), node, since, user
        self.kind = None if user is None else user.from_type
        self.groups, self.opened, self.generation = NO_GROUPS, True, 1
        self.began = office.now
        self.began_number = office.number
        self.left = self.full = False
        self.got: dict[str, Record] = {}
        self.last: Record | None = None
        self.resumed: list[dict[str, Any]] = []

    @property
    def box(self) -> str:
        return self.conn if self.user is None else f"@{self.user.key}"

    @property
    def writable(self) -> bool:
        return not (self.full or self.left)

    def write(self, frame: bytes) -> bool:
        if self.left or self.full:
            return False
        message = json.loads(frame[payload_start(frame) :])
        if message["type"] == "resumed":
            self._recovered(message["data"])
        elif message["type"] == "note":
            self._received(message["id"], message.get("prev"))
        return True

    def _received(self, push_id: str, prev: str | None) -> None:
        record = self.office.record(push_id, self.box)
        assert push_id not in self.got, f"{push_id} came twice"
        assert record.is_for(self), f"{push_id} is not for {self.conn}"
        assert self.last is None or self.last.number < record.number, f"{push_id} came behind {self.last}"
        last = self.last or (self.office.find(self.since, self.box) if self.since else None)
        if last is not None and prev == last.id:
            self._nothing_missing(last.number, record.number)
        elif self.last is None and self.since is None and not self.office.behind_ms:
            # Where a clock was set back, what came before the session cannot be told from what came after.
            missing = self.office.in_box(self, self.began_number, record.number)
            assert not missing, f"{missing} lies before the first that {self.conn} got, and is there"
        self.got[push_id] = record
        self.last = self.office.clients_last[self.conn] = record

    def _nothing_missing(self, after: int, before: int) -> None:
        for record in self.office.records:
            if record.is_for(self) and after < record.number < before and not record.lost:
                assert record.id in self.got, f"{record} is missing, and the client was not told"

    def _recovered(self, data: dict[str, Any]) -> None:
        self.resumed.append(data)
        since = self.office.find(self.since, self.box) if self.since else None
        if data["recovered"] and self.since:
            assert since is not None, "what nobody has stored was found"
            self._nothing_missing(since.number, self.began_number + 1)
        if data["recovered"]:
            assert not self.office.in_box(self, since.number if since else 0, self.began_number + 1)
        assert data["count"] <= len(self.got)
        if data["last_id"] is not None and self.last is not None:
            assert data["last_id"] == self.last.id

    def offer(self, frame: bytes, late: Any) -> Answer:
        raise NotImplementedError

    def close(self, code: int, reason: str = "") -> None:
        raise NotImplementedError


class Doors:
    """Mailboxes whose calls are answered when they are let through; each is done before or behind a wait."""

    def __init__(self, mailbox: MemoryMailbox) -> None:
        self.mailbox = mailbox
        self.waiting: list[asyncio.Future[None]] = []
        self.away = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.mailbox, name)

        async def call(*arguments: Any) -> Any:
            await self._wait()
            if self.away:
                return fail(*arguments)
            result = await method(*arguments)
            await self._wait()
            return fail(*arguments) if self.away else result

        def fail(*arguments: Any) -> Any:
            if name == "store":
                return [MailboxUnavailable("away")] * len(arguments[0])
            raise MailboxUnavailable("away")

        return call

    async def close(self) -> None:
        pass

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future

    def open(self, number: int) -> None:
        """Let one of those that wait through."""
        self.waiting = [future for future in self.waiting if not future.done()]
        if self.waiting:
            self.waiting.pop(number % len(self.waiting)).set_result(None)


@dataclass(eq=False)
class Live:
    """A live letter on its way to a session."""

    node: int
    conn: str
    posted: Posted
    record: Record


@dataclass(eq=False)
class Told:
    """What a node has said of a letter to one session."""

    client: Client
    record: Record
    sent: bool | None = None


class Office:
    """Mailboxes, nodes and clients."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.behind_ms = 0
        self.lossy = False
        self.number = 0
        self.kept = MemoryMailbox(f"memory://office-{next(_names)}", "t", Bounds(letters=MOST))
        self.doors = Doors(self.kept)
        self.hubs = [Hub() for _ in range(NODES)]
        self.mails = [Mail(hub, self.doors) for hub in self.hubs]  # type: ignore[arg-type]
        self.records: list[Record] = []
        self.live: list[Live] = []
        self.told: list[Told] = []
        self.clients: dict[str, Client] = {}
        self.clients_last: dict[str, Record] = {}
        self._ids = count(1)
        self._sessions = count(1)

    @property
    def now(self) -> float:
        return self.now_ms / 1000

    @property
    def server_ms(self) -> int:
        """The mailboxes' clock."""
        return self.now_ms - self.behind_ms

    def record(self, push_id: str, box: str) -> Record:
        found = self.find(push_id, box)
        assert found is not None, f"{push_id} was never stored"
        return found

    def find(self, push_id: str, box: str) -> Record | None:
        return next((one for one in reversed(self.records) if one.id == push_id and one.box == box), None)

    def in_box(self, client: Client, after: int, before: int) -> list[Record]:
        """Return what is there for a client, between two that were stored, and what it has not got."""
        there = {one.letter.id for one in self.kept._alive(client.box) if one.expires_ms > self.server_ms}
        return [
            one
            for one in self.records
            if one.is_for(client) and after < one.number < before and not one.lost
            if one.id in there and one.id not in client.got
        ]

    # What happens

    def push(self, box: str, only: str = "", push_id: str | None = None) -> None:
        """Store a letter, and send it on its way to those who are there."""
        push_id = push_id or f"m{next(self._ids)}"
        payload = json.dumps({"type": "note", "id": push_id}).encode()
        place = self.kept._store(Letter(box, push_id, payload, TTL_S, only, repeatable=True))
        record = self.find(push_id, box)
        if record is None or record.place != place:
            self.number += 1
            record = Record(push_id, box, only, self.number, place)
            self.records.append(record)
        for client in self.clients.values():
            if record.is_for(client):
                self.live.append(Live(client.node, client.conn, Posted(box, place), record))

    def deliver(self, number: int) -> None:
        """Have a live letter arrive."""
        if not self.live:
            return
        live = self.live.pop(number % len(self.live))
        client = self.hubs[live.node].get(live.conn)
        if client is None:
            return
        assert isinstance(client, Client)
        told = Told(client, live.record)
        self.told.append(told)

        def ended(sent: bool) -> None:
            assert told.sent is None, "told twice"
            told.sent = sent
            self._check_told(told)

        frame = text_frame(json.dumps({"type": "note", "id": live.record.id}).encode())
        answer = self.mails[live.node].deliver(client, live.record.id, live.posted, frame, ended)
        if answer is not Answer.WAITING:
            ended(answer is Answer.DELIVERED)

    def _check_told(self, told: Told) -> None:
        if told.sent:
            assert told.record.id in told.client.got or told.record.id == told.client.since, "a receipt lies"

    def connect(self, conn: str, node: int, since: str | None) -> None:
        self.leave(conn)
        kind = KINDS[conn]
        user = None if kind is None else User(7, from_type=kind)
        client = Client(self, conn, next(self._sessions), node, since, user)
        self.clients[conn] = client
        self.hubs[node].add(client)
        if since is not None:
            self.mails[node].resume_later(client, since)
        self.mails[node].opened(client)

    def leave(self, conn: str) -> None:
        client = self.clients.pop(conn, None)
        if client is not None:
            client.left = True
            self.hubs[client.node].remove(client)
            self.mails[client.node].left(client)

    def fill(self, conn: str, *, full: bool) -> None:
        client = self.clients.get(conn)
        if client is not None and client.full is not full:
            client.full = full
            if not full:
                self.mails[client.node].writable(client)

    def kill(self, node: int) -> None:
        """Have a node die; nobody hears from it any more."""
        for client in [client for client in self.clients.values() if client.node == node]:
            del self.clients[client.conn]
            client.left = True
        self.live = [live for live in self.live if live.node != node]
        self.hubs[node] = Hub()
        self.mails[node] = Mail(self.hubs[node], self.doors)  # type: ignore[arg-type]

    def trim(self, box: str, letters: int) -> None:
        kept = self.kept._boxes.get(box, [])
        del kept[:letters]
        if not kept:
            self.kept._boxes.pop(box, None)
            # What Redis stores anew within the same millisecond would take the places of what was there.
            self.now_ms += 1

    def lose_tail(self, box: str, letters: int, back_ms: int) -> None:
        """Have a replica take over that lacks the last letters, and whose clock may be behind."""
        self.lossy = True
        kept = self.kept._boxes.get(box, [])
        lost = kept[max(0, len(kept) - letters) :]
        for one in lost:
            record = self.record(one.letter.id, box)
            record.lost = True
        del kept[len(kept) - len(lost) :]
        if not kept:
            self.kept._boxes.pop(box, None)
        self.behind_ms += back_ms

    def empty(self) -> None:
        """Have the server restart with nothing."""
        self.lossy = True
        for kept in self.kept._boxes.values():
            for one in kept:
                self.record(one.letter.id, one.letter.box).lost = True
        self.kept._boxes.clear()
        self.now_ms += 1

    def look(self, node: int) -> None:
        """Have a node look for letters that are overdue."""
        newest = {box: kept[-1].place.at for box in (BOX, *KINDS) if (kept := self.kept._alive(box))}
        for client in self.hubs[node]:
            self.mails[node].catch_up(client, defaultdict(lambda: None, newest), Position(self.server_ms))

    # Time

    async def settle(self) -> None:
        """Let tasks run until each waits for a mailbox."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Let everything come to its end, then send everybody one letter more."""
        self.doors.away = False
        await self._drain()
        for conn in KINDS:
            self.fill(conn, full=False)
        await self._drain()
        for node in range(NODES):
            self.look(node)
        await self._drain()
        for client in self.clients.values():
            overdue = self.in_box(client, client.began_number, self.number + 1)
            assert self.lossy or not overdue, f"{client.conn} waits for {overdue}"
        last = {}
        self.now_ms += self.behind_ms + 1
        for box in (BOX, "c2"):
            self.now_ms += 1
            self.push(box)
            last[box] = self.records[-1].id
        await self._drain()
        for client in self.clients.values():
            assert last[client.box] in client.got, f"{client.conn} was left behind"
            assert client.since is None or client.resumed, f"{client.conn} was not told that it has all"
            missing = self.in_box(client, client.began_number, self.number)
            assert self.lossy or not missing, f"{client.conn} lacks {missing}"
        assert all(told.sent is not None for told in self.told if not told.client.left), "somebody waits yet"
        for mail in self.mails:
            await mail.close()

    async def _drain(self) -> None:
        for _ in range(2000):
            await self.settle()
            if self.doors.waiting:
                self.doors.open(0)
            elif self.live:
                self.deliver(0)
            else:
                return
        raise AssertionError("it does not come to an end")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have all clocks be this one's."""
        failures: list[str] = []

        def fail(text: str, exc: BaseException) -> None:
            failures.append(f"{text}: {exc!r}")

        with (
            patch("sanic_ws.mailbox.memory._now_ms", lambda: self.server_ms),
            patch("sanic_ws.node.mail.monotonic", lambda: self.now),
            patch("sanic_ws.node.reading.monotonic", lambda: self.now),
            patch("sanic_ws.node.replay.RETRY_S", 0.0),
            patch("sanic_ws.node.replay.MOST_RETRY_S", 0.0),
            patch("sanic_ws.node.replay.PAGE", 3),
            patch("sanic_ws.node.replay.log.fault", fail),
        ):
            yield
        assert not failures, failures
