"""A fleet of independent WebSocket clients in one process, each with a log of what it saw.

They do what README tells clients to do: read until the end, obey close codes, and come back to another node.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from picows import WSError, ws_connect

from tests.faults.logs import REPLACED, ClientLog, Session
from tests.faults.sockets import ClientSocket, ReadPush
from tests.integration.peers import eventually

HANDSHAKE_S = 5.0
READ_BUFFER = 1024  # bytes; it grows when it has to
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 3.0
RESTART, KICKED, SLOW, FULL = 1012, 4403, 4408, 4429
STAY_AWAY = frozenset({1002, 1007, 1009, KICKED, REPLACED})


def read_push(payload: bytes) -> tuple[str, str, int] | None:
    """Read what `publishers` wrote."""
    message = json.loads(payload)
    data = message.get("data")
    if not isinstance(data, dict) or "sequence" not in data:
        return None
    return message["id"], data["publisher"], data["sequence"]


class Fleet:
    """Hold clients that know the same nodes.

    Args:
        addresses: the nodes' WebSocket addresses; may be changed, for those who connect later.
        seed: of the clients' jitter.
        jitter: whether a client that lost its node waits a random while before it comes back.
        read: reads a push.

    Attributes:
        apart: to be set by a test whose clients each need a loopback address of their own.
    """

    def __init__(
        self, addresses: Sequence[str], *, seed: int = 0, jitter: bool = True, read: ReadPush = read_push
    ) -> None:
        self.addresses = list(addresses)
        self.clients: dict[str, Client] = {}
        self.random = random.Random(seed)
        self.jitter = jitter
        self.read = read
        self.apart = False
        self._turn = itertools.count()
        self._marks = itertools.count()

    @property
    def logs(self) -> dict[str, ClientLog]:
        """What each client saw, by sign."""
        return {sign: client.log for sign, client in self.clients.items()}

    @property
    def connected(self) -> int:
        """How many clients have an open session."""
        return sum(client.connected for client in self.clients.values())

    async def open(
        self, signs: Sequence[str], *, at: Sequence[str] | None = None, users: bool = False, many: int = 100
    ) -> None:
        """Add clients and wait until all are connected.

        Args:
            signs: their ids.
            at: where they connect first; all addresses in turn if left out.
            users: whether each says that it is the user of the same name.
            many: how many connect at the same time.
        """
        gate = asyncio.Semaphore(many)
        first = itertools.cycle(at or self.addresses)

        async def add(sign: str) -> None:
            self.clients[sign] = client = Client(self, sign, user=users)
            async with gate:
                client.start(next(first))
                await client.opened.wait()

        await asyncio.gather(*(add(sign) for sign in signs))

    async def all_connected(self, timeout_s: float = 60.0) -> None:
        """Wait until every client that may be is connected, and bound where it has a user."""
        try:
            await eventually(lambda: not self._missing(), "all clients to be connected", timeout_s)
        except AssertionError as exc:
            stories = [client.log.sessions[-2:] for client in self._missing()]
            raise AssertionError(f"{len(stories)} clients are not connected: {stories[:5]}") from exc

    def _missing(self) -> "list[Client]":
        return [client for client in self.clients.values() if not client.connected and not client.gone]

    async def settle(self) -> None:
        """Wait until all that was written before to clients that are connected has been read."""
        waited = [client.settle(f"mark-{next(self._marks)}") for client in self.clients.values()]
        await asyncio.gather(*waited)

    async def watch(self, silent_s: float) -> None:
        """Cut sessions that are silent for this long although they are asked for a sign of life; for ever."""
        while True:
            await asyncio.sleep(silent_s / 4)
            for client in list(self.clients.values()):
                client.check(silent_s)

    def next_address(self, but: str | None) -> str:
        """Return an address, another one than this if there is any."""
        others = [address for address in self.addresses if address != but] or self.addresses
        return others[next(self._turn) % len(others)]

    async def close(self) -> None:
        """Let all clients leave."""
        await asyncio.gather(*(client.leave() for client in self.clients.values()))


class Client:
    """One client: connects, reads, and comes back.

    Attributes:
        gone: whether it stays away, as it was told to or because it has left.
        stays_away: to be set by a test that wants it not to come back.
    """

    def __init__(self, fleet: Fleet, sign: str, *, user: bool) -> None:
        self.fleet = fleet
        self.log = ClientLog(sign)
        self.user = sign if user else None
        self.read = fleet.read
        number = len(fleet.clients)
        self._source = f"127.1.{number >> 8}.{number & 255}" if fleet.apart else None
        self.opened = asyncio.Event()
        self.gone = False
        self.stays_away = False
        self.socket: ClientSocket | None = None
        self._sockets: set[ClientSocket] = set()
        self._task: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @property
    def sign(self) -> str:
        """Its id."""
        return self.log.sign

    @property
    def session(self) -> Session | None:
        """The session that is open, or was last."""
        return None if self.socket is None else self.socket.session

    @property
    def orphaned(self) -> bool:
        """Whether it was told that a newer connection has its id, and knows of none."""
        session = self.session
        return self.gone and not self.stays_away and session is not None and session.code == REPLACED

    @property
    def open_sockets(self) -> int:
        """How many of its sockets are open; an old one is until its node learns that it was replaced."""
        return len(self._sockets)

    @property
    def connected(self) -> bool:
        """Whether it has an open session, bound to its user if it has one."""
        session = self.session
        return session is not None and session.open and (self.user is None or session.bound_at is not None)

    def start(self, address: str) -> None:
        """Begin to live."""
        self._task = asyncio.create_task(self._live(address))

    async def move(self, address: str) -> None:
        """Connect a second time, elsewhere, while the old session is open; nothing if that fails."""
        self._moving = asyncio.create_task(self._move(address))
        await asyncio.wait([self._moving])

    async def _move(self, address: str) -> None:
        opened = await self._connect(address)
        if opened is not None:
            self.socket = opened
            self._wake.set()

    def drop(self) -> None:
        """Cut the session with a reset; the client comes back."""
        if self.socket is not None:
            self.socket.drop()

    def stop_reading(self) -> None:
        """Read nothing any more, until the node has had enough of it or `read_again`."""
        assert self.socket is not None
        self.socket.stop_reading()

    def read_again(self) -> None:
        """Read on."""
        if self.socket is not None:
            self.socket.read_again()

    async def settle(self, mark: str) -> None:
        """Ask for a pong and wait for it, or for the end of the session."""
        socket = self.socket
        if socket is not None and socket.session.open and not socket.paused:
            await socket.settle(mark)

    def check(self, silent_s: float) -> None:
        """Ask for a sign of life; cut the session if there was none for long."""
        for one in list(self._sockets):
            if one.session.open and not one.paused:
                one.check(silent_s)

    async def leave(self) -> None:
        """Go away for good."""
        self.stays_away = True
        for task in (self._task, self._moving):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        left = list(self._sockets)
        for one in left:
            one.drop()
        await asyncio.gather(*(one.ended.wait() for one in left))
        self.gone = True

    async def _live(self, address: str) -> None:
        failures = 0
        while not self.stays_away:
            opened = await self._connect(address)
            if opened is None:
                failures += 1
                await asyncio.sleep(self._backoff(failures))
            else:
                failures = 0
                self.socket = opened
                self.opened.set()
                await self._stay()
                pause_s = self._pause(self.socket.session)
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s)
            address = self.fleet.next_address(address)
        self.gone = True

    async def _stay(self) -> None:
        """Return when the last session that was opened has ended, and no other is being opened."""
        while True:
            while self.socket is not None and not self.socket.ended.is_set():
                self._wake.clear()
                await self._wake.wait()
            if self._moving is None or self._moving.done():
                return
            await asyncio.wait([self._moving])

    def _pause(self, session: Session) -> float | None:
        """Return how long to stay away (README's table of close codes), or None for ever."""
        if self.stays_away or session.code in STAY_AWAY:
            return None
        if session.code == RESTART and session.after_ms is not None:
            return session.after_ms / 1000
        return self._backoff(3 if session.code == FULL else 1)

    def _backoff(self, failures: int) -> float:
        if not self.fleet.jitter:
            return 0.0 if failures == 1 else FIRST_PAUSE_S
        return self.fleet.random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failures))

    async def _connect(self, address: str) -> ClientSocket | None:
        made = ClientSocket(self, Session(address, time.monotonic()), self._source)
        self._sockets.add(made)
        try:
            # The time may be over in the very turn in which it opened: then it has opened.
            with suppress(OSError, WSError, TimeoutError):
                async with asyncio.timeout(HANDSHAKE_S):
                    await ws_connect(
                        lambda: made,
                        f"{address}?sign={self.sign}",
                        websocket_handshake_timeout=None,
                        read_buffer_init_size=READ_BUFFER,
                        use_aiofastnet=False,
                        socket_factory=made.dial,
                    )
                    await made.ready.wait()
        finally:
            if made.session.opened_at is None:
                made.give_up()
        return made if made.session.opened_at is not None else None

    def forget(self, socket: ClientSocket) -> None:
        """Take in that a socket is gone."""
        self._sockets.discard(socket)
        self._wake.set()
