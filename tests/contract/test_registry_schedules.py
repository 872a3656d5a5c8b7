"""The registry's promises under any schedule of what nodes may tell it, in memory and in Redis.

The nodes are fakes that do what `sanic_ws.node.membership` does. Their calls come in any order: a session
that was replaced may be told so late, and asserts itself again until then; a release may come late.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sanic_ws.core.flights import Owner, UserConnection
from sanic_ws.core.identity import User
from sanic_ws.registry import Claim, Claimed, Info, Registry, Release, memory
from sanic_ws.registry.memory import MemoryRegistry
from sanic_ws.registry.redis import RedisRegistry
from tests.contract.test_registry import LONG_S, clock_goes_on, empty, info
from tests.integration.peers import unique

EXAMPLES = {"memory": int(os.environ.get("REGISTRY_EXAMPLES", "2000")), "redis": 60, "redis_cluster": 30}
MANY = 500
NODES = ("n0", "n1", "n2")
CONNS = ("c0", "c1", "c2")
USERS = (User(1, from_type="web"), User(1, from_type="app"), User(2))
KEYS = tuple({user.key: None for user in USERS})


@dataclass(slots=True, eq=False)
class Session:
    """One life of a connection on a node, as the node knows it; `left` once it has told the registry."""

    conn: str
    owner: Owner
    user: User | None
    generation: int = 0
    refused: bool = False
    left: bool = False

    @property
    def asserts(self) -> bool:
        """Whether its node still tells the registry that it is there."""
        return not self.refused and not self.left


@dataclass(slots=True)
class Entry:
    """What the registry should know of a connection's id: who has it, or only whom it is bound to."""

    holder: Session | None
    generation: int
    user: User | None


@dataclass
class Model:
    """The registries of three nodes, and what they should hold."""

    registries: Sequence[Registry]
    sessions: list[Session] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def registry(self, node: str) -> Registry:
        """Return the node's own way to the registry."""
        return self.registries[NODES.index(node)]

    # What nodes do

    async def connect(self, conn: str, node: str, user: User | None) -> None:
        """Claim an id as its newest session."""
        session = Session(conn, Owner(node, str(len(self.sessions) + 1)), user)
        entry = self.entries.get(conn)
        claimed = await self._claim(session)
        bound = None if entry is None else entry.user
        if user is not None and bound is not None and user.key != bound.key:
            self.seen["identity taken"] += 1
            assert (claimed.accepted, claimed.taken, claimed.user) == (False, True, bound)
            return
        assert claimed.accepted
        assert not claimed.taken
        assert not claimed.missing
        assert claimed.user == (user or bound), "the binding outlives the session"
        assert claimed.generation > (0 if entry is None else entry.generation)
        before = None if entry is None or entry.holder is None else entry.holder
        assert claimed.before == (None if before is None else before.owner), "it learns whom it replaced"
        self.seen["replaced"] += before is not None
        self.seen["bound again"] += user is None and before is None and bound is not None
        self.sessions.append(session)
        self._hold(session, claimed)

    async def assert_again(self, sessions: Sequence[Session]) -> None:
        """Claim what sessions of one node have, with one call."""
        claims = [Claim(s.conn, s.owner, s.generation, s.user) for s in sessions]
        node = sessions[0].owner.node
        for session, claimed in zip(sessions, await self.registry(node).claim(claims), strict=True):
            self._asserted(session, claimed)

    def _asserted(self, session: Session, claimed: Claimed) -> None:
        entry = self.entries.get(session.conn)
        holder = None if entry is None else entry.holder
        if holder is not None and holder is not session and holder.generation > session.generation:
            self.seen["older session refused"] += 1
            assert (claimed.accepted, claimed.before) == (False, holder.owner)
            assert claimed.generation == holder.generation
            session.refused = True
            return
        assert claimed.accepted
        assert claimed.missing == (holder is not session), "it learns that it was not known"
        assert claimed.generation == session.generation
        assert claimed.before == (None if holder in (None, session) else holder.owner)
        assert claimed.user == (session.user or (None if entry is None else entry.user))
        self.seen["missing"] += claimed.missing
        self._hold(session, claimed)

    async def bind(self, session: Session, user: User) -> None:
        """Bind a session that is open to a user, instead of whom it was bound to."""
        before, session.user = session.user, user
        if before is not None and before.key != user.key:
            self.seen["bound to another"] += 1
            release = Release(session.conn, session.owner, before, conn_too=False)
            await self.registry(session.owner.node).release([release])
        await self.assert_again([session])

    async def leave(self, session: Session) -> None:
        """Release a session; at once or late."""
        session.left = True
        entry = self.entries.get(session.conn)
        if entry is not None and entry.holder is session:
            entry.holder = None
            if entry.user is None:
                del self.entries[session.conn]
        else:
            self.seen["late release"] += 1
        registry = self.registry(session.owner.node)
        await registry.release([Release(session.conn, session.owner, session.user)])

    async def beat(self, node: str) -> None:
        """Renew a node's lease; where the registry may have lost something assert all that is there."""
        whole = await self.registry(node).heartbeat(info(node), LONG_S)
        assert whole == (node in self.known), "it learns whether the registry still holds all"
        self.known.add(node)
        if not whole and (here := self.here(node)):
            self.seen["asserted all"] += 1
            await self.assert_again(here)

    async def withdraw(self, node: str) -> None:
        """End a node's lease."""
        await self.registry(node).withdraw(node)
        self.known.discard(node)

    async def flush(self) -> None:
        """Take everything away from the registry; its clock goes on meanwhile."""
        latest = max((session.generation for session in self.sessions), default=0)
        await clock_goes_on(self.registries[0], latest)
        await empty(self.registries[0])
        self.entries.clear()
        self.known.clear()
        self.seen["flushed"] += 1

    def here(self, node: str) -> list[Session]:
        """Return the sessions that a node asserts."""
        return [session for session in self.sessions if session.asserts and session.owner.node == node]

    async def _claim(self, session: Session) -> Claimed:
        claim = Claim(session.conn, session.owner, session.generation, session.user)
        (claimed,) = await self.registry(session.owner.node).claim([claim])
        return claimed

    def _hold(self, session: Session, claimed: Claimed) -> None:
        session.generation = claimed.generation
        session.user = session.user or claimed.user
        self.entries[session.conn] = Entry(session, claimed.generation, claimed.user)

    # What must hold

    async def check(self) -> None:
        """Check what every node's registry says against the model."""
        for registry in self.registries:
            owners, lists, *_ = await registry.look_up(CONNS, KEYS)
            assert owners == [self._owner(conn) for conn in CONNS]
            for key, found in zip(KEYS, lists, strict=True):
                self._check_list(key, found)
        described = await self.registries[0].describe(CONNS)
        assert described == [self._info(conn) for conn in CONNS]
        assert sorted((await self.registries[0].listing()).live) == sorted(self.known)

    def _check_list(self, key: str, found: Sequence[UserConnection]) -> None:
        """Check that a user's list has what the entries say, and else only what is still to be released."""
        conns = [listed.conn for listed in found]
        assert len(set(conns)) == len(conns), f"{key} has a connection twice"
        held = {entry.holder: entry for entry in self.entries.values() if entry.holder is not None}
        owed = {
            UserConnection(session.conn, session.owner, entry.user.from_type)
            for session, entry in held.items()
            if entry.user is not None and entry.user.key == key
        }
        assert owed <= set(found), f"{key} lacks {owed - set(found)}"
        for listed in set(found) - owed:
            owners = [session for session in self.sessions if session.owner == listed.owner]
            assert owners, f"{key} has {listed} of nobody"
            assert not owners[0].left, f"{key} has {listed}, which was released"
            assert owners[0] not in held, f"{key} has {listed}, which is somebody else's"

    def _owner(self, conn: str) -> Owner | None:
        entry = self.entries.get(conn)
        return None if entry is None or entry.holder is None else entry.holder.owner

    def _info(self, conn: str) -> Info | None:
        entry = self.entries.get(conn)
        return None if entry is None else Info(self._owner(conn), entry.user, entry.generation)

    async def check_made_whole(self) -> None:
        """Empty the registry, let every node beat, the losers leave: all that is open must be there."""
        newest: dict[str, Session] = {}
        for session in self.sessions:
            if session.asserts and session.generation >= newest.get(session.conn, session).generation:
                newest[session.conn] = session
        await self.flush()
        for node in NODES:
            await self.beat(node)
        for session in self.sessions:
            if not session.left and newest.get(session.conn) is not session:
                await self.leave(session)
        await self.check()
        assert {conn: entry.holder for conn, entry in self.entries.items()} == newest
        _, lists, *_ = await self.registries[0].look_up([], KEYS)
        listed = {found.conn: found.owner for found in chain(*lists)}
        assert listed == {s.conn: s.owner for s in newest.values() if s.user is not None}


# Steps; each draws a number that says which of what there is it is about


async def connect(model: Model, arg: int) -> None:
    await model.connect(CONNS[arg % 3], NODES[arg // 3 % 3], None)


async def connect_as_somebody(model: Model, arg: int) -> None:
    await model.connect(CONNS[arg % 3], NODES[arg // 3 % 3], USERS[arg // 9 % 3])


async def assert_again(model: Model, arg: int) -> None:
    if there := [session for session in model.sessions if session.asserts]:
        await model.assert_again([there[arg % len(there)]])


async def assert_all(model: Model, arg: int) -> None:
    if here := model.here(NODES[arg % 3]):
        await model.assert_again(here)


async def bind(model: Model, arg: int) -> None:
    if there := [session for session in model.sessions if session.asserts]:
        await model.bind(there[arg % len(there)], USERS[arg // 9 % 3])


async def leave(model: Model, arg: int) -> None:
    if there := [session for session in model.sessions if not session.left]:
        await model.leave(there[arg % len(there)])


async def release_again(model: Model, arg: int) -> None:
    """A release whose answer was lost is sent once more."""
    if gone := [session for session in model.sessions if session.left]:
        await model.leave(gone[arg % len(gone)])


async def beat(model: Model, arg: int) -> None:
    await model.beat(NODES[arg % 3])


async def withdraw(model: Model, arg: int) -> None:
    await model.withdraw(NODES[arg % 3])


async def flush(model: Model, arg: int) -> None:
    await model.flush()


Step = Callable[[Model, int], Awaitable[None]]

STEPS: list[Step] = [
    *[connect, connect_as_somebody, assert_again, bind, leave, beat] * 2,
    *[connect, assert_all, release_again, withdraw, flush],
]
schedules = st.lists(
    st.sampled_from([(step, arg) for step in STEPS for arg in range(27)]), min_size=10, max_size=40
)
KINDS = (
    "replaced",
    "identity taken",
    "bound again",
    "bound to another",
    "late release",
    "older session refused",
    "missing",
    "asserted all",
    "flushed",
)


Schedule = list[tuple[Step, int]]
Play = Callable[[Schedule], Model]


class QuickClock:
    """Stand for the module `time`; time passes with every look at the clock."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._now = time.time()

    def time(self) -> float:
        self._now += 0.02
        return self._now


@pytest.fixture(params=EXAMPLES)
def play(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Play a schedule on the registries of three nodes, which are emptied before."""
    monkeypatch.setattr(memory, "time", QuickClock())
    name, url = unique(), None
    if request.param != "memory":
        url = request.getfixturevalue(request.param).url

    async def open_all() -> list[Registry]:
        if url is None:
            return [MemoryRegistry(f"memory://{name}", "t") for _ in NODES]
        return [RedisRegistry(url, name) for _ in NODES]

    async def close_all(registries: Sequence[Registry]) -> None:
        for registry in registries:
            await registry.close()

    # hypothesis is synchronous: a loop of its own, for all schedules.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        registries = runner.run(open_all())
        yield lambda schedule: runner.run(play_on(registries, schedule))
        runner.run(close_all(registries))


async def play_on(registries: Sequence[Registry], schedule: Schedule) -> Model:
    """Play a schedule to its end; return the model as it was before everything was made whole."""
    await empty(registries[0])
    model = Model(registries)
    for step, arg in schedule:
        await step(model, arg)
        await model.check()
    seen = model.seen.copy()
    await model.check_made_whole()
    model.seen = seen
    return model


def broken_promise(play: Play, schedule: Schedule, seen: Counter[str]) -> str:
    """Play a schedule; return what did not hold, or an empty text, and count what happened in it."""
    try:
        happened = play(schedule).seen
    except AssertionError as exc:
        return str(exc) or "an assertion"
    seen.update(kind for kind, times in happened.items() if times)
    return ""


def shorten(play: Play, schedule: Schedule) -> Schedule:
    """Leave out every step without which a promise is still broken."""
    for number in reversed(range(len(schedule))):
        shorter = schedule[:number] + schedule[number + 1 :]
        if broken_promise(play, shorter, Counter()):
            schedule = shorter
    return schedule


def test_promises_hold_whatever_comes_in_which_order(play, request):
    examples = EXAMPLES[request.node.callspec.params["play"]]
    seen: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules)
    def promises_hold(schedule):
        if broken_promise(play, schedule, seen):
            shortest = shorten(play, schedule)
            steps = "".join(f"\n    {step.__name__} {arg}" for step, arg in shortest)
            pytest.fail(f"{broken_promise(play, shortest, Counter())}\nafter{steps}", pytrace=False)

    promises_hold()
    # A few examples may well be without some of them.
    rare = [kind for kind in KINDS if seen[kind] * 20 < examples and examples >= MANY]
    assert not rare, f"hardly ever: {rare}; {dict(seen)}"
