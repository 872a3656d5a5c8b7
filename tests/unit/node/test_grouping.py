"""What a node tells the registry of its groups, and when."""

from __future__ import annotations

import asyncio

import pytest

from sanic_ws.core.groups import Groups
from sanic_ws.core.hub import Hub
from sanic_ws.errors import RegistryUnavailable
from sanic_ws.node.grouping import Grouping
from tests.integration.peers import eventually


class World:
    """A registry that notes what it is told; `gate` keeps it waiting."""

    def __init__(self):
        self.log: list[str] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def mark(self, marks):
        await self.gate.wait()
        if self.away:
            raise RegistryUnavailable("away")
        self.log += [
            f"{'+' if mark.here else '-'}{mark.group}" for mark in sorted(marks, key=lambda m: m.group)
        ]


class Socket:
    user, opened = None, True

    def __init__(self, conn, *groups):
        self.conn, self.groups = conn, Groups(frozenset(groups))


@pytest.fixture
def world():
    return World()


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def grouping(hub, world):
    return Grouping("node", hub, world)


async def test_first_member_is_told_and_the_second_is_not(grouping, hub, world):
    for conn in ("a", "b"):
        hub.add(Socket(conn, "g"))
        assert await grouping.tell(["g"])
    assert world.log == ["+g"]


async def test_second_member_waits_until_the_registry_knows_the_first(grouping, hub, world):
    world.gate.clear()
    telling = []
    for conn in ("a", "b"):
        hub.add(Socket(conn, "g"))
        telling.append(asyncio.create_task(grouping.tell(["g"])))
    done, _ = await asyncio.wait(telling, timeout=0)
    assert not done
    world.gate.set()
    assert await asyncio.gather(*telling) == [True, True]


async def test_last_member_that_leaves_is_told_and_one_before_is_not(grouping, hub, world):
    sockets = [Socket("a", "g"), Socket("b", "g")]
    for socket in sockets:
        hub.add(socket)
    await grouping.tell(["g"])
    for socket in sockets:
        hub.remove(socket)
        grouping.note_left()
    await grouping.close()
    assert world.log == ["+g", "-g"]


async def test_whoever_comes_after_the_last_has_left_is_told_again(grouping, hub, world):
    socket = Socket("a", "g")
    for _ in range(2):
        hub.add(socket)
        assert await grouping.tell(["g"])
        hub.remove(socket)
    grouping.note_left()
    await grouping.close()
    assert world.log[-2:] == ["+g", "-g"]
    assert world.log.count("+g") == 2


async def test_round_says_how_it_is_when_it_begins(grouping, hub, world):
    socket = Socket("a", "g")
    hub.add(socket)
    world.gate.clear()
    first = asyncio.create_task(grouping.tell(["g"]))
    await asyncio.wait([first], timeout=0)
    for _ in range(3):
        hub.remove(socket)
        grouping.note_left()
        hub.add(socket)
    hub.remove(socket)
    grouping.note_left()
    world.gate.set()
    await first
    await grouping.close()
    assert world.log == ["+g", "-g"]


async def test_what_could_not_be_told_is_owed_and_told_at_the_next_sweep(grouping, hub, world):
    hub.add(Socket("a", "g"))
    world.away = True
    assert not await grouping.tell(["g"])
    assert grouping.owed == {"g"}
    world.away = False
    await grouping.sweep(1)
    assert (grouping.owed, world.log) == (set(), ["+g"])


async def test_nothing_is_owed_of_a_group_that_is_left(grouping, hub, world):
    socket = Socket("a", "g")
    hub.add(socket)
    world.away = True
    await grouping.tell(["g"])
    hub.remove(socket)
    grouping.note_left()
    await grouping.close()
    assert grouping.owed == set()


async def test_all_are_asserted_after_a_loss(grouping, hub, world):
    hub.add(Socket("a", "g", "h"))
    await grouping.tell(["g", "h"])
    assert await grouping.assert_all()
    assert world.log == ["+g", "+h"] * 2
    world.away = True
    assert not await grouping.assert_all()


async def test_sweeps_have_told_all_in_a_third_of_an_entrys_life(grouping, hub, world):
    hub.add(Socket("a", *(f"g{number}" for number in range(90))))
    for _ in range(60):
        await grouping.sweep(5)
    assert len(set(world.log)) == 90
    assert len(world.log) < 200


async def test_one_who_does_not_wait_does_no_harm(grouping, hub, world):
    hub.add(Socket("a", "g"))
    world.gate.clear()
    hasty = asyncio.create_task(grouping.tell(["g"]))
    await asyncio.wait([hasty], timeout=0)
    hasty.cancel()
    world.gate.set()
    await eventually(lambda: world.log == ["+g"], "the registry to be told")
    assert await grouping.tell(["g"])
