"""Calls of back ends: what is pushed, what is answered, and what is not pushed again."""

import json

import pytest

from sanic_ws.broker import Call
from sanic_ws.broker.memory import MemoryBroker
from sanic_ws.core.histograms import SECONDS, Histogram
from sanic_ws.core.outcomes import Outcome, Route
from sanic_ws.errors import Unroutable
from sanic_ws.node import Node
from sanic_ws.node.calls import Calls
from sanic_ws.settings import read_settings
from tests.integration.peers import unique

PUSH = {"to": {"conn": "c"}, "type": "t", "data": 1, "id": "p-1"}


class FakeDispatcher:
    """Delivers everything at once."""

    def __init__(self) -> None:
        self.pushes = []
        self.receipt_s = Histogram(SECONDS)

    def submit(self, pushes, *, stored=False):
        for push in pushes:
            self.pushes.append(push)
            push.open = len(push.targets)
            for _ in push.targets:
                push.add("c", "n", Route.LOCAL, Outcome.DELIVERED, push.started)
                push.settle()


@pytest.fixture
def dispatcher():
    return FakeDispatcher()


@pytest.fixture
def answer(dispatcher):
    calls = Calls(dispatcher, 1024)

    async def answer(value, **properties):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        answered = await calls.answer(Call(body, **properties))
        return None if answered is None else json.loads(answered)

    return answer


async def test_push_gets_its_receipt(answer, dispatcher):
    receipt = await answer(PUSH)
    assert (receipt["id"], receipt["outcome"]) == ("p-1", "delivered")
    assert len(dispatcher.pushes) == 1


async def test_redelivered_is_unknown_and_not_pushed(answer, dispatcher):
    push = {name: value for name, value in PUSH.items() if name != "id"}
    answered = await answer(push, redelivered=True)
    assert (answered["outcome"], answered["counts"]) == ("unknown", {"unknown": 1})
    several = {**push, "to": {"conns": ["a", "b"]}}
    answered = await answer({"pushes": [push, several]}, redelivered=True)
    assert [r["counts"] for r in answered["receipts"]] == [{"unknown": 1}, {"unknown": 2}]
    assert dispatcher.pushes == []


async def test_redelivered_with_an_id_is_pushed_again(answer, dispatcher):
    assert (await answer(PUSH, redelivered=True))["outcome"] == "delivered"
    without = {name: value for name, value in PUSH.items() if name != "id"}
    quiet = {**PUSH, "id": "p-3", "wait": "none"}
    answered = await answer({"pushes": [without, PUSH, quiet, without]}, redelivered=True)
    outcomes = [receipt["outcome"] for receipt in answered["receipts"]]
    assert outcomes == ["unknown", "delivered", "unknown", "unknown"]
    assert [push.id for push in dispatcher.pushes] == ["p-1", "p-1", "p-3"]


async def test_calls_are_counted():
    calls = Calls(FakeDispatcher(), 1024)
    for body, answered in ((json.dumps(PUSH).encode(), True), (b"junk", True), (b"junk", False)):
        await calls.answer(Call(body, answered=answered))
    assert calls.outcomes == {"answered": 1, "failed": 1, "set_aside": 1}


async def test_error_is_the_same_when_redelivered(answer):
    once, again = await answer({**PUSH, "to": 1}), await answer({**PUSH, "to": 1}, redelivered=True)
    assert once == again
    assert once["error"]["field"] == "to"


@pytest.mark.parametrize(("given", "expires_s", "lasts_s"), [(None, 0.5, 0.5), (300, 0.5, 0.3), (None, 9, 2)])
async def test_push_lasts_no_longer_than_its_call(answer, dispatcher, given, expires_s, lasts_s):
    await answer({**PUSH, "timeout_ms": given}, expires_s=expires_s)
    (push,) = dispatcher.pushes
    assert push.deadline - push.started == pytest.approx(lasts_s)


@pytest.mark.parametrize("body", [b"junk", {"to": 1}, {**PUSH, "data": "x" * 2000}])
async def test_error_that_nobody_waits_for_is_set_aside(answer, dispatcher, body):
    assert await answer(body, answered=False) is None
    assert dispatcher.pushes == []


async def test_push_that_nobody_waits_for_is_made(answer, dispatcher):
    assert await answer(PUSH, answered=False) is not None
    assert len(dispatcher.pushes) == 1


async def test_node_on_embedded_backends_takes_calls_until_it_leaves():
    node = Node(read_settings("dev", prefix=unique(), drain_s=0))
    await node.start()
    back_ends = MemoryBroker("memory://", node.settings.prefix).back_ends
    answer = await back_ends.call(Call(json.dumps(PUSH).encode()))
    assert json.loads(answer)["outcome"] == "offline"
    assert await back_ends.call(Call(b"junk", answered=False)) is None
    assert node.set_aside == 1
    await node.drain()
    with pytest.raises(Unroutable):
        await back_ends.call(Call(json.dumps(PUSH).encode()))
    assert not node.ready
    await node.stop()


async def test_fault_of_ours_is_answered_without_telling_of_it(answer, dispatcher, monkeypatch, caplog):
    def fail(_, **__):
        raise RuntimeError("of ours")

    monkeypatch.setattr(dispatcher, "submit", fail)
    error = (await answer(PUSH))["error"]
    assert error["code"] == "internal_error"
    assert "of ours" not in error["message"]
    assert "call failed error=RuntimeError" in caplog.text
    assert "of ours" not in caplog.text
