from __future__ import annotations

import asyncio

import pytest

from sanic_ws.client.outbox import Outbox
from sanic_ws.errors import ClientClosed, ClientOverloaded


class Link:
    def __init__(self):
        self.written = []

    def write(self, content):
        self.written.append(content)


async def waiting(outbox, *contents):
    tasks = [asyncio.create_task(outbox.wait(content)) for content in contents]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_is_sent_in_order_and_told():
    outbox, link = Outbox(9), Link()
    tasks = await waiting(outbox, b"a", b"b")
    outbox.flush(link)
    await asyncio.gather(*tasks)
    assert link.written == [b"a", b"b"]
    outbox.flush(link)
    assert link.written == [b"a", b"b"]


async def test_too_many_are_refused_and_those_before_stay():
    outbox, link = Outbox(2), Link()
    tasks = await waiting(outbox, b"a", b"b", b"c")
    with pytest.raises(ClientOverloaded):
        await tasks[2]
    outbox.flush(link)
    assert link.written == [b"a", b"b"]
    await asyncio.gather(*tasks[:2])


async def test_who_is_cancelled_takes_it_back():
    outbox, link = Outbox(2), Link()
    tasks = await waiting(outbox, b"a", b"b")
    tasks[0].cancel()
    outbox.flush(link)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert link.written == [b"b"]
    assert outbox._waiting == {}


async def test_the_end_is_told():
    outbox = Outbox(2)
    (task,) = await waiting(outbox, b"a")
    outbox.end(ClientClosed(1000, "over"))
    with pytest.raises(ClientClosed):
        await task
