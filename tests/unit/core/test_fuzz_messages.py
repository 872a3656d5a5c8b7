"""Whatever text a client sends, it is a message or is refused as none.

``FUZZ_EXAMPLES=10000`` looks longer.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sanic_ws.core.frames import payload_start, split_frames
from sanic_ws.core.identity import user_from_json
from sanic_ws.core.messages import BadMessage, ClientMessage, error_frame, message_frame, read_client_message
from sanic_ws.errors import InvalidField, InvalidJSON

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
quick = settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=20)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
values = anything | st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["ping", "user_info"]) | anything, "data": anything, "id": anything}
)


def read(frame: bytes):
    assert split_frames(frame) == [frame]
    return json.loads(frame[payload_start(frame) :])


def check_refusal(error: BadMessage) -> None:
    answer = read(error_frame(error))
    assert (answer["type"], answer["data"]["code"]) == ("error", error.code)
    assert answer.get("id") == error.message_id


def answered(text: str) -> None:
    """Read a message as a node does, and answer it with all that it holds."""
    try:
        message = read_client_message(text)
    except BadMessage as exc:
        check_refusal(exc)
        return
    assert 0 < len(message.type) <= 128
    assert message.id is None or 0 < len(message.id) <= 64
    with suppress(InvalidField):
        user_from_json(message.data, "")
    with suppress(InvalidJSON):
        assert read(message_frame("pong", message.data, message.id))["data"] == message.data


@quick
@given(st.text(characters))
@example("\x00")
@example('{"type":"ping","data":1e999}')
def test_any_text_is_answered(text):
    answered(text)


@quick
@given(values)
def test_any_json_is_answered(value):
    answered(json.dumps(value))
    answered(json.dumps(value, ensure_ascii=False))


@quick
@given(values, st.integers(0, 200), st.integers(0, 3), st.text(characters, max_size=3))
def test_damaged_json_is_answered(value, at, cut, put):
    text = json.dumps(value, ensure_ascii=False)
    answered(text[:at] + put + text[at + cut :])


@quick
@given(
    st.text(characters, min_size=1, max_size=128),
    texts,
    st.none() | st.text(characters, min_size=1, max_size=64),
)
def test_message_comes_out_as_it_went_in(kind, data, message_id):
    text = json.dumps({"type": kind, "data": data} | ({} if message_id is None else {"id": message_id}))
    assert read_client_message(text) == ClientMessage(kind, data, message_id)
