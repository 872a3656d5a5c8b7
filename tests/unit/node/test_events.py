"""Events: in order, each at most once, and never more than there is room for."""

import asyncio
import json
import logging

import pytest

from sanic_ws.errors import BrokerLost, BrokerUnavailable
from sanic_ws.node import events as events_module
from sanic_ws.node.events import Events
from tests.integration.peers import eventually


class BackEnds:
    def __init__(self) -> None:
        self.told: list[tuple[str, dict]] = []
        self.failures: list[Exception] = []
        self.away = False

    async def publish_event(self, kind, body):
        if self.away:
            raise BrokerUnavailable("away")
        if self.failures:
            raise self.failures.pop()
        self.told.append((kind, json.loads(body)))


@pytest.fixture
def back_ends():
    return BackEnds()


@pytest.fixture
async def events(back_ends, monkeypatch):
    monkeypatch.setattr(events_module, "RETRY_S", 0.01)
    monkeypatch.setattr(events_module, "CLOSE_TIMEOUT_S", 0.1)
    return Events(back_ends)


async def test_events_are_published_in_their_order(events, back_ends):
    for number in range(50):
        events.add("e", number=number)
    await events.close()
    assert [(kind, body["number"]) for kind, body in back_ends.told] == [("e", n) for n in range(50)]
    assert {"type", "number", "time"} == back_ends.told[0][1].keys()
    assert (events.published, events.dropped, len(events)) == (50, 0, 0)


async def test_they_wait_for_the_broker(events, back_ends):
    back_ends.away = True
    events.add("a")
    events.add("b")
    await asyncio.sleep(0)
    assert len(events) == 2
    back_ends.away = False
    await eventually(lambda: not len(events), "the events to go out")
    assert [kind for kind, _ in back_ends.told] == ["a", "b"]


async def test_one_that_may_have_been_published_does_not_come_again(events, back_ends):
    back_ends.failures.append(BrokerLost("broken"))
    events.add("a")
    events.add("b")
    await events.close()
    assert [kind for kind, _ in back_ends.told] == ["b"]
    assert (events.published, events.dropped) == (1, 1)


async def test_past_the_bound_new_ones_are_dropped_and_that_is_said_once(
    events, back_ends, monkeypatch, caplog
):
    monkeypatch.setattr(events_module, "MOST_WAITING", 3)
    back_ends.away = True
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            events.add("e", number=number)
    assert (len(events), events.dropped) == (3, 7)
    assert [record.message for record in caplog.records] == [
        'events are lost reason="too many wait for the broker"'
    ]
    await events.close()
    assert (len(events), events.dropped) == (0, 10)
