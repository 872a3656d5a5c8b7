from __future__ import annotations

import json as standard

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanic_ws.core import json
from sanic_ws.errors import InvalidJSON

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(values)
def test_value_comes_out_as_it_went_in(value):
    written = json.dumps(value)
    assert standard.loads(written) == value
    assert json.loads(written) == value


@pytest.mark.parametrize("value", [0.1, 1e300, -2.5, 1.0, 5e-324, 123456789.123456789])
def test_numbers_keep_their_exact_value(value):
    assert json.loads(json.dumps(value)) == value


def test_large_integers_stay_exact():
    assert json.loads("123456789012345678901234567890") == 123456789012345678901234567890


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "1.",
        "+1",
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        "[1] [2]",
        '"\\ud800"',
        '"\x01"',
        b'"\xff"',
        "[" * 202 + "]" * 202,
        "tru",
        "[1",
    ],
)
def test_what_is_not_strict_is_refused(text):
    with pytest.raises(InvalidJSON):
        json.loads(text)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", {"a": ["\udfff"]}, object(), {1, 2}, b"bytes"]
)
def test_what_json_cannot_say_is_not_written(value):
    with pytest.raises(InvalidJSON):
        json.dumps(value)


def test_infinity_that_was_read_is_not_written():
    with pytest.raises(InvalidJSON):
        json.dumps(json.loads("[1e999]"))


def test_value_that_holds_itself_is_not_written():
    value: list = []
    value.append(value)
    with pytest.raises(InvalidJSON):
        json.dumps(value)


def test_writing_is_compact_utf_8():
    assert json.dumps({"a": "ä/b", "c": [1, 2]}) == '{"a":"ä/b","c":[1,2]}'.encode()
