"""Frames of every kind, given to a link by hand; it is really connected in `integration/test_client.py`."""

from __future__ import annotations

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from sanic_ws.client.link import Ended, Link


class Transport:
    """Stand in for picows's; holds the close code that was sent."""

    def __init__(self):
        self.closed = None
        self.underlying_transport = self

    def send_close(self, code):
        self.closed = int(code)

    def disconnect(self):
        pass

    def abort(self):
        pass


@pytest.fixture
async def given():
    """Give frames to a link; return what it has heard, and how it was closed."""
    heard = []

    def hear(content, binary):
        if not binary:
            content.decode()
        heard.append((content, binary))

    link, transport = Link(hear), Transport()
    link.on_ws_connected(transport)

    def given(*frames):
        for kind, content, fin in frames:
            link.on_ws_frame(transport, _make_test_ws_frame(kind, content, fin, False))
        return heard, transport.closed

    given.link = link
    return given


TEXT, BINARY, MORE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION


async def test_messages_are_heard(given):
    assert given((TEXT, b"a", True), (BINARY, b"\xff", True)) == ([(b"a", False), (b"\xff", True)], None)


async def test_parts_are_put_together(given):
    frames = [(TEXT, "ä".encode()[:1], False), (MORE, b"", False), (MORE, "ä".encode()[1:], True)]
    assert given(*frames, (BINARY, b"b", True)) == ([("ä".encode(), False), (b"b", True)], None)


@pytest.mark.parametrize(
    "frames",
    [
        [(MORE, b"a", True)],
        [(MORE, b"a", False)],
        [(TEXT, b"a", False), (TEXT, b"b", True)],
        [(TEXT, b"a", False), (BINARY, b"b", False)],
    ],
)
async def test_parts_out_of_order_end_it(given, frames):
    assert given(*frames)[1] == 1002
    assert given.link._how == Ended(1002, "frames out of order")


async def test_text_that_is_not_utf_8_ends_it(given):
    assert given((TEXT, b"\xff", True)) == ([], 1007)


@pytest.mark.parametrize(
    ("content", "ended", "answer"),
    [
        (b"\x11\x33no", Ended(4403, "no"), 4403),
        (b"", Ended(1005, ""), 1000),
    ],
)
async def test_close_is_taken_and_answered(given, content, ended, answer):
    assert given((WSMsgType.CLOSE, content, True))[1] == answer
    given.link.on_ws_disconnected(None)
    assert await given.link.ended == ended
    assert not given.link.is_up


async def test_lost_is_1006(given):
    given.link.on_ws_disconnected(None)
    assert (await given.link.ended).code == 1006


async def test_reason_of_ours_stands(given):
    given.link.abort("silent")
    given.link.on_ws_disconnected(None)
    assert await given.link.ended == Ended(1006, "silent")
