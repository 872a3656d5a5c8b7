"""What every registry promises of those who leave and may come back."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from sanic_ws.core.flights import Owner
from sanic_ws.core.identity import User
from sanic_ws.registry import Claim, Gone, Registry, Release
from sanic_ws.registry.port import USER_CONNECTIONS
from tests.contract.test_registry import (
    ALICE,
    BOB,
    LONG_S,
    A,
    B,
    MakeRegistry,
    claim,
    connections_of,
    empty,
    info,
    make_registry,
    owner_of,
)
from tests.integration.peers import eventually, unique

__all__ = ["make_registry"]

CLOSED, OFFLINE = "closed", "offline"


@pytest.fixture
async def twins(make_registry: MakeRegistry) -> AsyncIterator[tuple[Registry, Registry]]:
    """Two that share what they hold, which is whole: until then nobody is called gone."""
    name = unique()
    one, other = make_registry(name), make_registry(name)
    await one.vouch()
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture
def registry(twins: tuple[Registry, Registry]) -> Registry:
    return twins[0]


async def leave(
    registry: Registry, conn: str, owner: Owner, user: User | None = None, grace_s: float = 0, **more
):
    await registry.release([Release(conn, owner, user, grace_s=grace_s, **more)])


async def gone(registry: Registry) -> list[tuple[str, str, str | None]]:
    """Return what is gone now, as events would tell it."""
    told = []
    for one in await registry.absences.end():
        who = None if one.user is None else one.user.key
        told += [(CLOSED, one.conn, who)] if one.closed else []
        told += [(OFFLINE, one.conn, who)] if one.offline else []
    return sorted(told)


class TestComing:
    async def test_new_connection_has_appeared_and_is_its_users_first(self, registry):
        claimed = await claim(registry, "c", A, user=ALICE)
        assert (claimed.appeared, claimed.first) == (True, True)

    async def test_anonymous_one_is_nobodys_first(self, registry):
        claimed = await claim(registry, "c", A)
        assert (claimed.appeared, claimed.first) == (True, False)

    async def test_second_device_is_not_the_first(self, registry):
        await claim(registry, "c1", A, user=ALICE)
        claimed = await claim(registry, "c2", B, user=ALICE)
        assert (claimed.appeared, claimed.first) == (True, False)

    async def test_takeover_and_assertion_are_no_appearance(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        again = await claim(registry, "c", A, first.generation, ALICE)
        taken = await claim(registry, "c", B, user=ALICE)
        assert [(c.appeared, c.first) for c in (again, taken)] == [(False, False)] * 2

    async def test_what_an_emptied_registry_is_told_anew_is_none_either(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await empty(registry)
        again = await claim(registry, "c", A, first.generation, ALICE)
        assert (again.missing, again.appeared, again.first) == (True, False, False)

    async def test_binding_later_makes_the_user_come_once(self, registry):
        first = await claim(registry, "c", A)
        bound = await claim(registry, "c", A, first.generation, ALICE)
        again = await claim(registry, "c", A, first.generation, ALICE)
        assert [(c.appeared, c.first) for c in (bound, again)] == [(False, True), (False, False)]

    async def test_refused_claims_tell_nothing(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await claim(registry, "c", B, user=ALICE)
        for refused in (
            await claim(registry, "c", A, first.generation, ALICE),
            await claim(registry, "c", A, user=BOB),
        ):
            assert (refused.accepted, refused.appeared, refused.first) == (False, False, False)


class TestGoing:
    async def test_without_a_grace_nobody_is_told(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE)])
        assert await gone(registry) == []

    @pytest.mark.parametrize("user", [None, ALICE])
    async def test_absent_connection_is_found_by_nobody(self, registry, user):
        await claim(registry, "c", A, user=user)
        await leave(registry, "c", A, user, LONG_S)
        assert await owner_of(registry, "c") is None
        assert await connections_of(registry, ALICE) == []
        (found,) = await registry.describe(["c"])
        assert found is None or (found.owner, found.user) == (None, user)
        assert await gone(registry) == []

    async def test_after_the_grace_it_is_gone_once(self, twins):
        one, other = twins
        await claim(one, "c", A, user=ALICE)
        await leave(one, "c", A, ALICE)
        assert await one.absences.end() == [Gone("c", A, ALICE, closed=True, offline=True)]
        assert await gone(other) == []
        assert await gone(one) == []

    async def test_two_nodes_that_look_at_once_are_told_of_each_once(self, twins):
        one, other = twins
        conns = [f"c{n}" for n in range(50)]
        await one.claim([Claim(conn, A) for conn in conns])
        await one.release([Release(conn, A, None, grace_s=0) for conn in conns])
        told = await asyncio.gather(gone(one), gone(other))
        assert sorted(itertools.chain(*told)) == sorted((CLOSED, conn, None) for conn in conns)

    @pytest.mark.parametrize("user", [None, ALICE])
    async def test_who_comes_back_in_time_was_never_away(self, registry, user):
        await claim(registry, "c", A, user=user)
        await leave(registry, "c", A, user)
        back = await claim(registry, "c", B, user=user)
        assert (back.accepted, back.appeared, back.first, back.before) == (True, False, False, None)
        assert await gone(registry) == []
        assert await owner_of(registry, "c") == B

    async def test_who_comes_back_and_leaves_again_is_gone_once(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await leave(registry, "c", A, ALICE)
        await claim(registry, "c", B, user=ALICE)
        await leave(registry, "c", B, ALICE, LONG_S)
        assert await gone(registry) == []
        await claim(registry, "c", A, user=ALICE)
        await leave(registry, "c", A, ALICE)
        assert await gone(registry) == [(CLOSED, "c", ALICE.key), (OFFLINE, "c", ALICE.key)]

    async def test_who_comes_back_too_late_appears_anew(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await leave(registry, "c", A, ALICE)
        assert len(await gone(registry)) == 2
        back = await claim(registry, "c", B)
        assert (back.appeared, back.first, back.user) == (True, True, ALICE)

    async def test_user_is_offline_with_the_last_device(self, registry):
        for conn in ("c1", "c2"):
            await claim(registry, conn, A, user=ALICE)
        await leave(registry, "c1", A, ALICE)
        assert await gone(registry) == [(CLOSED, "c1", ALICE.key)]
        await leave(registry, "c2", A, ALICE)
        assert await gone(registry) == [(CLOSED, "c2", ALICE.key), (OFFLINE, "c2", ALICE.key)]

    async def test_late_release_of_a_replaced_session_tells_nothing(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await claim(registry, "c", B, user=ALICE)
        await leave(registry, "c", A, ALICE)
        assert await gone(registry) == []
        assert await connections_of(registry, ALICE)

    async def test_connection_that_is_bound_to_another_leaves_its_user_only(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await leave(registry, "c", A, ALICE, conn_too=False)
        bound = await claim(registry, "c", A, first.generation, BOB)
        assert (bound.appeared, bound.first) == (False, True)
        assert await gone(registry) == [(OFFLINE, "c", ALICE.key)]
        assert [found.conn for found in await connections_of(registry, BOB)] == ["c"]

    async def test_and_back_again_within_the_grace_is_no_change_to_the_first(self, registry):
        first = await claim(registry, "c", A, user=ALICE)
        await leave(registry, "c", A, ALICE, conn_too=False)
        await claim(registry, "c", A, first.generation, BOB)
        await leave(registry, "c", A, BOB, conn_too=False)
        back = await claim(registry, "c", A, first.generation, ALICE)
        assert not back.first
        assert await gone(registry) == [(OFFLINE, "c", BOB.key)]

    async def test_absent_ones_make_room_in_a_full_list(self, registry):
        conns = [f"c{n}" for n in range(USER_CONNECTIONS)]
        await registry.claim([Claim(conn, A, user=ALICE) for conn in conns])
        await leave(registry, conns[-1], A, ALICE, LONG_S)
        await claim(registry, "new", A, user=ALICE)
        assert {found.conn for found in await connections_of(registry, ALICE)} == {*conns[:-1], "new"}

    async def test_emptied_registry_tells_of_nobody(self, registry):
        await claim(registry, "c", A, user=ALICE)
        await leave(registry, "c", A, ALICE)
        await empty(registry)
        assert await gone(registry) == []

    async def test_groups_are_kept_through_absence(self, registry):
        await registry.claim([Claim("c", A, groups=frozenset({"g"}))])
        await leave(registry, "c", A, rejoin_s=LONG_S)
        assert await gone(registry) == [(CLOSED, "c", None)]
        assert (await claim(registry, "c", B)).groups == {"g"}


class TestPresumedGone:
    async def test_while_nobody_wants_to_know_it_is_just_released(self, registry):
        await claim(registry, "c", A)
        await registry.release([Release("c", A, None, presumed=True)])
        assert await registry.describe(["c"]) == [None]
        assert await gone(registry) == []

    @pytest.mark.parametrize("grace_s", [0, LONG_S])
    async def test_it_is_absent_for_the_clusters_grace(self, registry, grace_s):
        await registry.absences.watch(grace_s)
        await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, None, presumed=True)])
        told = [] if grace_s else [(CLOSED, "c", ALICE.key), (OFFLINE, "c", ALICE.key)]
        assert await gone(registry) == told

    async def test_node_that_was_believed_dead_comes_back_in_time(self, registry):
        await registry.absences.watch(0)
        first = await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE, presumed=True)])
        again = await claim(registry, "c", A, first.generation, ALICE)
        assert (again.accepted, again.appeared, again.first) == (True, False, False)
        assert await gone(registry) == []

    @pytest.mark.parametrize("user", [None, ALICE])
    async def test_or_too_late_and_its_connections_appear_anew(self, registry, user):
        await registry.absences.watch(0)
        first = await claim(registry, "c", A, user=user)
        await registry.release([Release("c", A, user, presumed=True)])
        assert (CLOSED, "c", None if user is None else user.key) in await gone(registry)
        again = await claim(registry, "c", A, first.generation, user)
        assert (again.accepted, again.appeared, again.first) == (True, True, user is not None)

    async def test_user_whose_line_alone_was_removed_comes_online_again(self, registry):
        await registry.absences.watch(0)
        first = await claim(registry, "c", A, user=ALICE)
        await registry.release([Release("c", A, ALICE, conn_too=False, presumed=True)])
        assert await gone(registry) == [(OFFLINE, "c", ALICE.key)]
        again = await claim(registry, "c", A, first.generation, ALICE)
        assert (again.appeared, again.first) == (False, True)


class TestClearing:
    async def clear(self, registry: Registry, node: str = "node-b") -> int:
        async with aclosing(registry.absences.clear(node)) as steps:
            return sum([number async for number in steps])

    async def test_what_a_dead_node_holds_is_released_once(self, twins, monkeypatch):
        monkeypatch.setattr("sanic_ws.registry.redis_presence.LAPSED_S", 0.0)
        one, other = twins
        dead, alive = Owner(unique("dead"), "1"), Owner("node-b", "1")
        await one.absences.watch(0)
        conns = [f"c{n}" for n in range(20)]
        await one.claim([Claim(conn, dead, user=ALICE) for conn in conns])
        await claim(one, "anonymous", dead)
        await claim(one, "living", alive, user=BOB)
        await one.heartbeat(info(dead.node), 0.01)
        await one.heartbeat(info(alive.node), LONG_S)

        async def lapsed() -> bool:
            return dead.node in (await one.listing()).lapsed

        await eventually(lapsed, "the lease to end")
        await one.vouch()
        assert sum(await asyncio.gather(self.clear(one), self.clear(other, "node-c"))) == 21
        assert await self.clear(other) == 0
        told = await gone(one)
        assert len([kind for kind, *_ in told if kind == CLOSED]) == 21
        assert [kind for kind, *_ in told if kind == OFFLINE] == [OFFLINE]
        assert await owner_of(one, "living") == alive

    async def test_live_and_withdrawn_nodes_are_left_alone(self, registry):
        await registry.absences.watch(0)
        for owner in (A, B):
            await claim(registry, f"c-{owner.node}", owner)
            await registry.heartbeat(info(owner.node), LONG_S)
        await registry.withdraw(B.node)
        assert await self.clear(registry) == 0
        assert await owner_of(registry, f"c-{A.node}") == A
