"""Those who watch: what they may say, and that nobody takes them for clients."""

from __future__ import annotations

import json

import pytest

from sanic_ws.core.frames import payload_start
from sanic_ws.core.groups import WATCHERS
from sanic_ws.core.meter import Excess
from sanic_ws.node import Node
from sanic_ws.settings import read_settings
from sanic_ws.websocket.authentication import Authentication
from sanic_ws.websocket.clients import Clients
from sanic_ws.websocket.connection import Connection
from sanic_ws.websocket.handlers import Handlers
from tests.integration.peers import unique


class Transport:
    def __init__(self):
        self.written: list[bytes] = []

    def write(self, data):
        self.written.append(data)

    def set_write_buffer_limits(self, high, low): ...
    def can_write_eof(self):
        return True

    def write_eof(self): ...
    def abort(self): ...
    def pause_reading(self): ...


@pytest.fixture
async def clients():
    settings = read_settings("dev", prefix=unique())
    return Clients(Node(settings), Handlers(), Authentication(settings))


@pytest.fixture
async def watcher(clients):
    connection = Connection("w", "1", clients.watchers, 1 << 20, 1 << 20)
    with clients.admitted(connection, "127.0.0.1"):
        await clients.watchers.join(connection, None)
    connection.connection_made(Transport())
    clients.conversation.welcome(connection)
    return connection


def said(connection):
    frame = connection._transport.written[-1]
    message = json.loads(frame[payload_start(frame) :])
    return message["type"], message["data"], message.get("id")


async def test_it_is_in_its_group_and_nowhere_else(clients, watcher):
    hub = clients._node.hub
    assert list(hub.groups.of(WATCHERS)) == [watcher]
    assert (len(hub), hub.get("w"), hub.users) == (0, None, 0)
    assert hub.deliver_to_many("*", b"frame") == {}
    watcher.close(1012)
    assert WATCHERS not in hub.groups
    assert not clients._node.closes


async def test_place_is_given_back(clients):
    places = clients._quotas._places
    for conn in ("w", "x"):
        connection = Connection(conn, "1", clients.watchers, 1 << 20, 1 << 20)
        with clients.admitted(connection, "127.0.0.1"):
            await clients.watchers.join(connection, None)
        assert places.full("other", None) is False
        connection.abort()
        assert WATCHERS not in clients._node.hub.groups


async def test_ping_is_answered(watcher):
    watcher._owner.received(watcher, '{"type":"ping","data":[1],"id":"p"}')
    assert said(watcher) == ("pong", [1], "p")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_message"),
        ('{"type":"join","data":{"group":"g"}}', "unhandled_type"),
        ('{"type":"hello"}', "unhandled_type"),
        ('{"type":"ping","data":1e999}', "invalid_json"),
        (b"{}", "binary_not_supported"),
    ],
)
async def test_there_is_nothing_else_to_say(watcher, message, code):
    watcher._owner.received(watcher, message)
    kind, data, _ = said(watcher)
    assert (kind, data["code"]) == ("error", code)
    assert not watcher.left


async def test_who_sends_too_much_is_told_and_then_closed(watcher):
    watcher._owner.flooded(watcher, Excess.TELL)
    assert said(watcher)[1]["code"] == "rate_limited"
    watcher._owner.flooded(watcher, Excess.CLOSE)
    assert watcher.left


async def test_session_ends(clients):
    connection = Connection("w", "1", clients.watchers, 1 << 20, 1 << 20)
    with clients.admitted(connection, "127.0.0.1"):
        await clients.watchers.join(connection, 1000.0)
    connection.connection_made(Transport())
    clients.keep_alive.close_expired(999.0)
    assert not connection.left
    clients.keep_alive.close_expired(1000.0)
    assert connection.left
    assert connection._transport.written[-1][2:4] == (4401).to_bytes(2)
