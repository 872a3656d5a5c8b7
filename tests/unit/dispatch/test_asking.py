"""Questions to nodes: the answers of those that answer in time."""

import asyncio

import pytest

from sanic_ws.core.batch import Reply, count_target, decode_batch, read_count
from sanic_ws.core.outcomes import Answer
from sanic_ws.dispatch.asking import FIRST, Questions
from sanic_ws.errors import Unroutable


class Broker:
    """Nodes of which one counts to three, one is gone and one is silent."""

    def __init__(self):
        self.asked = []
        self.questions = Questions(self)

    async def send(self, node, body, ttl_ms):
        batch = decode_batch(body)
        self.asked.append((node, batch.targets))
        assert batch.id >= FIRST
        if node == "gone":
            raise Unroutable(node)
        if node == "there":
            reply = Reply(batch.id, node, bytes([Answer.SEVERAL]), {0: [(int(Answer.DELIVERED), 3)]})
            asyncio.get_running_loop().call_soon(self.questions.replied, reply)


async def test_each_is_asked_once_and_who_does_not_answer_is_known():
    broker = Broker()
    answers = await broker.questions.ask(["there", "gone", "silent"], count_target("g"), 0.05)
    assert sorted(broker.asked) == [("gone", ["%g"]), ("silent", ["%g"]), ("there", ["%g"])]
    assert (answers["gone"], answers["silent"]) == (None, None)
    assert read_count(answers["there"]) == 3


async def test_late_answer_is_dropped():
    broker = Broker()
    broker.questions.replied(Reply(FIRST, "node", b"\x06"))


def test_node_that_does_not_know_the_question_has_no_count():
    assert read_count(Reply(FIRST, "node", bytes([Answer.NOT_MINE]))) is None


async def test_one_that_cannot_be_asked_is_told_apart_from_one_that_does_not_answer():
    broker = Broker()
    with pytest.raises(Unroutable):
        await broker.questions.ask_one("gone", count_target("g"), 5)
    with pytest.raises(TimeoutError):
        await broker.questions.ask_one("silent", count_target("g"), 0.01)
    assert read_count(await broker.questions.ask_one("there", count_target("g"), 5)) == 3
    assert broker.questions._open == {}
