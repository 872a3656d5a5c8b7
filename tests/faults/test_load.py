"""Rows 17 to 20 and threat 14: clients that do not read, full queues, poison, floods, and changed minds."""

import asyncio
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError

from sanic_ws import Conn, Everyone, Publisher, PushRequest
from sanic_ws.core.batch import Batch, encode_batch
from tests.faults.clients import SLOW, Client, Fleet
from tests.faults.cluster import FaultCluster, Member
from tests.faults.invariants import count
from tests.faults.logs import ABNORMAL
from tests.faults.poison import BATCHES, REPLIES
from tests.faults.publishers import Load, by_publisher
from tests.faults.stage import check_receipts, open_loads, signs, story, until_delivered
from tests.integration.peers import connection_info, eventually, samples, unique
from tests.servers import RabbitServer

MB = 1 << 20


class Storm:
    """Broadcasts, one after the other, and how long each took to every client that reads."""

    every_s = 0.05

    def __init__(self) -> None:
        self._latencies_s: list[list[float]] = []
        self._sent_at: list[float] = []

    def read(self, payload: bytes) -> tuple[()] | None:
        """Read a frame for the fleet: only its time of arrival is wanted."""
        start = payload.find(b'"storm":')
        if start >= 0:
            number = int(payload[start + 8 : payload.index(b",", start)])
            self._latencies_s[number].append(time.monotonic() - self._sent_at[number])
        return () if start >= 0 or b'"fill"' in payload else None

    async def blow(self, publisher: Publisher, times: int) -> list[float]:
        """Push to everyone this often; return for each the 99th percentile of the latencies, in seconds."""
        first = len(self._sent_at)
        for number in range(first, first + times):
            began = time.monotonic()
            self._sent_at.append(began)
            self._latencies_s.append([])
            data = {"storm": number, "pad": "x" * 2000}
            receipt = await publisher.push(Everyone(), "t", data)
            assert set(receipt.counts) <= {"delivered", "overloaded"}, receipt
            await asyncio.sleep(max(0.0, self.every_s - (time.monotonic() - began)))
        return [sorted(each)[len(each) * 99 // 100] for each in self._latencies_s[first:]]


@pytest.mark.timeout(240)
async def test_clients_that_stop_reading_are_cut_off_and_do_not_hurt_the_others(
    start_cluster, make_fleet, figure
):
    """Row 17."""
    many, storms, times = 500, 5, 50
    cluster: FaultCluster = await start_cluster(1, proxied=False)
    (member,) = cluster.members
    storm = Storm()
    fleet: Fleet = make_fleet(cluster.addresses, read=storm.read)
    ids = signs(many)
    await fleet.open(ids)
    stuck = [fleet.clients[sign] for sign in ids[: many // 100]]
    quiet: list[list[float]] = []
    loud: list[list[float]] = []
    memory = []
    async with cluster.publisher() as publisher:
        await storm.blow(publisher, times)
        memory.append(await memory_bytes(member))
        for last in [*[False] * (storms - 1), True]:
            quiet.append(await storm.blow(publisher, times))
            for client in stuck:
                client.stop_reading()
            await fill(publisher, stuck)
            loud.append(await storm.blow(publisher, times))
            memory.append(await memory_bytes(member))
            if last:
                await asyncio.gather(*(until_cut_off(client, member) for client in stuck))
            for client in stuck:
                client.read_again()
            await fleet.settle()
            await fleet.all_connected()
            await eventually(lambda: holds(member, many), "those that were cut off to come back")
    assert all(len(fleet.logs[sign].sessions) == 1 for sign in ids[len(stuck) :])
    ended = [session.code for client in stuck for session in client.log.sessions if session.code is not None]
    # A client sees the code only if it reads in time: at the node it is always counted.
    slow = (await samples(member.node))["sanic_ws_closes_total", str(SLOW)]
    text = f"1 % of {many} clients stop reading: {slow:g} closed with {SLOW}, who saw {dict(Counter(ended))}"
    figure(17, text, slow == len(ended) >= len(stuck) and set(ended) <= {SLOW, ABNORMAL})
    before, after = (statistics.median(itertools.chain(*storms)) for storms in (quiet, loud))
    shown = ", ".join(
        f"{1000 * statistics.median(one):.0f} to {1000 * statistics.median(two):.0f}"
        for one, two in zip(quiet, loud, strict=True)
    )
    text = f"the others' p99 {after / before - 1:+.0%} (allowed +20 %): {shown} ms"
    figure(17, f"broadcast storms: {text}", after / before <= 1.2)
    # What the node holds for one client is bounded by MAX_QUEUE_BYTES (1 MB), and a frame more.
    grown, allowed = max(memory) - memory[0], len(stuck) * 2 * MB + 16 * MB
    figure(17, f"memory +{grown / MB:.1f} MB (allowed +{allowed / MB:.0f} MB)", grown <= allowed)


async def until_cut_off(client: Client, member: Member) -> None:
    """Wait until a client's node has cut it off."""

    async def cut_off() -> bool:
        return await connection_info(member.node, client.sign) is None

    await eventually(cut_off, "a stuck client to be cut off", every_s=0.2)


async def fill(publisher: Publisher, clients: Sequence[Client]) -> None:
    """Push large frames to clients that do not read until each was `overloaded` 100 times or cut off."""
    refused = {client.sign: 0 for client in clients if client.socket is not None and client.socket.paused}
    while refused:
        ids = [sign for sign in refused for _ in range(20)]
        requests = [PushRequest(Conn(sign), "fill", "x" * 60_000) for sign in ids]
        for sign, receipt in zip(ids, await publisher.push_many(requests), strict=True):
            refused[sign] += receipt.outcome == "overloaded"
        for client in clients:
            if refused.get(client.sign, 0) >= 100 or client.socket is None or not client.socket.paused:
                refused.pop(client.sign, None)


async def memory_bytes(member: Member) -> int:
    return (await member.stats())["process"]["memory_bytes"]


async def holds(member: Member, connections: int) -> bool:
    return (await member.stats())["connections"] == connections


@asynccontextmanager
async def open_channel(cluster: FaultCluster) -> AsyncIterator[AbstractChannel]:
    """Open a channel of a stranger to RabbitMQ."""
    async with await aio_pika.connect(cluster.rabbit.url) as connection:
        yield await connection.channel()


@pytest.mark.timeout(240)
async def test_node_whose_queue_is_full_is_overloaded_and_nobody_else(
    start_cluster, make_fleet, figure, own_rabbit: RabbitServer
):
    """Row 18."""
    cluster: FaultCluster = await start_cluster(2, proxied=False)
    slow, _ = cluster.members
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(100)
    await fleet.open(ids)
    at_slow = [sign for sign in ids if fleet.clients[sign].session.node == slow.id]
    at_quick = [sign for sign in ids if sign not in at_slow]
    async with (
        cluster.publisher() as publisher,
        Load(unique("p"), by_publisher(publisher, 2.0), ids, 0) as load,
    ):
        await until_delivered(load, ids)
        slow.pause()
        async with open_channel(cluster) as channel:
            sent = await flood(channel, f"{cluster.prefix}.direct", slow.id)
        refused = await load.push_to_all(at_slow)
        served = await load.push_to_all(at_quick)
        held = await queues(own_rabbit, f"{cluster.prefix}.node.{slow.id}.")
        slow.resume()
        await slow.came_back()
        await until_delivered(load, ids)
    await check_receipts(cluster, fleet, [load])
    assert count(served) == {"delivered": len(at_quick)}
    text = f"queue full after {sent} batches: at the publisher {dict(count(refused))}"
    figure(18, text, count(refused) == {"overloaded": len(at_slow)})
    ((messages, size),) = held.values()
    text = f"queue full: RabbitMQ holds {messages} messages (allowed 10000), {size / MB:.0f} MB (allowed 64)"
    figure(18, text, messages <= 10_000 and size <= 64 * MB)


async def flood(channel: AbstractChannel, exchange: str, key: str) -> int:
    """Publish batches of 4 KB until they are refused; return how many were taken."""
    target = await channel.get_exchange(exchange, ensure=False)
    body = encode_batch(Batch(0, time.time(), 60_000, ["nobody"], [bytes(4096)]))
    for sent in itertools.count(0, 500):
        tries = [target.publish(aio_pika.Message(body), key) for _ in range(500)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        refused = [result for result in results if isinstance(result, BaseException)]
        assert all(isinstance(result, DeliveryError) for result in refused), refused[:1]
        if refused:
            return sent + 500 - len(refused)
    raise AssertionError


async def queues(rabbit: RabbitServer, prefix: str) -> dict[str, tuple[int, int]]:
    """Return the queues of this prefix, with their messages and bytes."""
    arguments = ("list_queues", "name", "messages", "message_bytes")
    lines = (await asyncio.to_thread(rabbit.ctl, *arguments)).splitlines()
    rows = [line.split() for line in lines if line.startswith(prefix)]
    return {name: (int(messages), int(size)) for name, messages, size in rows}


@pytest.mark.timeout(240)
async def test_poison_on_every_queue_is_set_aside_and_harms_nobody(
    start_cluster, make_fleet, figure, own_rabbit: RabbitServer
):
    """Row 19."""
    cluster: FaultCluster = await start_cluster(2, proxied=False)
    fleet: Fleet = make_fleet(cluster.addresses)
    ids = signs(200)
    await fleet.open(ids, users=True)
    async with open_loads(cluster, ids) as loads:
        await until_delivered(loads[0], ids)
        before = await queues(own_rabbit, cluster.prefix)
        replies = [name for name in before if ".reply." in name]
        async with open_channel(cluster) as channel:
            direct, fanout = f"{cluster.prefix}.direct", f"{cluster.prefix}.fanout"
            for member in cluster.members:
                await publish(channel, direct, member.id, BATCHES)
            await publish(channel, fanout, "", BATCHES)
            for name in replies:
                await publish(channel, direct, name, REPLIES)
        poison = 2 * len(cluster.members) * len(BATCHES) + len(replies) * len(REPLIES)
        set_aside = await until_set_aside(own_rabbit, cluster, poison)
        await until_delivered(loads[0], ids)
        after = await queues(own_rabbit, cluster.prefix)
    await check_receipts(cluster, fleet, loads)
    outcomes = count(push for load in loads for push in load.pushes)
    text = f"poison on {len(replies) + len(cluster.members)} queues: {set_aside} of {poison} set aside"
    figure(19, f"{text}, consumers alive: {set(after) == set(before)}", set(after) == set(before))
    figure(19, f"poison: the neighbours: {story(loads)}", set(outcomes) == {"delivered"})


async def publish(channel: AbstractChannel, exchange: str, key: str, bodies: Sequence[bytes]) -> None:
    target = await channel.get_exchange(exchange, ensure=False)
    for body, answer_to in zip(bodies, itertools.cycle([None, "nobody", "x" * 255]), strict=False):
        await target.publish(aio_pika.Message(body, reply_to=answer_to), key)


async def until_set_aside(rabbit: RabbitServer, cluster: FaultCluster, poison: int) -> int:
    """Wait until as much as this has been set aside."""
    name = f"{cluster.prefix}.dead"
    held = {name: (0, 0)}

    async def all_there() -> bool:
        held.update(await queues(rabbit, name))
        return held[name][0] >= poison

    await eventually(all_there, f"{poison} messages in {name}")
    return held[name][0]


@pytest.mark.timeout(240)
async def test_threat_14_pushes_to_a_million_ids_that_nobody_has_do_not_hold_others_up(
    start_cluster, make_fleet, figure
):
    ids, slower = 1_000_000, 5.0
    cluster: FaultCluster = await start_cluster(2, proxied=False)
    fleet: Fleet = make_fleet(cluster.addresses)
    present = signs(50)
    await fleet.open(present)
    async with cluster.publisher() as publisher, flooding(cluster, ids) as process:
        assert process.stdout is not None
        quiet = [await push_time(publisher, sign) for sign in present * 6]
        process.stdin.write(b"go\n")
        loud = []
        ended = asyncio.create_task(process.communicate())
        while not ended.done():
            loud.append(await push_time(publisher, present[len(loud) % len(present)]))
        outcomes = json.loads((await ended)[0])
    assert sum(outcomes.values()) == ids
    # On a busy machine some are not answered in time.
    assert set(outcomes) <= {"offline", "overloaded", "unavailable", "unknown"}
    medians = [statistics.median(times) for times in (quiet, loud)]
    text = (
        f"{ids} pushes to ids that nobody has: {outcomes}; a push among them takes {1000 * medians[1]:.1f} ms"
    )
    growth = medians[1] / medians[0]
    figure(
        "threat 14",
        f"{text}, {growth:.1f} times that before (allowed {slower:g}, median of {len(loud)})",
        growth <= slower,
    )


@asynccontextmanager
async def flooding(cluster: FaultCluster, ids: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a process that pushes to nobody once it reads a line."""
    pipe = asyncio.subprocess.PIPE
    arguments = ("-m", "tests.faults.flood", cluster.redis_url, cluster.amqp_url, cluster.prefix, str(ids))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def push_time(publisher: Publisher, sign: str) -> float:
    """Push to a client that is there; return how many seconds it took."""
    began = time.monotonic()
    receipt = await publisher.push(Conn(sign), "t", None)
    assert receipt.outcome == "delivered", receipt
    return time.monotonic() - began
