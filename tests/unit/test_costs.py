"""What the hot path costs, counted in bytecode instructions: the same on every machine.

A bound is about a sixth above what was counted with Python 3.11; a change that needs a higher one says why.
"""

import sys

import pytest

from sanic_ws.core import json
from sanic_ws.core.batch import Batch, Reply, decode_batch, decode_reply, encode_batch, encode_reply
from sanic_ws.core.flights import Flight, Found, Owner, UserConnection
from sanic_ws.core.frames import text_frame
from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.hub import EVERYONE, Hub
from sanic_ws.core.identity import Conn, User
from sanic_ws.core.meter import Meter, Rates
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.push import Push
from sanic_ws.core.reception import carry_out
from sanic_ws.core.requests import PushRequest, read_push_request
from sanic_ws.core.routing import Router
from sanic_ws.registry.redis import RedisRegistry
from sanic_ws.websocket.compressed import CompressedConnection
from sanic_ws.websocket.connection import Connection

MANY = 200
FRAME = b"\x81\x05hello"

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="other versions have other instructions"
)


def instructions(work) -> float:
    """Count the instructions that a call executes, for each of `MANY`."""
    counted = 0

    def trace(frame, event, _):
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return counted / MANY


class Socket:
    session, user, groups, opened, generation, writable = "1", None, NO_GROUPS, True, 1, True

    def __init__(self, conn):
        self.conn = conn

    def write(self, frame):
        return True


class Nobody:
    def received(self, connection, message): ...
    def closing(self, code): ...
    def leaving(self, connection): ...
    def lost(self, connection): ...
    def stuck(self, connection, *, paused): ...


class Transport:
    def write(self, data): ...
    def set_write_buffer_limits(self, high, low): ...


CONNS = [f"c{number}" for number in range(MANY)]
OWNER = Owner("n1", "1")


def routed(targets, owners, users):
    """Push to every target, with one look-up and one batch."""
    router = Router()

    def work():
        for target in targets:
            router.submit(Push("p", [target], FRAME, started=0, deadline=9, done=Push.receipt), 0)
        router.looked_up(router.take_look_up(), Found(owners, users), None, 0)
        for flight in router.take_actions():
            assert isinstance(flight, Flight)
            flight.targets(0)
            router.replied(Reply(flight.id, "n1", bytes([Answer.DELIVERED]) * len(flight.items)), 1)

    return router, work


def test_push_to_a_connection():
    router, work = routed([Conn(conn) for conn in CONNS], [OWNER] * MANY, [])
    assert instructions(work) < 870
    assert sum(router.deliveries.values()) == MANY
    assert {outcome for _, outcome in router.deliveries} == {"delivered"}


def test_push_to_a_user():
    users = [User(number + 1) for number in range(MANY)]
    router, work = routed(users, [], [[UserConnection(conn, OWNER, "web")] for conn in CONNS])
    assert instructions(work) < 1350
    assert sum(router.deliveries.values()) == MANY
    assert {outcome for _, outcome in router.deliveries} == {"delivered"}


def test_request_and_frame():
    def work():
        for number in range(MANY):
            PushRequest(User(number + 1), "task", {"count": number}).frame()

    assert instructions(work) < 400


def test_request_from_json():
    text = b'{"to":{"user":{"userId":7}},"type":"task","data":"x"}'

    def work():
        for _ in range(MANY):
            read_push_request(json.loads(text))

    assert instructions(work) < 575


def test_batch_there_and_back():
    batch = Batch(1, 0.0, 1000, CONNS, [bytes(FRAME) + bytes([n % 256]) for n in range(MANY)])
    assert instructions(lambda: decode_batch(encode_batch(batch))) < 60


def test_reply_there_and_back():
    reply = Reply(1, "n1", bytes([Answer.DELIVERED]) * MANY)
    assert instructions(lambda: decode_reply(encode_reply(reply))) < 2


def test_batch_carried_out():
    hub = Hub()
    for conn in CONNS:
        hub.add(Socket(conn))
    batch = Batch(1, 0.0, 1000, CONNS, [FRAME] * MANY)
    assert instructions(lambda: carry_out(hub, batch, "n1")) < 135


def test_push_to_all_carried_out():
    hub = Hub()
    for conn in CONNS:
        hub.add(Socket(conn))
    assert instructions(lambda: hub.deliver_to_many(EVERYONE, FRAME)) < 23


def test_owner_read_from_the_registry():
    registry = RedisRegistry("redis://127.0.0.1:1/0", "x")
    value = b"node-1\x1f17\x1f1763925000000\x1f1;web"
    assert instructions(lambda: [registry._owner(value) for _ in range(MANY)]) < 72


def test_client_message():
    connection = Connection("c", "1", Nobody(), 1 << 20, 1 << 20)
    message = b"\x81\x85\0\0\0\0hello"
    assert instructions(lambda: [connection.data_received(message) for _ in range(MANY)]) < 180


def test_client_message_that_is_measured():
    connection = Connection("c", "1", Nobody(), 1 << 20, 1 << 20)
    connection.meter = Meter(Rates(1_000_000, 1 << 30, 1 << 20))
    message = b"\x81\x85\0\0\0\0hello"
    assert instructions(lambda: [connection.data_received(message) for _ in range(MANY)]) < 283


def test_frame_written():
    connection = Connection("c", "1", Nobody(), 1 << 20, 1 << 20)
    connection.connection_made(Transport())
    assert instructions(lambda: [connection.write(FRAME) for _ in range(MANY)]) < 34


def test_compressed_frame_that_others_got_written():
    connection = CompressedConnection("c", "1", Nobody(), 1 << 20, 1 << 20, 12)
    connection.connection_made(Transport())
    frame = text_frame(b"hello" * 100)
    connection.write(frame)
    assert instructions(lambda: [connection.write(frame) for _ in range(MANY)]) < 100
