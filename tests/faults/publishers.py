"""Publishers that push to random clients at a steady rate and write down what they were told."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Self

from sanic_ws import Conn, Publisher, User
from tests.faults.logs import PushLog
from tests.servers import LOOPBACK, GatewayNode

TICK_S = 0.01
HTTP_S = 10.0
TYPE = "fault_test"

Send = Callable[[PushLog, dict[str, Any]], Awaitable[None]]
"""Pushes and fills the receipt in; raises where there is none."""


def by_publisher(publisher: Publisher, timeout_s: float) -> Send:
    """Push straight to the owner's queue."""

    async def send(push: PushLog, data: dict[str, Any]) -> None:
        to = User(push.conn) if push.by_user else Conn(push.conn)
        receipt = await publisher.push(to, TYPE, data, id=push.id, timeout_s=timeout_s)
        take_receipt(push, receipt.to_json())

    return send


def by_http(choose: Callable[[], GatewayNode]) -> Send:
    """Push over HTTP, each time on the node that `choose` returns."""

    async def send(push: PushLog, data: dict[str, Any]) -> None:
        push.in_order = False  # requests on several connections overtake each other on their way
        to = {"user": {"userId": push.conn}} if push.by_user else {"conn": push.conn}
        body = {"to": to, "type": TYPE, "data": data, "id": push.id}
        node = choose()
        take_receipt(push, await post(node.port, "/api/v1/push", body))
        push.detail += f", asked {node.node_id}"

    return send


def take_receipt(push: PushLog, receipt: dict[str, Any]) -> None:
    """Write down what a receipt, as JSON has it, says of the push's client; it must be the push's own.

    A user's receipt may also tell of nodes that did not answer, without a connection: that is `detail`.
    """
    assert receipt["id"] == push.id, f"{push.id} got the receipt of {receipt['id']}"
    push.outcome, push.detail = str(receipt["outcome"]), f"receipt {receipt['outcome']}"
    for delivery in receipt["deliveries"]:
        if delivery["conn"] == push.conn or push.route is None:
            push.outcome, push.node = str(delivery["outcome"]), delivery["node"]
            push.route = delivery["route"] and str(delivery["route"])
        if delivery["conn"] == push.conn:
            break


async def post(port: int, path: str, body: Any) -> Any:
    """Make one HTTP request of its own connection; return the answer's JSON.

    Raises:
        OSError, TimeoutError, ValueError: there was none.
    """
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
    )
    async with asyncio.timeout(HTTP_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + content)
            answer = await reader.read()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


class Load:
    """One publisher's steady load.

    Args:
        name: the publisher's, part of the pushes' ids.
        send: how it pushes.
        signs: the clients to choose from.
        rate: pushes a second.
        seed: of the choice.
        by_user: push to the users of the clients' names.
        in_flight: the most that may be unanswered; past it the load waits.
    """

    def __init__(
        self,
        name: str,
        send: Send,
        signs: Sequence[str],
        rate: float,
        *,
        seed: int = 0,
        by_user: bool = False,
        in_flight: int = 2000,
    ) -> None:
        self.name = name
        self.pushes: list[PushLog] = []
        self.errors: list[BaseException] = []
        self._send = send
        self._signs = signs
        self._rate = rate
        self._random = random.Random(seed)
        self._by_user = by_user
        self._most = in_flight
        self._open: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def outcomes(self) -> Counter[str]:
        """How many pushes had which outcome."""
        return Counter(str(push.outcome) for push in self.pushes if push.ended_at is not None)

    async def stop(self) -> None:
        """Push nothing more and wait for the receipts that are open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._open:
            await asyncio.wait(self._open)

    def push(self, sign: str) -> asyncio.Task[None]:
        """Push once to a client, beside the load; the task ends with the receipt."""
        number = len(self.pushes)
        push = PushLog(f"{self.name}.{number}", self.name, number, sign, 0.0, self._by_user)
        self.pushes.append(push)
        task = asyncio.create_task(self._one(push))
        self._open.add(task)
        task.add_done_callback(lambda done: self._end(done, push))
        return task

    def _end(self, task: asyncio.Task[None], push: PushLog) -> None:
        self._open.discard(task)
        push.ended_at = time.monotonic()
        if task.cancelled():
            # One that is cancelled before its first step was never pushed.
            push.detail, push.started_at = "cancelled", push.started_at or push.ended_at
        elif (exc := task.exception()) is not None:
            self.errors.append(exc)

    async def push_to_all(self, signs: Sequence[str]) -> list[PushLog]:
        """Push once to each of these clients and wait for the receipts."""
        first = len(self.pushes)
        tasks = [self.push(sign) for sign in signs]
        await asyncio.gather(*tasks)
        return self.pushes[first : first + len(signs)]

    async def _run(self) -> None:
        owed, before = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            # What a stall of this process kept from being pushed is not made up for: no bursts.
            owed, before = owed + self._rate * min(now - before, 10 * TICK_S), now
            while owed >= 1:
                owed -= 1
                if len(self._open) < self._most:
                    self.push(self._random.choice(self._signs))

    async def _one(self, push: PushLog) -> None:
        data = {"publisher": self.name, "sequence": push.sequence}
        push.started_at = time.monotonic()
        try:
            await self._send(push, data)
        except (OSError, TimeoutError, ValueError, KeyError) as exc:
            push.detail = repr(exc)
