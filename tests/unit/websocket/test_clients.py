"""The clients of a node: how many may connect at a time, and their orderly leave."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.hub import Hub
from sanic_ws.settings import read_settings
from sanic_ws.websocket import admission
from sanic_ws.websocket import clients as module
from sanic_ws.websocket.clients import Clients
from sanic_ws.websocket.handlers import Handlers
from sanic_ws.websocket.handshake import Refused
from tests.integration.peers import eventually


class FakeMembership:
    """Registers connections in a hub; `gate` keeps them waiting."""

    def __init__(self, hub):
        self.hub = hub
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0

    async def join(self, socket):
        self.hub.add(socket)
        self.waiting += 1
        await self.gate.wait()


class FakeConnection:
    """A connection whose client answers a close at once, or never."""

    def __init__(self, conn, clients, *, answers=True):
        self.conn, self.session, self.user, self.generation = conn, "1", None, 0
        self.groups = NO_GROUPS
        self.left = self.aborted = False
        self.opened = self.writable = True
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self._clients, self._answers = clients, answers

    def write(self, frame):
        self.frames.append(frame)
        return True

    def close(self, code, reason=""):
        if not self.left:
            self.left = True
            self.closed.append((code, reason))
            if self._answers:
                self._clients.keep_alive.discard(self)

    def abort(self):
        self.left = self.aborted = True


@pytest.fixture
def node():
    hub = Hub()
    settings = read_settings("dev", max_connections_per_address=100)
    return SimpleNamespace(
        hub=hub, membership=FakeMembership(hub), settings=settings, draining=False, closes=Counter()
    )


@pytest.fixture
def clients(node):
    return Clients(node, Handlers(), SimpleNamespace(takes_tokens=False, needed=False))


async def join(clients, connection) -> None:
    with clients.admitted(connection, "192.0.2.1"):
        await clients.join(connection)


async def join_some(clients, number, **how) -> list[FakeConnection]:
    connections = [FakeConnection(f"c{n}", clients, **how) for n in range(number)]
    for connection in connections:
        await join(clients, connection)
    return connections


async def refused(clients, conn="late") -> Refused:
    connection = FakeConnection(conn, clients)
    with pytest.raises(Refused) as caught:
        await join(clients, connection)
    assert connection not in set(clients.keep_alive)
    return caught.value


async def test_too_many_at_a_time_are_told_to_come_back(clients, node, monkeypatch):
    monkeypatch.setattr(admission, "MAX_JOINING", 3)
    node.membership.gate.clear()
    first = [asyncio.create_task(join(clients, FakeConnection(f"c{n}", clients))) for n in range(3)]
    await eventually(lambda: node.membership.waiting == 3, "three to wait")
    late = await refused(clients)
    assert (late.status, late.code, late.headers) == (503, "busy", {"Retry-After": "1"})
    node.membership.gate.set()
    await asyncio.gather(*first)
    await join(clients, FakeConnection("again", clients))
    assert len(node.hub) == 4


async def test_client_that_went_away_while_it_connected_makes_room(clients, node, monkeypatch):
    monkeypatch.setattr(admission, "MAX_JOINING", 1)
    node.membership.gate.clear()
    connection = FakeConnection("c", clients)
    task = asyncio.create_task(join(clients, connection))
    await eventually(lambda: node.membership.waiting, "it to wait")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert connection.aborted
    node.membership.gate.set()
    await join(clients, FakeConnection("next", clients))


async def test_leaving_node_takes_nobody_in(clients, node):
    node.draining = True
    assert (await refused(clients)).code == "draining"


async def test_client_that_connects_while_the_node_begins_to_leave_is_sent_elsewhere(clients, node):
    node.membership.gate.clear()
    connection = FakeConnection("c", clients)
    task = asyncio.create_task(join(clients, connection))
    await eventually(lambda: node.membership.waiting, "it to wait")
    await clients.drain(0.01)
    node.membership.gate.set()
    with pytest.raises(Refused) as caught:
        await task
    assert caught.value.code == "draining"


async def test_replaced_while_it_connects_is_409(clients, node):
    node.membership.gate.clear()
    connection = FakeConnection("c", clients)
    task = asyncio.create_task(join(clients, connection))
    await eventually(lambda: node.membership.waiting, "it to wait")
    connection.close(CloseCode.REPLACED)
    node.membership.gate.set()
    with pytest.raises(Refused) as caught:
        await task
    assert caught.value.status == 409


async def test_each_is_told_how_long_to_wait_before_it_is_closed(clients):
    connections = await join_some(clients, 20)
    await clients.drain(0.01)
    for connection in connections:
        told = json.loads(connection.frames[0][2:])
        ((code, reason),) = connection.closed
        assert (told["type"], code) == ("reconnect", CloseCode.RESTART)
        assert reason == f"retry_after_ms={told['data']['after_ms']}"
    assert len({reason for c in connections for _, reason in c.closed}) > 10


async def test_leave_is_paced(clients, monkeypatch):
    connections = await join_some(clients, 20)
    left_at_each_step = []

    async def step(_):
        left_at_each_step.append(sum(c.left for c in connections))

    monkeypatch.setattr(module.asyncio, "sleep", step)
    await clients.drain(1.0)
    assert left_at_each_step == list(range(2, 21, 2))


async def test_silent_client_does_not_hold_the_leave_for_ever(clients, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_S", 0.01)
    (connection,) = await join_some(clients, 1, answers=False)
    await clients.drain(0.01)
    assert connection.left


async def test_echo_clients_are_closed_too(clients):
    connection = FakeConnection("", clients)
    clients.keep_alive.add(connection)
    await clients.drain(0.01)
    assert connection.closed == [(CloseCode.RESTART, "")]
    assert connection.frames == []


async def test_client_that_has_yet_to_say_who_it_is_is_watched_and_not_registered(clients, node):
    connection = FakeConnection("c", clients)
    clients.await_auth(connection)
    assert (len(node.hub), clients.keep_alive.unproven) == (0, 1)
    assert connection in set(clients.keep_alive)


async def test_leaving_node_keeps_nobody_waiting(clients, node):
    waiting = FakeConnection("c", clients)
    clients.await_auth(waiting)
    await clients.drain(0.01)
    assert waiting.closed == [(CloseCode.RESTART, "")]
    with pytest.raises(Refused) as caught:
        clients.await_auth(FakeConnection("late", clients))
    assert caught.value.code == "draining"
    assert clients.keep_alive.unproven == 0
