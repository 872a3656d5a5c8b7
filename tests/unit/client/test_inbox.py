from __future__ import annotations

import asyncio

import pytest

from sanic_ws.client.inbox import Inbox
from sanic_ws.client.messages import Message
from sanic_ws.errors import ClientClosed


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def inbox(pauses):
    return Inbox(4, pauses.append)


def message(number):
    return Message(None, b"", {"type": "n", "data": number})


async def test_messages_come_in_order(inbox):
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    for number in range(3):
        inbox.put(message(number))
    assert [(await waiting).data, (await inbox.get()).data, (await inbox.get()).data] == [0, 1, 2]


async def test_full_is_paused_until_half_is_read(inbox, pauses):
    for number in range(6):
        inbox.put(message(number))
    assert (pauses, inbox.full) == ([True], True)
    for _ in range(3):
        await inbox.get()
    assert pauses == [True]
    await inbox.get()
    assert (pauses, inbox.full) == ([True, False], False)


async def test_room_is_waited_for(inbox):
    await inbox.has_room()
    for number in range(4):
        inbox.put(message(number))
    waiting = asyncio.create_task(inbox.has_room())
    await inbox.get()
    assert not waiting.done()
    await inbox.get()
    await waiting


async def test_what_came_before_the_end_is_read(inbox):
    inbox.put(message(1))
    inbox.end(None)
    assert (await inbox.get()).data == 1
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(_Iterator(inbox))


async def test_error_is_told_to_all_who_wait(inbox):
    waiting = [asyncio.create_task(inbox.get()) for _ in range(2)]
    await asyncio.sleep(0)
    inbox.end(ClientClosed(4403, "kicked"))
    for each in waiting:
        with pytest.raises(ClientClosed):
            await each


class _Iterator:
    """A coroutine that raises StopAsyncIteration has to be an iterator's."""

    def __init__(self, inbox):
        self.inbox = inbox

    async def __anext__(self):
        return await self.inbox.get()
