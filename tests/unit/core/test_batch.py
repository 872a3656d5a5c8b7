from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanic_ws.core.batch import (
    Batch,
    Reply,
    close_target,
    decode_batch,
    decode_reply,
    encode_batch,
    encode_reply,
    everyone_target,
    read_close_target,
    read_everyone_target,
    read_unless_target,
    read_user_target,
    unless_target,
    user_target,
)
from sanic_ws.core.identity import User
from sanic_ws.core.outcomes import Answer
from sanic_ws.errors import MalformedBatch

quick = settings(max_examples=100, derandomize=True, database=None, deadline=None)
conns = st.from_regex(r"[A-Za-z0-9._~:-]{1,12}", fullmatch=True)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda t: t != "0")
answers = st.sampled_from(Answer).map(int)
items = st.lists(st.tuples(conns, st.binary(max_size=300)), max_size=20)

_NO_ANSWER = struct.pack("<4sQII", b"SWR1", 1, 0, 0) + b"\x00"


def batch_of(*pairs: tuple[str, bytes], seek: bool = False) -> Batch:
    return Batch(7, 1.5, 2000, [target for target, _ in pairs], [frame for _, frame in pairs], seek)


@quick
@given(items, st.booleans(), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_batch_comes_out_as_it_went_in(pairs, seek, number, ttl_ms):
    batch = Batch(number, 1234.5, ttl_ms, [t for t, _ in pairs], [f for _, f in pairs], seek)
    assert decode_batch(encode_batch(batch)) == batch


def test_frame_shared_by_neighbours_is_sent_once():
    frame = b"x" * 1000
    body = encode_batch(batch_of(("a", frame), ("b", frame), ("c", frame)))
    assert len(body) < 1100
    assert decode_batch(body).frames == [frame] * 3


def test_connection_that_users_are_left_out_of():
    written = unless_target("a", frozenset({"b", "@1;web", "@2"}))
    assert read_unless_target(written) == ("a", {"@1;web", "@2"})
    assert unless_target("a", frozenset({"b"})) == "a"
    with pytest.raises(MalformedBatch):
        read_unless_target("^a @1:2:3:4")


def test_empty_batch_has_no_targets():
    assert decode_batch(encode_batch(batch_of())).targets == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"SWB1",
        b"SWR1" + encode_batch(batch_of(("a", b"x")))[4:],
        encode_batch(batch_of(("a", b"xy")))[:-1],
        encode_batch(batch_of(("a", b"xy"))) + b"z",
        encode_batch(Batch(1, 1.0, 1, ["a", "b"], [b"x"])),
        encode_batch(Batch(1, 1.0, 1, ["a\nb"], [b"x"])),
        struct.pack("<4sQdIIII", b"SWB1", 1, 1.0, 1, 0, 1, 1) + b"\xff" + struct.pack("<I", 0),
        struct.pack("<4sQdIIII", b"SWB1", 1, 1.0, 1, 0, 1, 1) + b"a" + struct.pack("<I", 0xFFFFFFFF),
        struct.pack("<4sQdIIII", b"SWB1", 1, 1.0, 1, 0, 2**32 - 1, 1) + b"a",
        struct.pack("<4sQdIIII", b"SWB1", 1, 1.0, 1, 0, 1, 2**32 - 1) + b"a",
    ],
)
def test_what_is_no_batch_is_refused(body):
    with pytest.raises(MalformedBatch):
        decode_batch(body)


@quick
@given(st.binary(max_size=120))
def test_any_bytes_are_a_batch_or_refused(rest):
    for body in (rest, b"SWB1" + rest, encode_batch(batch_of(("a", b"x")))[:36] + rest):
        with suppress(MalformedBatch):
            decode_batch(body)


@quick
@given(st.binary(max_size=120))
def test_any_bytes_are_a_reply_or_refused(rest):
    for body in (rest, b"SWR1" + rest, struct.pack("<4sQII", b"SWR1", 1, 0, len(rest)) + rest):
        with suppress(MalformedBatch):
            decode_reply(body)


@quick
@given(conns, st.lists(answers, max_size=50), st.lists(st.tuples(conns, answers), min_size=1, max_size=4))
def test_reply_comes_out_as_it_went_in(node, given_answers, found):
    reply = Reply(9, node, bytes(given_answers), {3: found})
    assert decode_reply(encode_reply(reply)) == reply


def test_reply_without_details_has_none():
    assert decode_reply(encode_reply(Reply(1, "n", b"\x01"))).details == {}


@pytest.mark.parametrize(
    "details", [b"{", b"[1]", b'{"a": []}', b'{"1": [1]}', b'{"1": [["c", "x"]]}', b'{"1": 5}']
)
def test_reply_with_strange_details_is_refused(details):
    with pytest.raises(MalformedBatch):
        decode_reply(struct.pack("<4sQII", b"SWR1", 1, 0, len(details)) + details)


@pytest.mark.parametrize(
    "body", [b"", b"SWR1", b"SWB1" + bytes(20), struct.pack("<4sQII", b"SWR1", 1, 9, 0), _NO_ANSWER]
)
def test_what_is_no_reply_is_refused(body):
    with pytest.raises(MalformedBatch):
        decode_reply(body)


@quick
@given(ids, st.none() | ids, st.none() | ids, st.none() | ids, st.frozensets(conns, max_size=3))
def test_user_target_comes_out_as_it_went_in(user_id, tenant, bank, kind, exclude):
    user = User(user_id, tenant, bank, kind)
    target = user_target(user, exclude)
    assert target.startswith("@")
    assert "\n" not in target
    assert read_user_target(target) == (user, exclude)


@pytest.mark.parametrize("target", ["@", "@:::", "@a:", "@a:b:c:d:e", "@0", "@a;"])
def test_what_is_no_user_target_is_refused(target):
    with pytest.raises(MalformedBatch):
        read_user_target(target)


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({"a"}), frozenset({"a", "b"})])
def test_everyone_target_comes_out_as_it_went_in(exclude):
    assert read_everyone_target(everyone_target(exclude)) == exclude


@pytest.mark.parametrize("session", ["", "12"])
def test_close_target_comes_out_as_it_went_in(session):
    assert read_close_target(close_target("c", 4403, session)) == ("c", 4403, session or None)


@pytest.mark.parametrize("target", ["!", "!c", "!c x", "!c -1", "!c 4403.5", "!c 99999", "!c 1"])
def test_what_is_no_close_target_is_refused(target):
    with pytest.raises(MalformedBatch):
        read_close_target(target)
