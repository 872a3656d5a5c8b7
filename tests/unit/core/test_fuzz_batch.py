"""Whatever is on a queue, a node reads it or sets it aside.

``FUZZ_EXAMPLES=10000`` looks longer.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sanic_ws.core import json
from sanic_ws.core.batch import (
    Batch,
    Reply,
    change_target,
    close_target,
    decode_batch,
    decode_reply,
    encode_batch,
    encode_reply,
    everyone_target,
    group_target,
    unless_target,
    user_target,
)
from sanic_ws.core.closing import CloseCode
from sanic_ws.core.frames import close_frame
from sanic_ws.core.groups import NO_GROUPS, Change
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reception import carry_out
from sanic_ws.errors import InvalidJSON, MalformedBatch

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
quick = settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)

conns = st.sampled_from(["c0", "c1", "nobody"])
targets = st.one_of(
    conns,
    conns.map(lambda conn: f"={conn} 1::"),
    st.builds(close_target, conns, st.sampled_from(CloseCode), st.sampled_from(["", "1"])),
    st.just(user_target(User(1), frozenset({"c1"}))),
    st.just(everyone_target(frozenset())),
    st.builds(unless_target, conns, st.just(frozenset({"c0", "@1;web"}))),
    st.just(group_target("g", frozenset({"c0", "@1;web"}))),
    st.builds(change_target, st.builds(Change, conns, st.sampled_from(["g", "g g"]), st.booleans())),
    st.text(max_size=12).map(lambda text: text.replace("\n", "")),
    st.tuples(st.sampled_from("@*=^!#<>&/"), st.text(max_size=12))
    .map("".join)
    .map(lambda t: t.replace("\n", "")),
)
frames = st.one_of(st.just(b"\x81\x05hello"), st.binary(max_size=200))
batches = st.builds(
    lambda number, sent_at, ttl_ms, items, seek: Batch(
        number, sent_at, ttl_ms, [t for t, _ in items], [f for _, f in items], seek
    ),
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False),
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(targets, frames), min_size=1, max_size=6),
    st.booleans(),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw, bodies):
    """A body with some of its bytes changed, cut out or put in."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


class Socket:
    session, user, groups, opened, generation, writable = "1", User(1), NO_GROUPS, True, 1, True

    def __init__(self, conn):
        self.conn = conn

    def write(self, frame):
        return True

    def close(self, code, reason=""):
        close_frame(code, reason)


def hub_of_two() -> Hub:
    hub = Hub()
    for conn in ("c0", "c1"):
        hub.add(Socket(conn))
    return hub


@quick
@given(batches)
@example(Batch(1, 0.0, 1, ["!c0 99999"], [b""]))
@example(Batch(1, 0.0, 1, ["!c0 " + "9" * 5000], [b""]))
def test_batch_comes_out_as_it_went_in_and_is_carried_out_or_refused(batch):
    read = decode_batch(encode_batch(batch))
    assert read == batch
    with suppress(MalformedBatch):
        reply = carry_out(hub_of_two(), read, "n1")
        assert len(reply.answers) == len(batch.targets)
        back = decode_reply(encode_reply(reply))
        assert (back.id, back.node, back.answers) == (reply.id, reply.node, reply.answers)
        assert back.details == reply.details


@quick
@given(damaged(batches.map(encode_batch)))
def test_damaged_batch_is_read_or_refused(body):
    with suppress(MalformedBatch):
        batch = decode_batch(body)
        assert len(batch.targets) == len(list(batch.frames))
        carry_out(hub_of_two(), batch, "n1")


replies = st.builds(
    Reply,
    st.integers(0, 2**64 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.lists(st.sampled_from(Answer), max_size=6).map(bytes),
    st.dictionaries(
        st.integers(0, 6),
        st.lists(st.tuples(conns, st.sampled_from(Answer).map(int)), max_size=2),
        max_size=3,
    ),
)


@quick
@given(replies)
def test_reply_comes_out_as_it_went_in(reply):
    assert decode_reply(encode_reply(reply)) == reply


@quick
@given(damaged(replies.map(encode_reply)))
def test_damaged_reply_is_read_or_refused(body):
    with suppress(MalformedBatch):
        decode_reply(body)


@quick
@given(anything)
@example({"1": [["c", 1e308]]})
@example({"9" * 5000: []})
def test_reply_with_any_details_is_read_or_refused(details):
    try:
        text = json.dumps(details)
    except InvalidJSON:
        return
    with suppress(MalformedBatch):
        decode_reply(struct.pack("<4sQII", b"SWR1", 1, 0, len(text)) + text)
