"""What the registry in Redis promises besides: that it fails fast, heals, and mixes nothing up."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as aioredis

from sanic_ws.core.flights import Owner
from sanic_ws.errors import RegistryUnavailable
from sanic_ws.registry import Claim, Gone, Kept, Mark, Registry, Release
from sanic_ws.registry.breaker import OPEN_S
from sanic_ws.registry.port import BINDING_S
from sanic_ws.registry.redis import RedisRegistry
from sanic_ws.registry.redis_link import Link
from tests.contract.test_registry import (
    ALICE,
    BOB,
    BOUND_S,
    LONG_S,
    A,
    B,
    claim,
    connections_of,
    info,
    masters,
    owner_of,
)
from tests.faults.proxy import Proxy
from tests.integration.peers import eventually, unique
from tests.redis_servers import ask
from tests.servers import RedisServer


@pytest.fixture
async def on_own_redis(own_redis: RedisServer) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry(own_redis.url, "t")
    yield registry
    await registry.close()


@pytest.fixture
async def on_redis(redis: RedisServer) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry(redis.url, unique())
    yield registry
    await registry.close()


async def call_all(registry: Registry) -> list[BaseException | None]:
    """Make every call once; return what each raised."""
    calls = [
        registry.look_up(["c"], [ALICE.key]),
        registry.listing(),
        registry.look_up_groups(["g"]),
        registry.keep([Kept("k", b"1")]),
        registry.mark([Mark("g", "node-a", 1, True)]),
        registry.nodes(),
        registry.describe(["c"]),
        registry.claim([Claim("c", A, 0, ALICE)]),
        registry.release([Release("c", A, ALICE)]),
        registry.heartbeat(info("node-a"), LONG_S),
        registry.withdraw("node-a"),
    ]
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), BOUND_S)
    return [result if isinstance(result, BaseException) else None for result in results]


class TestRedisAlone:
    async def test_survives_script_flush(self, on_redis, redis):
        await claim(on_redis, "c", A, user=ALICE)
        async with aioredis.Redis.from_url(redis.url) as client:
            await client.script_flush()
        assert (await claim(on_redis, "c", B)).before == A
        await on_redis.release([Release("c", B, ALICE)])
        assert await connections_of(on_redis, ALICE) == []

    async def test_binding_is_kept_for_twelve_hours(self, on_redis, redis):
        await claim(on_redis, "c", A, user=ALICE)
        await on_redis.release([Release("c", A, ALICE)])
        assert BINDING_S == 12 * 3600
        async with aioredis.Redis.from_url(redis.url) as client:
            left_s = await client.ttl(f"{on_redis._prefix}:conn:{{c}}")
        assert BINDING_S - 60 < left_s <= BINDING_S

    async def test_every_key_expires(self, on_redis, redis):
        await registry_in_use(on_redis)
        async with aioredis.Redis.from_url(redis.url) as client:
            keys = [key async for key in client.scan_iter(f"{on_redis._prefix}:*")]
            lasting = [key for key in keys if await client.ttl(key) == -1]
        assert lasting == [f"{on_redis._prefix}:nodes".encode()]

    @pytest.mark.parametrize(
        "junk",
        [b"junk", b"c\x1fmark\x1f", b"c\x1fnode/1", b"c\x1fnode/1\x1fu\x1fmore", b"\xff\x1f\xff\x1f\xff"],
    )
    async def test_absence_that_nobody_can_read_hides_no_other(self, on_redis, redis, junk):
        await on_redis.vouch()
        leaving = f"{on_redis._prefix}:leaving"
        async with aioredis.Redis.from_url(redis.url) as client:
            await client.zadd(leaving, {junk: 1})
            assert await on_redis.absences.end() == []
            await client.zadd(leaving, {junk: 1})
            await claim(on_redis, "c", A)
            await on_redis.release([Release("c", A, None, grace_s=0)])
            assert await on_redis.absences.end() == [Gone("c", A, None, closed=True, offline=False)]
            assert await client.zcard(leaving) == 0

    async def test_two_prefixes_do_not_see_each_other(self, on_redis, redis):
        other = RedisRegistry(redis.url, unique())
        await claim(on_redis, "c", A, user=ALICE)
        assert await owner_of(other, "c") is None
        assert await connections_of(other, ALICE) == []
        await other.close()

    async def test_every_call_says_unavailable_when_the_server_is_gone(self, on_own_redis, own_redis):
        await claim(on_own_redis, "c", A)
        own_redis.kill()
        assert all(isinstance(raised, RegistryUnavailable) for raised in await call_all(on_own_redis))

    async def test_works_again_when_the_server_is_back(self, on_own_redis, own_redis):
        await claim(on_own_redis, "c", A)
        own_redis.kill()
        with pytest.raises(RegistryUnavailable):
            await owner_of(on_own_redis, "c")
        own_redis.start()
        # A heartbeat does not wait until somebody else may try.
        await on_own_redis.heartbeat(info("node-a"), LONG_S)
        assert await claim(on_own_redis, "c", B)
        assert await owner_of(on_own_redis, "c") == B

    async def test_every_call_says_unavailable_soon_when_the_server_hangs(self, on_own_redis, own_redis):
        await claim(on_own_redis, "c", A)
        own_redis.pause()
        try:
            raised = await call_all(on_own_redis)
        finally:
            own_redis.resume()
        assert {type(each) for each in raised} == {RegistryUnavailable}

    async def test_late_answers_of_a_server_that_hung_are_not_taken_for_others(self, on_own_redis, own_redis):
        await on_own_redis.claim([Claim(f"c{n}", Owner(f"node-{n}", "1")) for n in range(20)])
        own_redis.pause()
        try:
            lost = [owner_of(on_own_redis, f"c{n}") for n in range(10)]
            await asyncio.wait_for(asyncio.gather(*lost, return_exceptions=True), BOUND_S)
        finally:
            own_redis.resume()
        await on_own_redis.heartbeat(info("node-a"), LONG_S)
        for n in range(10, 20):
            assert await owner_of(on_own_redis, f"c{n}") == Owner(f"node-{n}", "1")

    async def test_nobody_at_the_address_is_unavailable_and_no_other_error(self):
        registry = RedisRegistry("redis://127.0.0.1:1/0", "t")
        with pytest.raises(RegistryUnavailable):
            await owner_of(registry, "c")
        await registry.close()


class Clock:
    """A clock that goes only where it is put."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def proxy(redis: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(redis.port) as made:
        yield made


@pytest.fixture
async def behind(proxy: Proxy) -> AsyncIterator[RedisRegistry]:
    """A registry that reaches its Redis through the proxy."""
    made = RedisRegistry(f"redis://127.0.0.1:{proxy.port}/0", unique())
    yield made
    await made.close()


@pytest.fixture
def clock(behind: RedisRegistry) -> Clock:
    """The time that decides when an absent Redis is tried again."""
    made = Clock()
    breaker = link_of(behind).breaker
    breaker._clock, breaker._answered_at = made, made.now - 1
    return made


def link_of(registry: RedisRegistry) -> Link:
    (link,) = masters(registry)
    return link


async def fails(registry: Registry, times: int = 1) -> int:
    """Look up so many times in turn and return how often that was refused or failed."""
    failed = 0
    for _ in range(times):
        try:
            await asyncio.wait_for(owner_of(registry, "c"), BOUND_S)
        except RegistryUnavailable:
            failed += 1
    return failed


def tell_time(clock: Clock) -> None:
    """Let the clock go on a little, so that what was answered is older than what is asked."""
    clock.now += 0.001


class TestAway:
    async def test_black_hole_is_waited_for_once_and_then_nobody_waits(self, behind, proxy, clock):
        await claim(behind, "c", A)
        tell_time(clock)
        proxy.black_hole()
        assert await fails(behind) == 1
        accepted = proxy.accepted
        assert await fails(behind, 1000) == 1000
        assert proxy.accepted == accepted

    async def test_one_call_a_second_tries(self, behind, proxy, clock):
        proxy.black_hole()
        assert await fails(behind) == 1
        for _ in range(3):
            clock.now += OPEN_S
            accepted = proxy.accepted
            results = await asyncio.gather(*(fails(behind) for _ in range(20)))
            assert sum(results) == 20
            assert proxy.accepted == accepted + 1

    async def test_first_answer_ends_it(self, behind, proxy, clock):
        proxy.black_hole()
        assert await fails(behind) == 1
        await proxy.pass_on()
        assert await fails(behind) == 1
        clock.now += OPEN_S
        assert await fails(behind, 100) == 0

    async def test_heartbeat_is_tried_before_its_time_and_ends_it(self, behind, proxy, clock):
        proxy.black_hole()
        assert await fails(behind) == 1
        await proxy.pass_on()
        await behind.heartbeat(info("node-a"), LONG_S)
        assert await fails(behind, 100) == 0

    async def test_refused_connection_is_as_good_as_no_answer(self, behind, proxy, clock):
        await proxy.refuse()
        assert await fails(behind) == 1
        await proxy.pass_on()
        assert await fails(behind, 10) == 10
        clock.now += OPEN_S
        assert await fails(behind, 10) == 0

    async def test_dead_connections_are_not_tried_one_by_one(self, behind, proxy, clock):
        await asyncio.gather(*(owner_of(behind, "c") for _ in range(8)))
        tell_time(clock)
        proxy.half_open()
        assert await fails(behind) == 1
        clock.now += OPEN_S
        assert await fails(behind, 100) == 0

    async def test_it_is_logged_when_it_changes_and_no_more(self, behind, proxy, clock, caplog):
        caplog.set_level(logging.DEBUG, "sanic_ws.registry")
        proxy.black_hole()
        await fails(behind, 5)
        clock.now += 7
        await fails(behind, 5)
        await proxy.pass_on()
        clock.now += OPEN_S
        away_s = 8.0
        while await fails(behind):  # again where the first one, on a busy machine, took too long
            clock.now += OPEN_S
            away_s += OPEN_S
        await fails(behind, 5)
        place = f"Redis 127.0.0.1:{proxy.port}"
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
            ("WARNING", f'Redis is away server="{place}" reason="no answer within 0.3 s"'),
            ("INFO", f'Redis answers again server="{place}" away_s={away_s}'),
        ]

    async def test_no_password_is_logged_or_told(self, redis, caplog):
        registry = RedisRegistry(f"redis://somebody:top-secret@127.0.0.1:{redis.port}/0", unique())
        with pytest.raises(RegistryUnavailable) as refused:
            await owner_of(registry, "c")
        await registry.close()
        assert "invalid username-password pair" in str(refused.value)
        assert "top-secret" not in str(refused.value) + caplog.text
        assert "is away" in caplog.text


class TestHealthy:
    async def test_reset_connections_are_made_again_and_nobody_notices(self, behind, proxy):
        await claim(behind, "c", A)
        for _ in range(100):
            proxy.cut()
            assert await owner_of(behind, "c") == A
        assert not link_of(behind).breaker.away

    async def test_connections_that_redis_closes_are_made_again(self, behind, redis):
        await claim(behind, "c", A)
        for _ in range(20):
            ask(redis.port, "CLIENT", "KILL", "TYPE", "normal")
            assert await owner_of(behind, "c") == A
        assert not link_of(behind).breaker.away

    async def test_error_in_an_answer_is_no_reason_to_leave_it_alone(self, behind, redis):
        async with aioredis.Redis.from_url(redis.url) as client:
            await client.lpush(f"{behind._prefix}:nodes", "not a sorted set")
        with pytest.raises(RegistryUnavailable, match="WRONGTYPE"):
            await behind.listing()
        assert await owner_of(behind, "c") is None

    async def test_many_calls_at_once_share_few_connections(self, behind, proxy):
        await claim(behind, "c", A)
        proxy.delay(0.005)
        found = await asyncio.gather(*(owner_of(behind, "c") for _ in range(200)), return_exceptions=True)
        assert all(isinstance(each, Owner | RegistryUnavailable) for each in found), found
        assert found.count(A) > 0
        assert proxy.accepted <= 16

    async def test_many_calls_at_once_into_a_black_hole_all_end(self, behind, proxy):
        proxy.black_hole()
        results = await asyncio.gather(*(fails(behind) for _ in range(200)))
        assert sum(results) == 200
        assert proxy.accepted <= 16

    async def test_waiting_for_a_connection_is_not_held_against_redis(self, behind, proxy):
        await claim(behind, "c", A)
        link = link_of(behind)
        for _ in range(link._most):
            await link._slots.acquire()
        with pytest.raises(RegistryUnavailable, match="all 16 connections are busy"):
            await owner_of(behind, "c")
        for _ in range(link._most):
            link._slots.release()
        assert await owner_of(behind, "c") == A

    async def test_server_that_is_a_replica_for_a_while_is_written_to_again(self, on_own_redis, own_redis):
        await claim(on_own_redis, "c", A)
        ask(own_redis.port, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(RegistryUnavailable, match="not a master"):
            await claim(on_own_redis, "c", B)
        assert await owner_of(on_own_redis, "c") == A
        ask(own_redis.port, "REPLICAOF", "NO", "ONE")
        assert (await claim(on_own_redis, "c", B)).accepted


async def beat(registry: Registry) -> bool:
    return await registry.heartbeat(info("node-a"), LONG_S)


class TestWhetherItIsWhole:
    async def test_not_after_its_connections_were_lost(self, behind, proxy):
        await beat(behind)
        assert await beat(behind)
        proxy.cut()
        assert not await beat(behind)
        assert await beat(behind)

    async def test_not_after_redis_restarted_though_it_kept_all(self, own_redis):
        own_redis._options = ("--appendonly", "yes", "--appendfsync", "always")
        own_redis.stop(keep_data=True)
        own_redis.start()
        registry = RedisRegistry(own_redis.url, "t")
        await beat(registry)
        assert await beat(registry)
        own_redis.kill()
        own_redis.start()
        assert not await beat(registry)
        assert await owner_of(registry, "nobody") is None
        assert await beat(registry)
        await registry.close()

    async def test_not_while_the_server_is_a_replica(self, on_own_redis, own_redis):
        await beat(on_own_redis)
        ask(own_redis.port, "REPLICAOF", "127.0.0.1", "1")
        assert not await link_of(on_own_redis).pulse()
        ask(own_redis.port, "REPLICAOF", "NO", "ONE")
        assert await beat(on_own_redis)

    async def test_still_after_a_look_up_was_cancelled(self, behind, proxy):
        await beat(behind)
        proxy.delay(0.01)
        look_up = asyncio.create_task(owner_of(behind, "c"))
        await eventually(lambda: link_of(behind)._slots._value < 16, "the look-up to be under way")
        look_up.cancel()
        await asyncio.wait([look_up])
        assert await beat(behind)


class TestCancelledCalls:
    @pytest.mark.parametrize("seed", range(4))
    async def test_thousand_look_ups_after_them_each_get_their_own_answer(self, behind, seed):
        await behind.claim([Claim(f"c{n}", Owner(f"node-{n}", "1")) for n in range(100)])
        chance = random.Random(seed)
        cancelled = 0
        for _ in range(200):
            tasks = [asyncio.create_task(owner_of(behind, f"c{chance.randrange(100)}")) for _ in range(5)]
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)
            for task in tasks:
                cancelled += task.cancel()
            await asyncio.wait(tasks)
        assert cancelled > 100
        for n in range(1000):
            assert await owner_of(behind, f"c{n % 100}") == Owner(f"node-{n % 100}", "1")

    async def test_claims_that_were_cancelled_leave_no_answers_behind(self, behind):
        await behind.claim([Claim(f"c{n}", Owner(f"node-{n}", "1")) for n in range(100)])
        chance = random.Random(0)
        for _ in range(100):
            claims = [Claim(f"d{chance.randrange(50)}", A, 0, ALICE) for _ in range(20)]
            task = asyncio.create_task(behind.claim(claims))
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        for n in range(200):
            assert await owner_of(behind, f"c{n % 100}") == Owner(f"node-{n % 100}", "1")

    async def test_connections_stay_few(self, behind, proxy):
        for _ in range(100):
            tasks = [asyncio.create_task(owner_of(behind, "c")) for _ in range(20)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert await owner_of(behind, "c") is None
        assert len(link_of(behind)._idle) <= 16
        await eventually(lambda: proxy.connections <= 16, "the cancelled calls' connections to be closed")


async def registry_in_use(registry: Registry) -> None:
    await registry.claim([Claim("c", A, 0, ALICE), Claim("d", A), Claim("e", B, 0, BOB)])
    await registry.release([Release("e", B, BOB)])
    await registry.heartbeat(info("node-a"), LONG_S)
    await registry.claim(
        [Claim("in-group", A, groups=frozenset({"g"})), Claim("gone", A, groups=frozenset({"g"}))]
    )
    await registry.release([Release("gone", A, None, rejoin_s=LONG_S)])
    await registry.mark([Mark("g", "node-a", 1, True)])
