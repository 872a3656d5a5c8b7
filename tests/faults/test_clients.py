"""The fleet does what README tells clients to do, and writes down what it saw."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.faults.clients import Fleet
from tests.faults.logs import ABNORMAL
from tests.integration.peers import eventually
from tests.servers import LOOPBACK, free_port

pytestmark = pytest.mark.beside


class Node:
    """A stand-in for a node that closes as it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.address = f"ws://{LOOPBACK}:{self.port}/ws"
        self.sockets: list[ServerConnection] = []

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        await self.say(socket, "connected", {"node": self.name, "user": None})
        with suppress(Exception):
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "ping":
                    await self.say(socket, "pong", message["data"])
                elif message["type"] == "user_info":
                    await self.say(socket, "user_bound", {"user": message["data"]})

    async def say(self, socket: ServerConnection, kind: str, data: object, push: str | None = None) -> None:
        await socket.send(json.dumps({"type": kind, "data": data, "id": push}))

    async def push(self, number: int) -> None:
        await self.say(self.sockets[-1], "t", {"publisher": "p", "sequence": number}, f"p.{number}")


@pytest.fixture
async def two() -> AsyncIterator[list[Node]]:
    nodes = [Node("a"), Node("b")]
    options = {"ping_interval": None, "close_timeout": 1}
    async with (
        serve(nodes[0].serve, LOOPBACK, nodes[0].port, **options),
        serve(nodes[1].serve, LOOPBACK, nodes[1].port, **options),
    ):
        yield nodes


@pytest.fixture
async def fleet(two: list[Node]) -> AsyncIterator[Fleet]:
    made = Fleet([node.address for node in two])
    await made.open(["c"], at=[two[0].address])
    yield made
    await made.close()


async def until(holds: Callable[[], object]) -> None:
    await eventually(holds, "what the test waits for")


async def test_frames_are_written_down_in_order(fleet, two):
    for number in range(3):
        await two[0].push(number)
    await fleet.settle()
    log = fleet.logs["c"]
    assert [(f.push, f.publisher, f.sequence, f.session) for f in log.frames] == [
        (f"p.{number}", "p", number, 0) for number in range(3)
    ]
    assert log.sessions[0].node == "a"
    assert log.sessions[0].open


@pytest.mark.parametrize("code", [1012, 4408, ABNORMAL])
async def test_comes_back_to_another_node(fleet, two, code):
    if code == ABNORMAL:
        two[0].sockets[0].transport.abort()
    else:
        await two[0].sockets[0].close(code, "why")
    await until(lambda: two[1].sockets)
    await fleet.all_connected()
    before, after = fleet.logs["c"].sessions
    assert (before.code, before.by_client, after.node) == (code, False, "b")
    assert before.closed_at is not None
    assert before.opened_at < before.closed_at <= before.ended_at < after.opened_at


async def test_waits_as_long_as_the_node_asked(fleet, two):
    await two[0].say(two[0].sockets[0], "reconnect", {"after_ms": 300})
    await two[0].sockets[0].close(1012)
    await until(lambda: two[1].sockets)
    before, after = fleet.logs["c"].sessions
    assert before.after_ms == 300
    assert after.tried_at - before.ended_at >= 0.3


@pytest.mark.parametrize("code", [4403, 4409])
async def test_stays_away_when_told_to(fleet, two, code):
    await two[0].sockets[0].close(code)
    await until(lambda: fleet.clients["c"].gone)
    assert fleet.clients["c"].orphaned == (code == 4409)
    assert fleet.connected == 0
    await fleet.all_connected()


async def test_what_it_cut_itself_is_written_down_as_such(fleet, two):
    fleet.clients["c"].drop()
    await until(lambda: two[1].sockets)
    assert fleet.logs["c"].sessions[0].by_client


async def test_moves_while_the_old_session_is_open(fleet, two):
    await fleet.clients["c"].move(two[1].address)
    assert fleet.connected == 1
    await two[0].push(0)
    await two[0].sockets[0].close(4409)
    await two[1].push(1)
    await until(lambda: len(fleet.logs["c"].frames) == 2)
    assert sorted((f.sequence, f.session) for f in fleet.logs["c"].frames) == [(0, 0), (1, 1)]
    assert not fleet.clients["c"].gone
    assert fleet.connected == 1


async def test_says_who_it_is_and_is_connected_only_then(two):
    fleet = Fleet([two[0].address])
    await fleet.open(["c"], users=True)
    await fleet.all_connected()
    session = fleet.logs["c"].sessions[0]
    assert session.bound_at > session.opened_at
    await fleet.close()


async def test_tries_another_node_where_one_is_away(two):
    fleet = Fleet([f"ws://{LOOPBACK}:{free_port()}/ws", two[1].address])
    await fleet.open(["c"])
    assert [session.node for session in fleet.logs["c"].sessions] == ["b"]
    await fleet.close()


async def test_silent_node_is_left(two):
    silent: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    fleet = Fleet([two[1].address])
    await fleet.open(["c"])
    two[1].say = lambda *_: asyncio.sleep(0)
    watching = asyncio.create_task(fleet.watch(0.4))
    await until(lambda: fleet.logs["c"].sessions[0].ended_at)
    watching.cancel()
    assert fleet.logs["c"].sessions[0].by_client
    await fleet.close()


async def test_client_that_stops_reading_reads_on_when_it_is_told_to(fleet, two):
    client = fleet.clients["c"]
    client.stop_reading()
    await two[0].push(0)
    await fleet.settle()
    assert client.log.frames == []
    client.read_again()
    await fleet.settle()
    assert len(client.log.frames) == 1
    assert client.log.sessions[0].stuck


async def test_handshake_that_is_given_up_opens_nothing_later(two, monkeypatch):
    monkeypatch.setattr("tests.faults.clients.HANDSHAKE_S", 0.2)
    given_up = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        given_up.set()

    late = await asyncio.start_server(accept, LOOPBACK, 0)
    port = late.sockets[0].getsockname()[1]
    fleet = Fleet([f"ws://{LOOPBACK}:{port}/ws", two[1].address])
    await fleet.open(["c"])
    await asyncio.wait_for(given_up.wait(), 10)
    assert [session.node for session in fleet.logs["c"].sessions] == ["b"]
    assert fleet.clients["c"].open_sockets == 1
    await fleet.close()
    late.close()
