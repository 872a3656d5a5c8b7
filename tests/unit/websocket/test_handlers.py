"""An application's handlers: what their models let through."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pydantic import BaseModel, ConfigDict, Field

from sanic_ws.core.messages import BadMessage, ClientMessage, error_frame
from sanic_ws.websocket.handlers import Handlers


class Line(BaseModel):
    text: str = Field(max_length=5)


class Chat(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime
    lines: tuple[Line, ...] = ()


@dataclass
class Point:
    x: int


@pytest.fixture
def handled():
    return []


@pytest.fixture
def hand_over(handled):
    def hand_over(model, data):
        handlers = Handlers()
        handlers.add("t", lambda message: handled.append(message.data), frozenset(), model)
        return handlers.handle(SimpleNamespace(), ClientMessage("t", data, "m-1"))

    return hand_over


@pytest.mark.parametrize(
    ("model", "data", "given"),
    [
        (Line, {"text": "hi"}, Line(text="hi")),
        (Chat, {"at": "2026-01-01T00:00:00Z"}, Chat(at=datetime(2026, 1, 1, tzinfo=UTC))),
        (Point, {"x": 1}, Point(1)),
        (list[int], [1, 2], [1, 2]),
        (None, {"any": ["thing"]}, {"any": ["thing"]}),
    ],
)
def test_data_that_fit_are_handed_over_as_the_model(hand_over, handled, model, data, given):
    assert hand_over(model, data)
    assert handled == [given]


@pytest.mark.parametrize(
    ("model", "data", "field"),
    [
        (Line, {}, "data.text"),
        (Line, None, "data"),
        (Line, {"text": "too long"}, "data.text"),
        (Chat, {"at": "2026-01-01T00:00:00Z", "lines": [{"text": "a"}, {"text": 1}]}, "data.lines[1].text"),
        (Chat, {"at": "2026-01-01T00:00:00Z", "more": 1}, "data.more"),
        (Point, {"x": "one"}, "data.x"),
        (list[int], [1, "two"], "data[1]"),
    ],
)
def test_data_that_do_not_fit_are_told_with_the_field_and_not_handed_over(
    hand_over, handled, model, data, field
):
    with pytest.raises(BadMessage) as caught:
        hand_over(model, data)
    assert handled == []
    frame = error_frame(caught.value)
    told = json.loads(frame[frame.index(b"{") :])
    assert (told["data"]["code"], told["data"]["field"], told["id"]) == ("invalid_data", field, "m-1")
    assert told["data"]["message"].startswith(f"{field}: ")
    assert "too long" not in told["data"]["message"]


def test_type_without_a_handler_is_not_handled():
    assert not Handlers().handle(SimpleNamespace(), ClientMessage("t", 1))
