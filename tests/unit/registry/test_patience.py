import asyncio
import socket
import time

import pytest

from sanic_ws.registry.patience import GRACES, STALL_S, within


async def test_what_is_done_in_time_is_let_alone():
    async with within(60):
        await asyncio.sleep(0)


async def test_what_takes_longer_ends():
    with pytest.raises(TimeoutError):
        async with within(0.01):
            await asyncio.Event().wait()


async def test_errors_pass():
    with pytest.raises(KeyError):
        async with within(60):
            raise KeyError


async def test_cancellation_from_outside_is_no_time_out():
    async def wait():
        async with within(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_answer_that_came_while_the_loop_was_held_up_is_still_read():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    def answer_and_hold_up():
        theirs.send(b"answer")
        time.sleep(0.02 + 2 * STALL_S)

    with ours, theirs:
        ours.setblocking(False)
        async with within(0.02):
            loop.call_soon(answer_and_hold_up)
            assert await loop.sock_recv(ours, 6) == b"answer"


async def test_loop_that_is_held_up_again_and_again_ends_it_all_the_same():
    loop = asyncio.get_running_loop()
    held_up = 0

    def hold_up():
        nonlocal held_up, timer
        held_up += 1
        time.sleep(3 * STALL_S)
        timer = loop.call_soon(hold_up)

    timer = loop.call_soon(hold_up)
    with pytest.raises(TimeoutError):
        async with within(0.01):
            await asyncio.Event().wait()
    timer.cancel()
    assert held_up >= GRACES
