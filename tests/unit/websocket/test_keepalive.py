from __future__ import annotations

import asyncio

import pytest

from sanic_ws.websocket.keepalive import CLOSE_S, SLOW_S, KeepAlive


class FakeConnection:
    def __init__(self):
        self.silent_beats = 0
        self.left = False
        self.pings = 0
        self.closed: list[int] = []
        self.expired: list[float] = []
        self.aborted = False

    def ping(self):
        self.pings += 1

    def close(self, code, reason=""):
        self.closed.append(code)

    def expire(self, now):
        self.expired.append(now)

    def abort(self):
        self.aborted = self.left = True


def watch(keep_alive: KeepAlive, number: int) -> list[FakeConnection]:
    connections = [FakeConnection() for _ in range(number)]
    for connection in connections:
        keep_alive.add(connection)
    return connections


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def keep_alive():
    return KeepAlive(heartbeat_s=10)


def test_nothing_to_watch_is_nothing_to_do(keep_alive):
    keep_alive.sweep(0, 1)


@pytest.mark.parametrize("number", [1, 7, 100])
def test_each_connection_is_pinged_once_in_a_heartbeat(keep_alive, number):
    connections = watch(keep_alive, number)
    for second in range(20):
        keep_alive.sweep(second, 0.5)
    assert sum(c.pings for c in connections) in (number - 1, number)
    assert {c.pings for c in connections} <= {0, 1}
    keep_alive.sweep(20, 0.5)
    assert all(c.pings for c in connections)


def test_pings_are_spread_over_the_heartbeat(keep_alive):
    connections = watch(keep_alive, 100)
    keep_alive.sweep(0, 1)
    assert sum(c.pings for c in connections) == 10


def test_single_connection_is_pinged_once_in_each_of_many_heartbeats(keep_alive):
    (connection,) = watch(keep_alive, 1)
    for second in range(100):
        connection.silent_beats = 0
        keep_alive.sweep(second, 1)
    assert 9 <= connection.pings <= 10


def test_connection_that_is_silent_for_three_beats_is_dropped(keep_alive):
    (connection,) = watch(keep_alive, 1)
    for beat in range(3):
        keep_alive.sweep(beat, 10)
    assert (connection.pings, connection.aborted) == (3, False)
    keep_alive.sweep(3, 10)
    assert connection.aborted


def test_connection_that_answers_lives(keep_alive):
    (connection,) = watch(keep_alive, 1)
    for beat in range(20):
        keep_alive.sweep(beat, 10)
        connection.silent_beats = 0
    assert not connection.aborted


def test_connection_that_is_gone_is_left_alone(keep_alive):
    one, other = watch(keep_alive, 2)
    keep_alive.sweep(0, 5)
    for connection in (one, other):
        keep_alive.discard(connection)
    keep_alive.sweep(5, 10)
    assert one.pings + other.pings == 1


def test_connection_that_closes_is_not_pinged(keep_alive):
    (connection,) = watch(keep_alive, 1)
    connection.left = True
    keep_alive.sweep(0, 10)
    assert (connection.pings, connection.silent_beats) == (0, 0)


async def test_connection_that_does_not_read_is_closed_with_4408(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.stuck(connection, paused=True)
    keep_alive.sweep(now() + SLOW_S - 1, 0.5)
    assert connection.closed == []
    keep_alive.sweep(now() + SLOW_S + 1, 0.5)
    assert connection.closed[0] == 4408


async def test_connection_that_reads_again_is_not_closed(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.stuck(connection, paused=True)
    keep_alive.stuck(connection, paused=False)
    keep_alive.sweep(now() + SLOW_S + 1, 0.5)
    assert connection.closed == []


async def test_pausing_again_does_not_start_the_time_again(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.stuck(connection, paused=True)
    since = keep_alive._stuck[connection]
    keep_alive.stuck(connection, paused=True)
    assert keep_alive._stuck[connection] == since


async def test_closing_handshake_that_never_ends_is_aborted(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.closing(connection)
    keep_alive.sweep(now() + CLOSE_S - 1, 0.5)
    assert not connection.aborted
    keep_alive.sweep(now() + CLOSE_S + 1, 0.5)
    assert connection.aborted


async def test_connection_that_is_gone_is_not_aborted(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.closing(connection)
    keep_alive.stuck(connection, paused=True)
    keep_alive.discard(connection)
    keep_alive.sweep(now() + 100, 0.5)
    assert (connection.aborted, connection.closed) == (False, [])


async def test_client_that_does_not_say_in_time_who_it_is_is_closed_with_4401(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.await_proof(connection, 10)
    keep_alive.sweep(now() + 9, 0.5)
    assert (connection.closed, keep_alive.unproven) == ([], 1)
    keep_alive.sweep(now() + 11, 0.5)
    assert connection.closed == [4401]


async def test_client_that_has_said_who_it_is_is_not_closed(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.await_proof(connection, 10)
    keep_alive.proven(connection, None)
    keep_alive.sweep(now() + 11, 0.5)
    assert (connection.closed, keep_alive.unproven) == ([], 0)


def test_expired_proof_is_closed_with_4401(keep_alive):
    short, long, endless = watch(keep_alive, 3)
    for connection, expires_at in ((short, 1000.0), (long, 1001.0), (endless, None)):
        keep_alive.proven(connection, expires_at)
    keep_alive.close_expired(999.9)
    assert short.closed == []
    keep_alive.close_expired(1000.0)
    assert (short.closed, long.closed, endless.closed) == ([4401], [], [])


def test_renewed_proof_counts_in_place_of_the_old(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.proven(connection, 1000.0)
    keep_alive.proven(connection, 2000.0)
    keep_alive.close_expired(1000.0)
    assert connection.closed == []
    keep_alive.proven(connection, None)
    keep_alive.close_expired(3000.0)
    assert connection.closed == []


async def test_connection_that_is_gone_has_no_time_left_to_end(keep_alive):
    (connection,) = watch(keep_alive, 1)
    keep_alive.await_proof(connection, 10)
    keep_alive.discard(connection)
    assert keep_alive.unproven == 0
    keep_alive.proven(connection, 1000.0)
    keep_alive.discard(connection)
    keep_alive.sweep(now() + 100, 0.5)
    keep_alive.close_expired(2000.0)
    assert connection.closed == []


async def test_it_runs_until_cancelled(keep_alive, monkeypatch):
    swept, expired = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("sanic_ws.websocket.keepalive.TICK_S", 0.001)
    monkeypatch.setattr(keep_alive, "sweep", lambda now, elapsed_s: swept.set())
    monkeypatch.setattr(keep_alive, "close_expired", lambda now: expired.set())
    task = asyncio.create_task(keep_alive.run())
    async with asyncio.timeout(5):
        await swept.wait()
        await expired.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_waits_for_slow_connections_is_looked_through(keep_alive):
    slow, caught_up, gone, _ = watch(keep_alive, 4)
    for connection in (slow, caught_up, gone):
        keep_alive.slow(connection, waits=True)
    keep_alive.slow(caught_up, waits=False)
    keep_alive.discard(gone)
    keep_alive.give_up(5.0)
    assert [c.expired for c in (slow, caught_up, gone)] == [[5.0], [], []]
