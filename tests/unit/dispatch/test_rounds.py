from __future__ import annotations

import asyncio

import pytest

from sanic_ws.dispatch import Rounds


class Calls:
    """A call for many that waits until it may go on."""

    def __init__(self):
        self.seen: list[list[int]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.error: Exception | None = None

    async def __call__(self, items):
        self.seen.append(list(items))
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        return [item * 10 for item in items]


async def turns(number: int = 3) -> None:
    """Let the event loop turn."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_items_of_one_turn_go_together():
    calls = Calls()
    rounds = Rounds(calls)
    assert await asyncio.gather(*(rounds.add(n) for n in (1, 2, 3))) == [10, 20, 30]
    assert calls.seen == [[1, 2, 3]]


async def test_items_that_come_meanwhile_go_into_the_next_round():
    calls = Calls()
    calls.may_go_on.clear()
    rounds = Rounds(calls)
    first = rounds.add(1)
    await turns()
    later = [rounds.add(2), rounds.add(3)]
    await turns()
    assert calls.seen == [[1]]
    calls.may_go_on.set()
    assert await asyncio.gather(first, *later) == [10, 20, 30]
    assert calls.seen == [[1], [2, 3]]


async def test_round_is_bounded():
    calls = Calls()
    rounds = Rounds(calls, most=2)
    await asyncio.gather(*(rounds.add(n) for n in range(5)))
    assert calls.seen == [[0, 1], [2, 3], [4]]


async def test_failure_belongs_to_those_of_its_round_only():
    calls = Calls()
    calls.error = OSError("away")
    rounds = Rounds(calls)
    with pytest.raises(OSError, match="away"):
        await rounds.add(1)
    calls.error = None
    assert await rounds.add(2) == 20


async def test_waiter_that_gives_up_harms_nobody():
    calls = Calls()
    calls.may_go_on.clear()
    rounds = Rounds(calls)
    one, other = rounds.add(1), rounds.add(2)
    await turns()
    one.cancel()
    calls.may_go_on.set()
    assert await other == 20


async def test_waiter_that_gives_up_before_a_failure_harms_nobody():
    calls = Calls()
    calls.may_go_on.clear()
    rounds = Rounds(calls)
    one, other = rounds.add(1), rounds.add(2)
    await turns()
    one.cancel()
    calls.error = OSError("away")
    calls.may_go_on.set()
    with pytest.raises(OSError, match="away"):
        await other


async def test_join_waits_until_all_rounds_are_done():
    calls = Calls()
    rounds = Rounds(calls, most=1)
    futures = [rounds.add(1), rounds.add(2)]
    await rounds.join()
    assert [future.result() for future in futures] == [10, 20]
    await rounds.join()


async def test_idle_rounds_start_again():
    rounds = Rounds(Calls())
    assert await rounds.add(1) == 10
    await rounds.join()
    assert await rounds.add(2) == 20
