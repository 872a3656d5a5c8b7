"""Durable messages: nodes are killed, and nothing that is stored is lost."""

import asyncio
import gc
import json
import random
import time
from collections import Counter
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from sanic_ws import Conn, PushRequest, User
from sanic_ws.errors import SanicWsError
from tests.faults.stage import signs
from tests.integration.peers import eventually

CLIENTS = 60
RATE = 2200
SECONDS = 15
KEPT = ("delivered", "stored")
MOST_CALLS = 400
TICK_S = 0.05


class Client:
    """A client that comes back to any node and goes on behind the last message that it got."""

    def __init__(self, sign, addresses, *, is_user):
        self.sign, self.addresses, self.is_user = sign, addresses, is_user
        self.got: list[int] = []
        self.last = ""
        self.faults: list[str] = []
        self.sessions = self.resumed = 0
        self.socket = None
        self.task = asyncio.create_task(self._run())

    @property
    def target(self):
        return User(self.sign) if self.is_user else Conn(self.sign)

    async def _run(self):
        while True:
            with suppress(OSError, InvalidHandshake, InvalidMessage, ConnectionClosed, TimeoutError):
                await self._session(random.choice(self.addresses))
            await asyncio.sleep(0.05)

    async def _session(self, address):
        url = f"{address}?sign={self.sign}&since={self.last}"
        async with connect(url, proxy=None, ping_interval=None, close_timeout=1) as self.socket:
            self.sessions += 1
            seen = set()
            if self.is_user:
                await self.socket.send(json.dumps({"type": "user_info", "data": {"userId": self.sign}}))
            async for text in self.socket:
                message = json.loads(text)
                if message["type"] == "resumed":
                    self.resumed += 1
                    if not message["data"]["recovered"]:
                        self.faults.append(f"not recovered after {self.last}")
                elif message["type"] == "note":
                    self._take(message, seen)

    def _take(self, message, seen):
        if self.last and message.get("prev") != self.last:
            self.faults.append(f"{message['id']} names {message.get('prev')} and not {self.last}")
        if message["id"] in seen:
            self.faults.append(f"{message['id']} came twice")
        seen.add(message["id"])
        self.last = message["id"]
        self.got.append(message["data"])

    async def comes_back(self):
        """Leave; return once it has gone on elsewhere and has all."""
        before, socket = self.resumed, self.socket
        if socket is not None:
            await socket.close()
        await eventually(lambda: self.resumed > before, "the client to go on")

    async def close(self):
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_what_a_node_could_not_hear_of_comes_when_it_hears_again(start_cluster):
    cluster = await start_cluster(2)
    deaf = cluster.members[0]
    client = Client(*signs(1), cluster.addresses[:1], is_user=True)
    try:
        await eventually(lambda: client.resumed, "it to be connected")
        async with cluster.publisher() as publisher:
            await deaf.rabbit.refuse()
            deaf.rabbit.cut()
            receipts = [
                await publisher.push(client.target, "note", number, offline="store", timeout_s=0.5)
                for number in range(3)
            ]
            assert {str(receipt.outcome) for receipt in receipts} == {"stored"}
            assert client.got == []
        await deaf.rabbit.pass_on()
        await eventually(lambda: client.got == [0, 1, 2], "what it could not hear of", 30)
        assert (client.sessions, client.faults) == (1, [])
    finally:
        await client.close()


async def push_steadily(publisher, clients, receipts, seconds):
    """Push at the rate, one message to each client in turn; note each one's outcome."""
    calls, number, began = set(), 0, time.monotonic()

    async def push_many(numbers):
        chosen = [(number, clients[number % len(clients)]) for number in numbers]
        requests = [
            PushRequest(client.target, "note", number, offline="store", timeout_s=5)
            for number, client in chosen
        ]
        for (number, client), receipt in zip(chosen, await publisher.push_many(requests), strict=True):
            receipts[number] = (client, str(receipt.outcome))

    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * RATE)
        if due > number and len(calls) < MOST_CALLS:
            upto = min(due, number + 500)
            calls.add(asyncio.create_task(push_many(range(number, upto))))
            number = upto
        calls = {call for call in calls if not call.done() or call.result()}
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*calls)
    return number / elapsed


@pytest.mark.timeout(240)
async def test_nothing_that_is_stored_is_lost_when_nodes_are_killed(start_cluster, figure):
    cluster = await start_cluster(3, proxied=False, lease_s=2)
    clients = [
        Client(sign, cluster.addresses, is_user=number % 2 == 0) for number, sign in enumerate(signs(CLIENTS))
    ]
    receipts = {}
    # What the tests before have left must not be looked through again and again while the clock runs.
    gc.freeze()
    try:
        await eventually(lambda: all(client.sessions for client in clients), "all to be connected")
        async with cluster.publisher() as publisher:
            pushing = asyncio.create_task(push_steadily(publisher, clients, receipts, SECONDS))
            kills = 0
            while not pushing.done():
                member = cluster.members[kills % 3]
                await asyncio.sleep(1.5)
                with suppress(SanicWsError):
                    await member.kill()
                    kills += 1
                    await asyncio.sleep(0.5)
                    await member.start_anyhow()
            rate = await pushing
        for member in cluster.members:
            await member.becomes_ready()
        await asyncio.gather(*(client.comes_back() for client in clients))
    finally:
        gc.unfreeze()
        await asyncio.gather(*(client.close() for client in clients))
    faults = [fault for client in clients for fault in client.faults]
    lost = [
        number
        for number, (client, outcome) in receipts.items()
        if outcome in KEPT and number not in set(client.got)
    ]
    disorder = sum(client.got != sorted(client.got) for client in clients)
    twice = sum(len(client.got) - len(set(client.got)) for client in clients)
    outcomes = dict(Counter(outcome for _, outcome in receipts.values()))
    text = (
        f"durable: {kills} nodes killed (-9) at {rate:.0f} pushes/s: {outcomes}, of what is stored "
        f"{len(lost)} lost, {disorder} clients out of order, {twice} came again in another session"
    )
    assert not faults, faults[:10]
    figure("D", text, not (lost or disorder))
