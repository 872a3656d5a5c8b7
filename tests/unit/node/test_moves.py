"""Other nodes are told that connections have moved: together, until they hear it, and not for ever."""

import asyncio

import pytest

from sanic_ws.core.batch import decode_batch
from sanic_ws.core.flights import Owner
from sanic_ws.errors import Unroutable
from sanic_ws.node import moves as module
from sanic_ws.node.moves import MOST, Moves
from tests.integration.peers import eventually


class FakeBroker:
    """Refuses a number of messages for each node, then takes all; `held` keeps them under way."""

    def __init__(self, refusals=0):
        self.refusals = refusals
        self.attempts = 0
        self.told: dict[str, list[list[str]]] = {}
        self.held = asyncio.Event()
        self.held.set()

    async def send(self, node, body, ttl_ms):
        self.attempts += 1
        await self.held.wait()
        if self.refusals:
            self.refusals -= 1
            raise Unroutable(node)
        self.told.setdefault(node, []).append(decode_batch(body).targets)


async def settled(moves):
    await eventually(lambda: not moves.tasks, "everything to be told")


async def test_thousands_that_moved_from_one_node_are_told_in_few_messages():
    broker = FakeBroker()
    moves = Moves(broker)
    for number in range(3 * MOST):
        moves.add(f"c{number}", Owner("dead", str(number)))
    await settled(moves)
    assert [len(batch) for batch in broker.told["dead"]] == [MOST] * 3
    assert len({target for batch in broker.told["dead"] for target in batch}) == 3 * MOST


async def test_node_that_cannot_be_reached_at_first_is_told_all_once():
    broker = FakeBroker(refusals=3)
    moves = Moves(broker)
    for number in range(10):
        moves.add(f"c{number}", Owner("n", "1"))
    await settled(moves)
    assert broker.attempts == 4
    (batch,) = broker.told["n"]
    assert len(batch) == 10


async def test_what_comes_while_a_message_is_under_way_goes_into_the_next():
    broker = FakeBroker()
    broker.held.clear()
    moves = Moves(broker)
    moves.add("c1", Owner("n", "1"))
    await eventually(lambda: broker.attempts == 1, "the first message")
    moves.add("c2", Owner("n", "1"))
    moves.add("c3", Owner("n", "1"))
    broker.held.set()
    await settled(moves)
    assert [len(batch) for batch in broker.told["n"]] == [1, 2]


async def test_nodes_do_not_wait_for_each_other():
    broker = FakeBroker(refusals=1)
    moves = Moves(broker)
    moves.add("c1", Owner("away", "1"))
    moves.add("c2", Owner("there", "1"))
    await settled(moves)
    assert set(broker.told) == {"away", "there"}


async def test_node_that_stays_away_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(module, "TELL_S", 0.1)
    caplog.set_level("DEBUG", "sanic_ws.node")
    broker = FakeBroker(refusals=10_000)
    moves = Moves(broker)
    for number in range(5):
        moves.add(f"c{number}", Owner("dead", "1"))
    await settled(moves)
    assert not broker.told
    assert broker.attempts > 1
    assert "connections=5" in caplog.text


@pytest.mark.parametrize("refusals", [0, 2])
async def test_a_node_may_be_told_again_after_all_was_told(refusals):
    broker = FakeBroker()
    moves = Moves(broker)
    moves.add("c1", Owner("n", "1"))
    await settled(moves)
    broker.refusals = refusals
    moves.add("c2", Owner("n", "1"))
    await settled(moves)
    assert [len(batch) for batch in broker.told["n"]] == [1, 1]
