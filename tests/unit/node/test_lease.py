"""A node's lease: what is told to the registry, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from sanic_ws.core.flights import Listing
from sanic_ws.errors import BrokerUnavailable, RegistryUnavailable
from sanic_ws.node.lease import Lease
from tests.integration.peers import eventually

ME, OTHER = "node-me", "node-other"


class World:
    """The registry, the connections and the other nodes, all in one; `log` is what happened, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.live: list[str] = []
        self.answering = {ME}
        self.whole = False
        self.remembers = True
        self.away = False
        self.can_tell = True
        self.broker_away = False

    # The registry

    async def heartbeat(self, info, lease_s, *, told=True):
        if self.away:
            raise RegistryUnavailable("away")
        self.log.append("beat" if told else "beat, owing")
        known = self.remembers and ME in self.live
        self.remembers = True
        self.live = [*{*self.live, ME}]
        return known

    async def listing(self):
        if self.away:
            raise RegistryUnavailable("away")
        return Listing(self.live, whole=self.whole)

    async def vouch(self):
        self.log.append("vouched")
        self.whole = True

    # The connections

    owes = False

    async def assert_all(self):
        self.log.append("asserted" if self.can_tell else "not asserted")
        return self.can_tell

    async def sweep(self, elapsed_s):
        self.log.append("swept")

    # The dispatcher

    def learn(self, listing):
        pass

    async def call_roll(self):
        self.log.append("roll called")
        await asyncio.sleep(0)
        if self.broker_away:
            raise BrokerUnavailable("away")
        return self.answering | set(self.live)

    def seen(self, *what: str) -> bool:
        """Say whether these happened, in this order."""
        log = iter(self.log)
        return all(one in log for one in what)


@pytest.fixture
def world():
    return World()


@pytest.fixture
async def lease(world):
    """The lease, not started yet."""
    lease = Lease(world, world, world, lambda: None, 0.3)
    yield lease
    await lease.stop()


async def until(world, *what: str) -> None:
    await eventually(lambda: world.seen(*what), str(what))


async def test_first_node_of_a_cluster_makes_the_registry_whole_and_runs_only_then(world, lease):
    world.broker_away = True
    lease.start()
    await until(world, "beat", "roll called", "roll called")
    assert not lease.runs
    world.broker_away = False
    await until(world, "vouched")
    await eventually(lambda: lease.runs, "the lease to run")


async def test_new_node_does_not_run_before_it_knows_who_else_is_there(world, lease):
    learned = []
    world.whole = True
    world.learn = lambda listing: learned.append((listing.live, lease.runs))
    lease.start()
    await eventually(lambda: lease.runs, "the lease to run")
    assert learned[0] == ([ME], False)


async def test_nobody_vouches_while_a_node_answers_that_is_not_listed(world, lease):
    world.answering = {ME, OTHER}
    lease.start()
    await until(world, "roll called", "roll called")
    assert "vouched" not in world.log
    world.live.append(OTHER)
    await until(world, "vouched")


async def test_no_roll_is_called_where_the_registry_is_whole(world, lease):
    world.whole = True
    lease.start()
    await until(world, "beat", "beat")
    assert "roll called" not in world.log


async def test_nor_by_a_node_that_has_been_there(world, lease):
    lease.start()
    await until(world, "vouched", "swept")
    world.whole, calls = False, world.log.count("roll called")
    await until(world, "vouched", "beat", "beat", "beat")
    assert world.log.count("roll called") == calls


async def test_what_was_lost_is_asserted_again(world, lease):
    world.whole = True
    lease.start()
    await until(world, "beat", "asserted", "beat", "swept")
    world.remembers, world.log = False, []
    await until(world, "beat", "asserted", "beat", "swept")


async def test_beats_say_what_is_owed_until_all_is_told(world, lease):
    world.whole, world.can_tell = True, False
    lease.start()
    await until(world, "beat", "not asserted", "beat, owing", "not asserted")
    world.can_tell = True
    await until(world, "asserted", "beat", "swept")


async def test_node_that_nobody_believed_in_tells_what_it_holds_before_it_lists_itself(world, lease):
    world.whole = True
    lease.start()
    await until(world, "swept")
    world.away = True
    await eventually(lambda: not lease.runs, "the lease to end")
    world.live, world.away, world.log = [], False, []
    await eventually(lambda: lease.runs, "the lease to run again")
    assert world.log[:2] == ["asserted", "beat"]


async def test_node_that_is_away_from_the_registry_is_not_believed_for_longer_than_its_lease(world, lease):
    lease.start()
    await eventually(lambda: lease.runs, "the lease to run")
    world.away = True
    await eventually(lambda: not lease.runs, "the lease to end")
