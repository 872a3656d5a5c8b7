from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from sanic_ws.core.messages import (
    RESERVED_TYPES,
    BadMessage,
    ClientMessage,
    check_push_type,
    error_frame,
    message_frame,
    read_answered_id,
    read_client_message,
    timestamp,
)
from sanic_ws.errors import InvalidField


def read_frame(frame: bytes) -> dict:
    return json.loads(frame[2 if frame[1] < 126 else 4 :])


def test_message_needs_a_type_only():
    assert read_client_message('{"type": "ping"}') == ClientMessage("ping", None, None)


def test_answer_names_a_push():
    assert read_answered_id(ClientMessage("ack", {"id": "p", "more": 1})) == "p"


@pytest.mark.parametrize("data", [None, "p", [], {}, {"id": 1}, {"id": None}])
def test_answer_that_names_no_push_is_refused(data):
    with pytest.raises(BadMessage) as caught:
        read_answered_id(ClientMessage("ack", data, "7"))
    assert (caught.value.code, caught.value.message_id) == ("invalid_message", "7")


def test_message_may_have_data_and_id():
    assert read_client_message('{"type": "a", "data": [1], "id": "7", "x": 1}') == ClientMessage(
        "a", [1], "7"
    )


@pytest.mark.parametrize("text", ["", "{", "nope", '{"type": "a"} x', '{"type": NaN}', '"\\ud800"', "01"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(BadMessage) as caught:
        read_client_message(text)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize(
    "value",
    [
        [],
        1,
        None,
        {},
        {"type": ""},
        {"type": 1},
        {"type": "a" * 129},
        {"type": "a", "id": 1},
        {"type": "a", "id": ""},
        {"type": "a", "id": "i" * 65},
    ],
)
def test_what_is_no_message_is_refused(value):
    with pytest.raises(BadMessage) as caught:
        read_client_message(json.dumps(value))
    assert caught.value.code == "invalid_message"


def test_refusal_names_the_message_at_fault():
    with pytest.raises(BadMessage) as caught:
        read_client_message('{"id": "m1"}')
    assert caught.value.message_id == "m1"


def test_deep_nesting_is_refused():
    with pytest.raises(BadMessage):
        read_client_message('{"type":"a","data":' + "[" * 5000 + "]" * 5000 + "}")


def test_longest_type_is_accepted():
    assert read_client_message(json.dumps({"type": "t" * 128})).type == "t" * 128


@pytest.mark.parametrize("kind", sorted(RESERVED_TYPES))
def test_types_of_the_node_itself_are_reserved(kind):
    with pytest.raises(InvalidField):
        check_push_type(kind)


@pytest.mark.parametrize("kind", ["", None, 1, "x" * 129])
def test_what_is_no_type_is_refused(kind):
    with pytest.raises(InvalidField) as caught:
        check_push_type(kind)
    assert caught.value.field == "type"


def test_application_type_is_accepted():
    assert check_push_type("task_count") == "task_count"


@pytest.mark.parametrize(
    ("now_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1700000000_500000000, "2023-11-14T22:13:20.500Z"),
        (1700000000_999999999, "2023-11-14T22:13:20.999Z"),
        (1700000001_000000000, "2023-11-14T22:13:21.000Z"),
        (1700000000_005000000, "2023-11-14T22:13:20.005Z"),
    ],
)
def test_timestamp_is_utc_with_milliseconds(monkeypatch, now_ns, text):
    timestamp()
    monkeypatch.setattr("time.time_ns", lambda: now_ns)
    assert [timestamp(), timestamp()] == [text, text]


def test_timestamp_is_now_by_default():
    assert abs((datetime.now(UTC) - datetime.fromisoformat(timestamp())).total_seconds()) < 2


def test_message_frame_holds_type_data_and_time():
    message = read_frame(message_frame("pong", {"a": "ä"}))
    assert (message["type"], message["data"], set(message)) == ("pong", {"a": "ä"}, {"type", "data", "time"})


def test_message_frame_holds_an_id_where_there_is_one():
    assert read_frame(message_frame("pong", None, "7"))["id"] == "7"


def test_error_frame_holds_code_message_and_id():
    message = read_frame(error_frame(BadMessage("bad_thing", "it is bad", "7")))
    assert (message["type"], message["id"]) == ("error", "7")
    assert message["data"] == {"code": "bad_thing", "message": "it is bad"}
