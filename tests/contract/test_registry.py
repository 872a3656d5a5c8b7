"""What every registry promises: one suite for the one in memory and for Redis in all its forms."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sanic_ws.core.flights import Owner, UserConnection
from sanic_ws.core.identity import User
from sanic_ws.registry import Claim, Kept, Mark, NodeInfo, Registry, Release
from sanic_ws.registry.memory import MemoryRegistry
from sanic_ws.registry.port import USER_CONNECTIONS
from sanic_ws.registry.redis import RedisRegistry
from sanic_ws.registry.redis_clients import OneServer
from sanic_ws.registry.redis_link import Link
from tests.integration.peers import eventually, unique

A, B, C = Owner("node-a", "1"), Owner("node-b", "1"), Owner("node-c", "7")
ALICE, BOB = User(1, tenant_id=7, from_type="web"), User(2, from_type="app")
LONG_S = 60.0
BOUND_S = 10.0
"""A guard against waiting for ever, not an expectation."""

MakeRegistry = Callable[[str], Registry]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer than a push would: on a busy machine a server may be late, and none is away here."""
    monkeypatch.setattr("sanic_ws.registry.redis.COMMAND_TIMEOUT_S", BOUND_S)


@pytest.fixture(params=["memory", "redis", "redis_sentinel", "redis_cluster"])
def make_registry(request: pytest.FixtureRequest) -> MakeRegistry:
    """Make registries; those of one name share what they hold, and others nothing."""
    if request.param == "memory":
        return lambda name: MemoryRegistry(f"memory://{name}", "t")
    url = request.getfixturevalue(request.param).url
    return lambda name: RedisRegistry(url, name)


@pytest.fixture
async def registry(make_registry: MakeRegistry) -> AsyncIterator[Registry]:
    made = make_registry(unique())
    yield made
    await made.close()


@pytest.fixture
async def twins(make_registry: MakeRegistry) -> AsyncIterator[tuple[Registry, Registry]]:
    """Two that share what they hold."""
    name = unique()
    one, other = make_registry(name), make_registry(name)
    yield one, other
    await one.close()
    await other.close()


async def empty(registry: Any) -> None:
    """Take everything away from a registry, as FLUSHALL does."""
    if isinstance(registry, MemoryRegistry):
        registry._store.conns.clear()
        registry._store.users.clear()
        registry._store.groups.clear()
        registry._store.nodes.clear()
        registry._store.leaving.clear()
        registry._store.offline.clear()
        registry._store.receipts.clear()
    else:
        for link in masters(registry):
            ((keys),) = await link.exchange([("KEYS", f"{registry._prefix}:*")], BOUND_S)
            await link.exchange([("DEL", key) for key in keys] or [("PING",)], BOUND_S)


async def make_forgotten(registry: RedisRegistry, node: str) -> None:
    """Take a node out of the list, as a server does that had not been told of it."""
    key = registry._nodes_key
    await registry._servers.run([(key, ("ZREM", key, node))], BOUND_S)


def masters(registry: RedisRegistry) -> list[Link]:
    """Return the links to the servers that a registry writes to."""
    servers = registry._servers
    if isinstance(servers, OneServer):
        return [servers._link]
    return [servers._link(address) for address in servers.masters]


async def claim(registry: Registry, conn: str, owner: Owner, generation: int = 0, user: User | None = None):
    (claimed,) = await registry.claim([Claim(conn, owner, generation, user)])
    return claimed


def ago(conn: str, owner: Owner, seconds: float) -> Claim:
    """Return the claim of a session that began a while ago."""
    return Claim(conn, owner, began=time.monotonic() - seconds)


async def clock_goes_on(registry: Registry, generation: int) -> None:
    """Wait until the registry's clock gives later generations than this."""

    async def later() -> bool:
        return (await claim(registry, unique(), C)).generation > generation

    await eventually(later, "a later generation")


async def owner_of(registry: Registry, conn: str) -> Owner | None:
    (owner,), *_ = await registry.look_up([conn], [])
    return owner


async def connections_of(registry: Registry, user: User) -> list[UserConnection]:
    _, (found,), *_ = await registry.look_up([], [user.key])
    return found


def info(node: str, **given: Any) -> NodeInfo:
    fields = {"name": "n", "connections": 3, "started": "2026-01-01T00:00:00Z", "state": "ready"}
    return NodeInfo(node, **(fields | {"version": "1"} | given))


class TestClaims:
    async def test_first_claim_is_accepted_and_replaces_nobody(self, registry):
        claimed = await claim(registry, "c", A)
        assert claimed.accepted
        assert claimed.generation > 0
        assert (claimed.before, claimed.user, claimed.missing) == (None, None, False)
        assert await owner_of(registry, "c") == A

    async def test_newest_claim_wins_and_names_whom_it_replaced(self, registry):
        first = await claim(registry, "c", A)
        second = await claim(registry, "c", B)
        assert second.accepted
        assert second.before == A
        assert second.generation > first.generation
        assert await owner_of(registry, "c") == B

    async def test_new_session_on_the_same_node_names_the_old_session(self, registry):
        await claim(registry, "c", Owner("node-a", "1"))
        claimed = await claim(registry, "c", Owner("node-a", "2"))
        assert claimed.before == Owner("node-a", "1")

    async def test_of_two_claims_in_one_call_the_later_wins(self, registry):
        first, second = await registry.claim([Claim("c", A), Claim("c", B)])
        assert first.accepted
        assert second.before == A
        assert await owner_of(registry, "c") == B

    async def test_many_claims_are_answered_in_their_order(self, registry):
        await claim(registry, "c1", A)
        claimed = await registry.claim([Claim(f"c{n}", B) for n in range(3)])
        assert [c.before for c in claimed] == [None, A, None]

    async def test_claiming_nothing_answers_nothing(self, registry):
        assert await registry.claim([]) == []

    async def test_asserting_again_keeps_the_generation_and_replaces_nobody(self, registry):
        first = await claim(registry, "c", A)
        again = await claim(registry, "c", A, first.generation)
        assert again.accepted
        assert again.generation == first.generation
        assert (again.before, again.missing) == (None, False)

    async def test_older_session_that_asserts_again_is_refused_and_told_by_whom(self, registry):
        first = await claim(registry, "c", A)
        second = await claim(registry, "c", B)
        refused = await claim(registry, "c", A, first.generation)
        assert not refused.accepted
        assert refused.before == B
        assert refused.generation == second.generation
        assert await owner_of(registry, "c") == B

    async def test_refused_claim_does_not_enter_the_users_list(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await claim(registry, "c", B, user=ALICE)
        await claim(registry, "c", A, first.generation, ALICE)
        assert await connections_of(registry, ALICE) == [UserConnection("c", B, "web")]


class TestAfterItWasEmptied:
    async def test_asserted_claim_says_that_it_was_missing_and_keeps_its_generation(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await empty(registry)
        again = await claim(registry, "c", A, first.generation, ALICE)
        assert (again.accepted, again.missing, again.before) == (True, True, None)
        assert again.generation == first.generation
        assert await owner_of(registry, "c") == A
        assert await connections_of(registry, ALICE) == [UserConnection("c", A, "web")]

    async def test_zombie_that_asserts_first_loses_to_the_newer_session(self, registry):
        zombie = await claim(registry, "c", A)
        newest = await claim(registry, "c", B)
        await empty(registry)
        assert (await claim(registry, "c", A, zombie.generation)).accepted
        assert (await claim(registry, "c", B, newest.generation)).before == A
        assert await owner_of(registry, "c") == B

    async def test_zombie_that_asserts_last_is_refused(self, registry):
        zombie = await claim(registry, "c", A)
        newest = await claim(registry, "c", B)
        await empty(registry)
        assert (await claim(registry, "c", B, newest.generation)).accepted
        assert not (await claim(registry, "c", A, zombie.generation)).accepted
        assert await owner_of(registry, "c") == B

    async def test_new_session_is_newer_than_all_that_were_before(self, registry):
        before = await claim(registry, "c", A)
        await clock_goes_on(registry, before.generation)
        await empty(registry)
        newest = await claim(registry, "c", B)
        assert newest.generation > before.generation
        assert not (await claim(registry, "c", A, before.generation)).accepted


class TestReleases:
    async def test_release_forgets_the_connection(self, registry):
        await claim(registry, "c", A)
        await registry.release([Release("c", A, None)])
        assert await owner_of(registry, "c") is None
        assert await registry.describe(["c"]) == [None]

    @pytest.mark.parametrize("stranger", [B, Owner("node-a", "2"), Owner("node-a", "")])
    async def test_only_the_owner_and_its_session_can_release(self, registry, stranger):
        await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", stranger, ALICE)])
        assert await owner_of(registry, "c") == A
        assert await connections_of(registry, ALICE) == [UserConnection("c", A, "web")]

    async def test_late_release_never_erases_the_new_owner(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await claim(registry, "c", B, user=ALICE)
        await registry.release([Release("c", A, ALICE)])
        assert await owner_of(registry, "c") == B
        assert await connections_of(registry, ALICE) == [UserConnection("c", B, "web")]

    async def test_releasing_what_is_not_there_changes_nothing(self, registry):
        await registry.release([Release("c", A, ALICE), Release("d", A, None)])
        await registry.release([])
        assert await owner_of(registry, "c") is None

    async def test_release_takes_only_this_connection_from_the_user(self, registry):
        await registry.claim([Claim("c", A, 0, ALICE), Claim("cc", A, 0, ALICE), Claim("d", A, 0, ALICE)])
        await registry.release([Release("c", A, ALICE)])
        assert [c.conn for c in await connections_of(registry, ALICE)] == ["cc", "d"]


class TestBindings:
    async def test_binding_outlives_the_connection_and_a_claim_restores_it(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE)])
        assert await owner_of(registry, "c") is None
        assert await connections_of(registry, ALICE) == []
        (known,) = await registry.describe(["c"])
        assert (known.owner, known.user) == (None, ALICE)
        restored = await claim(registry, "c", B)
        assert (restored.user, restored.before, restored.missing) == (ALICE, None, False)
        assert await connections_of(registry, ALICE) == [UserConnection("c", B, "web")]

    async def test_claim_without_a_user_keeps_the_binding(self, registry):
        await claim(registry, "c", A, user=ALICE)
        assert (await claim(registry, "c", B)).user == ALICE
        assert await connections_of(registry, ALICE) == [UserConnection("c", B, "web")]

    async def test_rebinding_moves_the_connection_from_one_user_to_the_other(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE, conn_too=False)])
        again = await claim(registry, "c", A, first.generation, BOB)
        assert again.user == BOB
        assert await connections_of(registry, ALICE) == []
        assert await connections_of(registry, BOB) == [UserConnection("c", A, "app")]
        assert await owner_of(registry, "c") == A

    async def test_changed_kind_of_device_replaces_the_old_one(self, registry):
        first = await claim(registry, "c", A, user=User(1, from_type="web"))
        await claim(registry, "c", A, first.generation, User(1, from_type="app"))
        assert await connections_of(registry, User(1)) == [UserConnection("c", A, "app")]

    async def test_two_devices_of_one_kind_stand_side_by_side(self, registry):
        await registry.claim([Claim("c", A, 0, ALICE), Claim("d", B, 0, ALICE)])
        found = await connections_of(registry, ALICE)
        assert found == [UserConnection("c", A, "web"), UserConnection("d", B, "web")]

    async def test_user_keeps_so_many_connections_and_the_oldest_goes_first(self, registry):
        await registry.claim([Claim(f"c{n}", A, 0, ALICE) for n in range(USER_CONNECTIONS + 2)])
        found = await connections_of(registry, ALICE)
        assert [c.conn for c in found] == [f"c{n}" for n in range(2, USER_CONNECTIONS + 2)]

    async def test_connection_that_is_asserted_again_is_not_the_oldest(self, registry):
        claimed = await registry.claim([Claim(f"c{n}", A, 0, ALICE) for n in range(USER_CONNECTIONS)])
        await claim(registry, "c0", A, claimed[0].generation, ALICE)
        await claim(registry, "new", A, user=ALICE)
        conns = {c.conn for c in await connections_of(registry, ALICE)}
        assert "c0" in conns
        assert "c1" not in conns


class TestTakenIds:
    async def test_new_session_of_somebody_else_is_refused_and_nothing_changes(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        refused = await claim(registry, "c", B, user=BOB)
        assert (refused.accepted, refused.taken, refused.before, refused.user) == (False, True, A, ALICE)
        assert refused.generation == first.generation
        assert await owner_of(registry, "c") == A
        assert await connections_of(registry, BOB) == []
        assert await connections_of(registry, ALICE) == [UserConnection("c", A, "web")]

    async def test_binding_that_is_left_keeps_the_id_from_others(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE)])
        refused = await claim(registry, "c", B, user=BOB)
        assert (refused.accepted, refused.taken, refused.before, refused.user) == (False, True, None, ALICE)
        assert await owner_of(registry, "c") is None

    async def test_new_session_of_the_same_user_on_another_kind_of_device_is_taken_in(self, registry):
        await claim(registry, "c", A, user=ALICE)
        claimed = await claim(registry, "c", B, user=User(1, tenant_id=7, from_type="app"))
        assert (claimed.accepted, claimed.taken, claimed.before) == (True, False, A)
        assert await connections_of(registry, ALICE) == [UserConnection("c", B, "app")]

    async def test_user_of_another_tenant_is_somebody_else(self, registry):
        await claim(registry, "c", A, user=User(1))
        assert (await claim(registry, "c", B, user=User(1, tenant_id=7))).taken

    async def test_id_that_is_bound_to_nobody_is_free(self, registry):
        await claim(registry, "c", A)
        claimed = await claim(registry, "c", B, user=BOB)
        assert (claimed.accepted, claimed.taken) == (True, False)

    async def test_session_that_has_the_id_may_bind_it_to_somebody_else(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        again = await claim(registry, "c", A, first.generation, BOB)
        assert (again.accepted, again.taken, again.user) == (True, False, BOB)

    async def test_session_whose_answer_was_lost_has_the_id_all_the_same(self, registry):
        await claim(registry, "c", A, user=ALICE)
        again = await claim(registry, "c", A, 0, BOB)
        assert (again.accepted, again.taken, again.user) == (True, False, BOB)

    async def test_nobody_can_claim_what_is_taken_in_the_same_call(self, registry):
        _, second = await registry.claim([Claim("c", A, 0, ALICE), Claim("c", B, 0, BOB)])
        assert second.taken


class TestLateClaims:
    """A claim that was on its way for long is as old as its session."""

    @pytest.fixture(autouse=True)
    async def clock_is_known(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)

    async def test_of_an_older_session_is_refused_and_told_who_has_it(self, registry):
        newer = await claim(registry, "c", A)
        (late,) = await registry.claim([ago("c", B, 5.0)])
        assert (late.accepted, late.before, late.generation) == (False, A, newer.generation)
        assert await owner_of(registry, "c") == A

    async def test_of_the_only_session_is_accepted(self, registry):
        (late,) = await registry.claim([ago("c", B, 5.0)])
        assert late.accepted
        assert await owner_of(registry, "c") == B

    async def test_of_the_newer_of_two_late_sessions_wins_whichever_comes_first(self, registry):
        (older,) = await registry.claim([ago("c", A, 50.0)])
        (newer,) = await registry.claim([ago("c", B, 5.0)])
        assert (older.accepted, newer.accepted, newer.before) == (True, True, A)
        (again,) = await registry.claim([Claim("c", A, older.generation)])
        assert not again.accepted

    async def test_that_came_soon_enough_wins_whatever_the_clocks_say(self, registry):
        await claim(registry, "c", A)
        (newer,) = await registry.claim([ago("c", B, 0.1)])
        assert (newer.accepted, newer.before) == (True, A)

    async def test_after_the_newer_session_has_left_is_accepted(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE)])
        (late,) = await registry.claim([ago("c", B, 5.0)])
        assert (late.accepted, late.user) == (True, ALICE)


class TestReceipts:
    async def test_kept_receipt_is_found_beside_owners_and_users(self, twins):
        registry, other = twins
        await claim(registry, "c", A, user=ALICE)
        key, none = unique("k").replace("-", ""), unique("k").replace("-", "")
        assert await registry.keep([Kept(key, b"\x00one\n")]) == [None]
        owners, users, _, records = await other.look_up(["c"], [ALICE.key], [none, key])
        assert (owners, [c.conn for c in users[0]]) == ([A], ["c"])
        assert list(records) == [None, b"\x00one\n"]
        assert list((await other.look_up([], [], [key])).records) == [b"\x00one\n"]

    async def test_first_one_stays_and_is_returned(self, twins):
        registry, other = twins
        key, new = unique("k").replace("-", ""), unique("k").replace("-", "")
        assert await registry.keep([Kept(key, b"one")]) == [None]
        assert await other.keep([Kept(key, b"two"), Kept(new, b"three")]) == [b"one", None]
        assert list((await registry.look_up([], [], [key, new])).records) == [b"one", b"three"]

    async def test_one_that_replaces_is_kept(self, registry):
        key = unique("k").replace("-", "")
        await registry.keep([Kept(key, b"one")])
        assert await registry.keep([Kept(key, b"two", replaces=True)]) == [None]
        assert list((await registry.look_up([], [], [key])).records) == [b"two"]

    async def test_many_at_once(self, registry):
        kept = [Kept(f"k{number}", str(number).encode()) for number in range(500)]
        assert await registry.keep(kept) == [None] * 500
        found = await registry.look_up([], [], [each.key for each in kept])
        assert list(found.records) == [each.record for each in kept]


class TestLookUp:
    async def test_owners_and_users_come_in_the_order_asked(self, registry):
        await registry.claim([Claim("c", A, 0, ALICE), Claim("d", B, 0, BOB), Claim("e", C)])
        conns, users = ["e", "nobody", "c", "e", "d"], [BOB.key, "nobody", ALICE.key, BOB.key]
        owners, found, *_ = await registry.look_up(conns, users)
        assert owners == [C, None, A, C, B]
        bobs, alices = [UserConnection("d", B, "app")], [UserConnection("c", A, "web")]
        assert found == [bobs, [], alices, bobs]

    async def test_users_alone(self, registry):
        await claim(registry, "c", A, user=ALICE)
        found = await registry.look_up([], [ALICE.key])
        assert found[:2] == ([], [[UserConnection("c", A, "web")]])

    async def test_nothing(self, registry):
        assert (await registry.look_up([], []))[:3] == ([], [], True)

    async def test_device_without_a_kind(self, registry):
        await claim(registry, "c", A, user=User(5))
        assert await connections_of(registry, User(5)) == [UserConnection("c", A, None)]

    async def test_describe_says_where_whose_and_since_when(self, registry):
        claimed = await claim(registry, "c", A, user=ALICE)
        await claim(registry, "d", B)
        c, nobody, d = await registry.describe(["c", "nobody", "d"])
        assert (c.owner, c.user, c.generation) == (A, ALICE, claimed.generation)
        assert nobody is None
        assert (d.owner, d.user) == (B, None)


class TestLeases:
    async def test_first_heartbeat_was_not_known_and_the_next_is(self, registry):
        assert await registry.heartbeat(info("node-a"), LONG_S) is False
        assert await registry.heartbeat(info("node-a"), LONG_S) is True

    async def test_live_nodes_are_those_with_a_lease(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.heartbeat(info("node-b"), LONG_S)
        assert sorted((await registry.listing()).live) == ["node-a", "node-b"]

    async def test_nodes_are_described_as_they_last_said(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        latest = info("node-a", connections=9, state="draining", name="ü")
        await registry.heartbeat(latest, LONG_S)
        assert await registry.nodes() == [latest]

    async def test_withdrawn_node_is_not_live(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.heartbeat(info("node-b"), LONG_S)
        await registry.withdraw("node-a")
        assert (await registry.listing()).live == ["node-b"]
        assert [node.id for node in await registry.nodes()] == ["node-b"]
        assert await registry.heartbeat(info("node-a"), LONG_S) is False

    async def test_withdrawing_a_stranger_changes_nothing(self, registry):
        await registry.withdraw("node-a")
        assert (await registry.listing()).live == []

    async def test_lease_that_is_not_renewed_ends(self, registry):
        await registry.heartbeat(info("silent"), 0.2)
        await registry.heartbeat(info("node-a"), LONG_S)

        async def ended():
            return (await registry.listing()).live == ["node-a"]

        await eventually(ended, "the end of the lease")
        assert [node.id for node in await registry.nodes()] == ["node-a"]
        assert (await registry.listing()).lapsed == ["silent"]
        await registry.heartbeat(info("silent"), LONG_S)
        assert (await registry.listing()).lapsed == []

    async def test_withdrawn_node_has_not_lapsed(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.withdraw("node-a")
        assert (await registry.listing()).lapsed == []


class TestMending:
    """While nodes tell anew what was lost, those who look up know that something may be missing."""

    @pytest.fixture(params=["redis", "redis_sentinel", "redis_cluster"])
    def make_registry(self, request: pytest.FixtureRequest) -> MakeRegistry:
        """Not in memory, which is lost with those who look it up."""
        url = request.getfixturevalue(request.param).url
        return lambda name: RedisRegistry(url, name)

    async def test_empty_registry_is_not_whole(self, registry):
        assert await is_whole(registry) == (False, False)
        await registry.heartbeat(info("node-a"), LONG_S)
        assert await is_whole(registry) == (False, False)

    async def test_it_is_once_somebody_knows_that_there_is_nobody_else(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.vouch()
        assert await is_whole(registry) == (True, True)
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.heartbeat(info("node-b"), LONG_S)
        assert await is_whole(registry) == (True, True)

    async def test_begins_when_it_is_emptied(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.vouch()
        await empty(registry)
        assert await is_whole(registry) == (False, False)
        await registry.heartbeat(info("node-a"), LONG_S)
        assert await is_whole(registry) == (False, False)

    async def test_begins_when_a_node_finds_itself_forgotten(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.vouch()
        await make_forgotten(registry, "node-a")
        await registry.heartbeat(info("node-a"), LONG_S)
        assert await is_whole(registry) == (False, False)

    async def test_begins_when_a_node_has_not_told_all(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await registry.vouch()
        await registry.heartbeat(info("node-a"), LONG_S, told=False)
        assert await is_whole(registry) == (False, False)

    async def test_nobody_vouches_for_what_another_misses(self, twins):
        one, other = twins
        await one.heartbeat(info("node-a"), LONG_S)
        await one.vouch()
        await empty(one)
        await one.heartbeat(info("node-a"), LONG_S)
        await other.heartbeat(info("node-new"), LONG_S)
        await other.vouch()
        assert await is_whole(other) == (False, False)

    async def test_ends_when_the_others_have_had_the_time_of_a_lease(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await empty(registry)

        async def ended():
            await registry.heartbeat(info("node-a"), 0.3)
            return await is_whole(registry) == (True, True)

        await eventually(ended, "the end of the mending")

    async def test_does_not_begin_with_a_lease_that_had_run_out(self, registry):
        await registry.heartbeat(info("node-a"), 0.2)
        await registry.vouch()

        async def ended():
            return (await registry.listing()).live == []

        await eventually(ended, "the end of the lease")
        await registry.heartbeat(info("node-a"), LONG_S)
        assert await is_whole(registry) == (True, True)


async def nodes_of(registry: Registry, *groups: str) -> list[list[str]]:
    """Return the nodes that have members of each group."""
    _, found = await registry.look_up_groups(groups)
    return [sorted(nodes) for nodes in found]


async def in_groups(registry: Registry, owner: Owner, *groups: str, generation: int = 0) -> set[str]:
    """Claim an id for a session that has joined groups; return which ones it is in."""
    claimed = Claim("c", owner, generation, groups=frozenset(groups))
    (answer,) = await registry.claim([claimed])
    return set(answer.groups)


class TestGroups:
    async def test_nodes_with_members_are_found_in_the_order_asked(self, registry):
        await registry.mark([Mark("g", "node-a", 1, True), Mark("g", "node-b", 1, True)])
        await registry.mark([Mark("h", "node-b", 2, True)])
        assert await nodes_of(registry, "h", "nobody", "g") == [["node-b"], [], ["node-a", "node-b"]]

    async def test_nodes_are_listed_beside(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        listing, groups = await registry.look_up_groups([])
        assert (list(listing.live), list(groups)) == (["node-a"], [])
        assert (await registry.look_up_groups(["g"])).listing == await registry.listing()

    async def test_node_without_members_any_more_is_not_found_and_the_others_are(self, registry):
        await registry.mark([Mark("g", "node-a", 1, True), Mark("g", "node-b", 1, True)])
        await registry.mark([Mark("g", "node-a", 2, False)])
        assert await nodes_of(registry, "g") == [["node-b"]]
        await registry.mark([Mark("g", "node-b", 2, False)])
        assert await nodes_of(registry, "g") == [[]]

    async def test_mark_that_comes_late_changes_nothing(self, registry):
        await registry.mark([Mark("g", "node-a", 2, True)])
        await registry.mark([Mark("g", "node-a", 1, False)])
        assert await nodes_of(registry, "g") == [["node-a"]]

    async def test_marking_again_changes_nothing(self, registry):
        await registry.mark([Mark("g", "node-a", 1, True)])
        await registry.mark([Mark("g", "node-a", 2, True)])
        assert await nodes_of(registry, "g") == [["node-a"]]

    async def test_marking_nothing(self, registry):
        await registry.mark([])

    async def test_names_that_look_alike_are_two(self, registry):
        names = ["g", "g ", "g\n", "g\x1f", "g}", "{g}", "g%20", "Ä", "😀" * 32]
        await registry.mark([Mark(name, f"node-{n}", 1, True) for n, name in enumerate(names)])
        assert await nodes_of(registry, *names) == [[f"node-{n}"] for n in range(len(names))]

    async def test_emptied_registry_finds_nobody_and_is_not_whole(self, registry):
        await registry.vouch()
        await registry.mark([Mark("g", "node-a", 1, True)])
        await empty(registry)
        listing, groups = await registry.look_up_groups(["g"])
        assert [list(nodes) for nodes in groups] == [[]]
        assert listing.whole == isinstance(registry, MemoryRegistry)


class TestJoinedGroups:
    async def test_newer_session_is_in_the_groups_of_the_one_before(self, registry):
        assert await in_groups(registry, A, "g", "h h") == {"g", "h h"}
        assert await in_groups(registry, B) == {"g", "h h"}
        assert await in_groups(registry, C, "i", "g") == {"g", "h h", "i"}

    async def test_session_that_asserts_again_is_in_those_that_it_says(self, registry):
        claimed = await claim(registry, "c", A)
        assert await in_groups(registry, A, "g", generation=claimed.generation) == {"g"}
        assert await in_groups(registry, A, generation=claimed.generation) == set()
        assert await in_groups(registry, B) == set()

    async def test_they_are_kept_for_a_while_after_the_connection(self, registry):
        await in_groups(registry, A, "g")
        await registry.release([Release("c", A, None, rejoin_s=LONG_S)])
        assert await owner_of(registry, "c") is None
        assert await in_groups(registry, B) == {"g"}

    @pytest.mark.parametrize("user", [None, ALICE])
    async def test_and_no_longer(self, registry, user):
        await registry.claim([Claim("c", A, user=user, groups=frozenset({"g"}))])
        await registry.release([Release("c", A, user)])
        (claimed,) = await registry.claim([Claim("c", B)])
        assert (claimed.groups, claimed.user) == (frozenset(), user)

    async def test_the_while_ends(self, registry):
        conns = [f"c{number}" for number in range(1500)]
        await registry.claim([Claim(conn, A, user=ALICE, groups=frozenset({"g"})) for conn in conns])
        await registry.release([Release(conn, A, ALICE, rejoin_s=1) for conn in conns])

        async def given_up() -> bool:
            (claimed,) = await registry.claim([Claim(conns.pop(), B)])
            assert claimed.user == ALICE
            return not claimed.groups

        await eventually(given_up, "the groups to be given up")

    async def test_late_release_does_not_take_them_from_the_newer_session(self, registry):
        await in_groups(registry, A, "g")
        await in_groups(registry, B)
        await registry.release([Release("c", A, None)])
        assert await in_groups(registry, C) == {"g"}

    async def test_refused_claim_is_in_none_and_changes_nothing(self, registry):
        first = await claim(registry, "c", A)
        await in_groups(registry, B, "g")
        assert await in_groups(registry, A, "h", generation=first.generation) == set()
        assert await in_groups(registry, C) == {"g"}

    async def test_binding_and_description_stand_beside_them(self, registry):
        await registry.claim([Claim("c", A, user=ALICE, groups=frozenset({"g"}))])
        (known,) = await registry.describe(["c"])
        assert (known.owner, known.user) == (A, ALICE)
        await registry.release([Release("c", A, ALICE, rejoin_s=LONG_S)])
        (known,) = await registry.describe(["c"])
        assert (known.owner, known.user) == (None, ALICE)


async def is_whole(registry: Registry) -> tuple[bool, bool]:
    """Say what a look-up and the list of nodes say."""
    return (await registry.look_up(["c"], [])).whole, (await registry.listing()).whole


class TestWhetherItIsWhole:
    async def test_emptied_registry_is_not(self, registry):
        await registry.heartbeat(info("node-a"), LONG_S)
        await empty(registry)
        assert await registry.heartbeat(info("node-a"), LONG_S) is False
        assert await registry.heartbeat(info("node-a"), LONG_S) is True

    async def test_registry_is_not_after_the_lease_had_run_out(self, registry):
        await registry.heartbeat(info("node-a"), 0.2)

        async def ended():
            return (await registry.listing()).live == []

        await eventually(ended, "the end of the lease")
        assert await registry.heartbeat(info("node-a"), LONG_S) is False
        assert await registry.heartbeat(info("node-a"), LONG_S) is True

    async def test_registry_is_not_that_holds_another_beat_than_the_last(self, twins):
        one, other = twins
        await one.heartbeat(info("node-a"), LONG_S)
        assert await one.heartbeat(info("node-a"), LONG_S) is True
        await other.heartbeat(info("node-a"), LONG_S)
        assert await one.heartbeat(info("node-a"), LONG_S) is False
        assert await one.heartbeat(info("node-a"), LONG_S) is True

    async def test_beats_of_other_nodes_do_not_matter(self, twins):
        one, other = twins
        await one.heartbeat(info("node-a"), LONG_S)
        await other.heartbeat(info("node-b"), LONG_S)
        assert await one.heartbeat(info("node-a"), LONG_S) is True
        assert await other.heartbeat(info("node-b"), LONG_S) is True


conns = st.text("abzAZ019._~:-", min_size=1, max_size=128)
ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
    st.text(":%{}\x1f\n\0 @*!0aü␟", min_size=1, max_size=6),
    st.integers(min_value=1),
).filter(lambda value: str(value) != "0" and len(str(value)) <= 128)
users = st.builds(User, ids, st.none() | ids, st.none() | ids, st.none() | ids)
owners = st.builds(Owner, st.text("abz019._-", min_size=1, max_size=20), st.integers(1, 10**9).map(str))


class TestKeys:
    @given(st.dictionaries(conns, st.tuples(owners, st.none() | users), min_size=1, max_size=8))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_no_id_and_no_user_is_taken_for_another(self, make_registry, held):
        registry = make_registry(unique())
        try:
            await registry.claim([Claim(conn, owner, 0, user) for conn, (owner, user) in held.items()])
            await check_all(registry, held)
        finally:
            await registry.close()

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (User("1", "2"), User("1:2")),
            (User("1", None, "2"), User("1", "2")),
            (User("1:2", "3"), User("1", "2:3")),
            (User("1%3A2"), User("1:2")),
            (User("a", "b}"), User("a}", "b")),
            (User("ä"), User("a\u0308")),
        ],
    )
    async def test_users_that_look_alike_are_two(self, registry, one, other):
        await claim(registry, "c", A, user=one)
        assert await connections_of(registry, other) == []
        assert [c.conn for c in await connections_of(registry, one)] == ["c"]

    async def test_number_and_its_text_are_one_user(self, registry):
        await claim(registry, "c", A, user=User(1001, 7))
        assert [c.conn for c in await connections_of(registry, User("1001", "7"))] == ["c"]


async def check_all(registry: Registry, held: dict[str, tuple[Owner, User | None]]) -> None:
    of_user: dict[str, list[UserConnection]] = {}
    for conn, (owner, user) in held.items():
        if user is not None:
            of_user.setdefault(user.key, []).append(UserConnection(conn, owner, user.from_type))
    found = await registry.look_up(list(held), list(of_user))
    assert found[:2] == ([owner for owner, _ in held.values()], list(of_user.values()))
    described = await registry.describe(list(held))
    assert [known.user for known in described] == [user for _, user in held.values()]
