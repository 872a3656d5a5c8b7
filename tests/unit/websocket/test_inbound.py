"""Clients' messages to back ends: bounded, in order, and refused with a reason."""

import asyncio
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from sanic_ws.core.identity import User
from sanic_ws.core.messages import BadMessage, ClientMessage
from sanic_ws.errors import BrokerLost, BrokerUnavailable, QueueFull, Unroutable
from sanic_ws.websocket import inbound as module
from sanic_ws.websocket.inbound import Inbound


class FakeBackEnds:
    """Takes messages, at once or when the gate opens, or refuses them."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.refusal: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish_inbound(self, kind, body, headers=None):
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.taken.append((kind, body))


@pytest.fixture
def back_ends():
    return FakeBackEnds()


@pytest.fixture
def inbound(back_ends):
    broker = SimpleNamespace(back_ends=back_ends)
    return Inbound(SimpleNamespace(broker=broker, inbound=Counter(), tracing=None))


CLIENT = SimpleNamespace(conn="c", user=User(7, from_type="web"))


def hand_out(inbound, kind="t", data=1):
    return inbound.hand_out(CLIENT, ClientMessage(kind, data, "m-1"))


async def refused(inbound, **message) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        await hand_out(inbound, **message)
    assert caught.value.message_id == "m-1"
    return caught.value


async def test_message_has_what_the_contract_says(inbound, back_ends):
    await hand_out(inbound, "chat.send", {"text": "ä"})
    ((kind, body),) = back_ends.taken
    message = json.loads(body)
    assert kind == "chat.send"
    assert list(message) == ["conn", "user", "type", "data", "id", "time"]
    del message["time"]
    sent = {"type": "chat.send", "data": {"text": "ä"}, "id": "m-1"}
    assert message == {"conn": "c", "user": {"userId": "7", "fromType": "web"}, **sent}


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Unroutable("t"), "unhandled_type"),
        (QueueFull("t"), "overloaded"),
        (BrokerUnavailable(), "unavailable"),
        (BrokerLost(), "unknown"),
    ],
)
async def test_what_the_broker_does_not_take_is_told(inbound, back_ends, refusal, code):
    back_ends.refusal = refusal
    assert (await refused(inbound)).code == code


@pytest.mark.parametrize(
    ("bound", "most", "data"),
    [("MAX_OPEN", 3, 1), ("MAX_OPEN_BYTES", 3000, "x" * 800)],
    ids=["many", "large"],
)
async def test_past_the_bound_it_is_overloaded_and_then_goes_on(
    inbound, back_ends, monkeypatch, bound, most, data
):
    monkeypatch.setattr(module, bound, most)
    back_ends.gate.clear()
    open_messages = [asyncio.create_task(hand_out(inbound, data=data)) for _ in range(3)]
    assert (await refused(inbound, data=data)).code == "overloaded"
    back_ends.gate.set()
    await asyncio.gather(*open_messages)
    await hand_out(inbound, data=data)
    assert len(back_ends.taken) == 4


async def test_refused_messages_make_room(inbound, back_ends, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN", 1)
    back_ends.refusal = Unroutable("t")
    for _ in range(3):
        assert (await refused(inbound)).code == "unhandled_type"


@pytest.mark.parametrize("kind", ["€" * 86, "x" * 256])
async def test_type_that_is_no_routing_key_is_refused(inbound, kind):
    assert (await refused(inbound, kind=kind)).code == "invalid_message"
    await hand_out(inbound, "€" * 85)


async def test_message_that_the_broker_would_not_take_is_refused(inbound, back_ends, monkeypatch):
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1000)
    assert (await refused(inbound, data="x" * 1000)).code == "too_large"
    assert back_ends.taken == []


async def test_number_that_cannot_be_written_is_refused(inbound):
    assert (await refused(inbound, data=float("inf"))).code == "invalid_json"
