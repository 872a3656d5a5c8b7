from __future__ import annotations

import asyncio

import pytest

from sanic_ws.core.reports import Report, Said
from sanic_ws.node import reporting
from sanic_ws.node.reporting import Reporting


@pytest.fixture
def sent():
    return []


@pytest.fixture
def waiting(sent):
    return Reporting(lambda address, reports: sent.append((address, [r.ticket for r in reports])))


def report(ticket: int, reply: str = "") -> Report:
    return Report(ticket, "a", Said.REPLY, reply)


async def test_all_of_a_turn_go_together_to_each_sender(waiting, sent):
    for ticket, address in enumerate(["x", "y", None, "x"]):
        waiting.add(address, report(ticket))
    assert sent == []
    await asyncio.sleep(0)
    assert sent == [("x", [0, 3]), ("y", [1]), (None, [2])]
    waiting.add("x", report(4))
    await asyncio.sleep(0)
    assert sent[3:] == [("x", [4])]


async def test_long_replies_do_not_all_go_together(waiting, sent, monkeypatch):
    monkeypatch.setattr(reporting, "MOST_BYTES", 10)
    for ticket in range(5):
        waiting.add("x", report(ticket, "123456"))
    assert sent == [("x", [0, 1]), ("x", [2, 3])]
    await asyncio.sleep(0)
    assert sent[2:] == [("x", [4])]


async def test_what_comes_while_others_are_told_goes_next(sent):
    waiting = Reporting(lambda address, reports: (sent.append(address), *again(address)))

    def again(address):
        if address is None:
            waiting.add("x", report(1))
        return ()

    waiting.add(None, report(0))
    await asyncio.sleep(0)
    assert sent == [None]
    await asyncio.sleep(0)
    assert sent == [None, "x"]
