"""An id that is bound to one user is not given to another, and whoever has it keeps it."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from sanic_ws.core.flights import Owner
from sanic_ws.core.groups import NO_GROUPS, Change, Groups
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.outcomes import Answer as NodeAnswer
from sanic_ws.errors import IdentityTaken, RegistryUnavailable
from sanic_ws.node.membership import Membership
from sanic_ws.registry.memory import MemoryRegistry
from tests.integration.peers import eventually, unique


class Answer:
    """What a registry says of a claim: a class of our own, as long as not every registry says `taken`."""

    generation, before, missing, accepted, groups = 1, None, False, False, frozenset()

    def __init__(self, user):
        self.user, self.taken = user, True


class BindingRegistry(MemoryRegistry):
    """Says of some ids that they are another's."""

    def __init__(self):
        super().__init__("memory://", unique())
        self.bound: dict[str, User] = {}
        self.away = False
        self.before_claim = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def claim(self, claims):
        await self.gate.wait()
        if self.away:
            raise RegistryUnavailable("away")
        self.before_claim()
        bound = [self.bound.get(claim.conn) for claim in claims]
        accepted = await super().claim([c for c, user in zip(claims, bound, strict=True) if user is None])
        rest = iter(accepted)
        return [next(rest) if user is None else Answer(user) for user in bound]

    async def mark(self, marks):
        if self.away:
            raise RegistryUnavailable("away")
        await super().mark(marks)


class Socket:
    def __init__(self, conn, session, user=None):
        self.conn, self.session, self.user = conn, session, user
        self.groups = NO_GROUPS
        self.opened, self.generation, self.left, self.writable = False, 0, False, True
        self.frames, self.closed = [], []
        self.began = time.monotonic()

    def write(self, frame):
        self.frames.append(json.loads(frame[frame.index(b"{") :]))
        return True

    def close(self, code, reason=""):
        self.left = True
        self.closed.append(code)


@pytest.fixture
def registry():
    return BindingRegistry()


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def membership(hub, registry):
    return Membership("node", hub, registry, None, rejoin_s=60.0)


async def test_another_user_does_not_get_the_id_of_a_connection_here(membership, hub, registry):
    victim, other = Socket("c", "1", User(1)), Socket("c", "2", User(2))
    await membership.join(victim)
    with pytest.raises(IdentityTaken):
        await membership.join(other)
    assert hub.get("c") is victim
    assert (victim.closed, hub.of_user(User(2))) == ([], [])
    (info,) = await registry.describe(["c"])
    assert (info.owner.session, info.user) == ("1", User(1))


async def test_nor_while_the_registry_is_away(membership, hub, registry):
    registry.away = True
    victim, other = Socket("c", "1", User(1)), Socket("c", "2", User(2))
    await membership.join(victim)
    with pytest.raises(IdentityTaken):
        await membership.join(other)
    assert hub.get("c") is victim


@pytest.mark.parametrize("newcomer", [User(1), User(1, from_type="phone"), None])
async def test_the_same_user_does(membership, hub, newcomer):
    old, new = Socket("c", "1", User(1)), Socket("c", "2", newcomer)
    await membership.join(old)
    await membership.join(new)
    assert hub.get("c") is new
    assert old.closed == [4409]
    assert new.user.key == User(1).key


async def test_id_that_the_registry_knows_as_anothers_is_refused(membership, hub, registry):
    registry.bound["c"] = User(1)
    newcomer = Socket("c", "1", User(2))
    with pytest.raises(IdentityTaken):
        await membership.join(newcomer)
    assert (len(hub), hub.of_user(User(2)), newcomer.closed) == (0, [], [])


async def test_who_was_here_is_back_after_the_registry_refused(membership, hub, registry):
    victim, other = Socket("c", "1"), Socket("c", "2", User(2))
    await membership.join(victim)
    turns = iter([{"c": User(1)}, {}])
    registry.before_claim = lambda: setattr(registry, "bound", next(turns))
    with pytest.raises(IdentityTaken):
        await membership.join(other)
    assert hub.get("c") is victim
    assert victim.closed == []


async def test_who_left_meanwhile_is_not_put_back(membership, hub, registry):
    victim, other = Socket("c", "1"), Socket("c", "2", User(2))
    await membership.join(victim)

    def leave():
        victim.left = True
        membership.leave(victim)
        registry.bound["c"] = User(1)

    registry.before_claim = leave
    with pytest.raises(IdentityTaken):
        await membership.join(other)
    assert len(hub) == 0


async def test_who_was_let_in_without_the_registry_goes_when_it_is_back(membership, hub, registry):
    registry.away = True
    newcomer = Socket("c", "1", User(2))
    await membership.join(newcomer)
    assert hub.get("c") is newcomer
    registry.away = False
    registry.bound["c"] = User(1)
    await membership.assert_again(newcomer)
    assert newcomer.frames[0]["data"]["code"] == "identity_taken"
    assert (newcomer.closed, len(hub)) == ([1008], 0)


async def test_client_that_does_not_wait_for_its_connection_leaves_the_id_to_whom_it_replaced(
    membership, hub, registry
):
    first, hasty = Socket("c", "1"), Socket("c", "2")
    await membership.join(first)
    registry.gate.clear()
    joining = asyncio.create_task(membership.join(hasty))
    await eventually(lambda: hub.get("c") is hasty, "the newcomer to be taken in")
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    registry.gate.set()

    async def is_firsts():
        owners, *_ = await registry.look_up(["c"], [])
        return hub.get("c") is first and owners == [Owner("node", "1")]

    await membership.assert_again(first)
    await membership.close()
    assert await is_firsts()
    assert first.closed == []


async def test_client_that_does_not_wait_leaves_nothing_where_nobody_was_replaced(membership, hub, registry):
    registry.gate.clear()
    joining = asyncio.create_task(membership.join(Socket("c", "1")))
    await eventually(lambda: hub.get("c") is not None, "the newcomer to be taken in")
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    registry.gate.set()

    async def is_nobodys():
        return hub.get("c") is None and (await registry.look_up(["c"], [])).owners == [None]

    await eventually(is_nobodys, "the id to be free")


async def nodes_of(registry, group):
    return list((await registry.look_up_groups([group])).nodes[0])


async def test_change_of_groups_is_in_the_registry_when_it_returns(membership, hub, registry):
    await membership.join(socket := opened("c", "1"))
    assert await membership.change_group(Change("c", "g", joins=True)) is NodeAnswer.DELIVERED
    assert await nodes_of(registry, "g") == ["node"]
    assert await membership.change_group(Change("c", "g", joins=False)) is NodeAnswer.DELIVERED
    assert await nodes_of(registry, "g") == []
    assert socket.groups == NO_GROUPS


async def test_group_that_the_registry_cannot_be_told_of_is_not_joined(membership, hub, registry):
    await membership.join(socket := opened("c", "1"))
    registry.away = True
    assert await membership.change_group(Change("c", "g", joins=True)) is NodeAnswer.NOT_YET
    assert (socket.groups, "g" in hub.groups, membership.owes) == (NO_GROUPS, False, False)


async def test_newer_session_takes_joined_groups_over_and_granted_ones_not(membership, hub, registry):
    first, second = opened("c", "1"), opened("c", "2")
    first.groups = Groups(granted=frozenset({"token"}))
    await membership.join(first)
    await membership.change_group(Change("c", "g", joins=True))
    assert await nodes_of(registry, "token") == ["node"]
    await membership.join(second)
    assert second.groups == Groups(frozenset({"g"}))
    await membership.close()
    assert (await nodes_of(registry, "g"), await nodes_of(registry, "token")) == (["node"], [])


async def test_connection_that_comes_back_elsewhere_has_its_groups(membership, registry, hub):
    other = Membership("other", Hub(), registry, None)
    await membership.join(socket := opened("c", "1"))
    await membership.change_group(Change("c", "g", joins=True))
    membership.leave(socket)
    await membership.close()
    await other.join(again := opened("c", "1"))
    assert again.groups == Groups(frozenset({"g"}))
    assert await nodes_of(registry, "g") == ["other"]


async def test_client_that_does_not_wait_leaves_its_groups_to_whom_comes_next(membership, hub, registry):
    await membership.join(socket := opened("c", "1"))
    await membership.change_group(Change("c", "g", joins=True))
    membership.leave(socket)
    registry.gate.clear()
    joining = asyncio.create_task(membership.join(opened("c", "2")))
    await eventually(lambda: hub.get("c") is not None, "the newcomer to be taken in")
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    registry.gate.set()
    await eventually(lambda: hub.get("c") is None, "the newcomer to be gone")
    await membership.close()
    await membership.join(again := opened("c", "3"))
    assert again.groups == Groups(frozenset({"g"}))


async def test_what_was_left_before_the_first_claim_was_answered_is_not_joined_again(membership, registry):
    await membership.join(socket := opened("c", "1"))
    await membership.change_group(Change("c", "g", joins=True))
    registry.gate.clear()
    claiming = asyncio.create_task(membership.assert_again(socket))
    await asyncio.wait([claiming], timeout=0)
    leaving = asyncio.create_task(membership.change_group(Change("c", "g", joins=False)))
    await asyncio.wait([leaving], timeout=0)
    registry.gate.set()
    await asyncio.gather(claiming, leaving)
    assert socket.groups == NO_GROUPS


async def test_granted_groups_are_owed_while_the_registry_is_away(membership, hub, registry):
    registry.away = True
    socket = opened("c", "1")
    socket.groups = Groups(granted=frozenset({"g"}))
    await membership.join(socket)
    assert ("g" in hub.groups, membership.owes) == (True, True)
    registry.away = False
    await membership.sweep(1)
    assert (await nodes_of(registry, "g"), membership.owes) == (["node"], False)
    await membership.grant(socket, frozenset({"h"}))
    await membership.close()
    assert (await nodes_of(registry, "g"), await nodes_of(registry, "h")) == ([], ["node"])


def opened(conn, session):
    socket = Socket(conn, session)
    socket.opened = True
    return socket
