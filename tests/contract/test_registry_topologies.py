"""The registry on Redis with TLS, as a limited user, behind Sentinels, and on a Cluster that changes."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from sanic_ws.core.flights import Owner
from sanic_ws.errors import RegistryUnavailable
from sanic_ws.registry import Claim, Mark, Release, redis_presence
from sanic_ws.registry.mending import WHOLE
from sanic_ws.registry.redis import RedisRegistry
from sanic_ws.registry.redis_link import Link
from tests.certificates import Certificates
from tests.contract.test_registry import ALICE, LONG_S, A, B, claim, connections_of, info, nodes_of, owner_of
from tests.integration.peers import eventually, unique
from tests.redis_servers import RedisCluster, RedisNode, SentinelSetup, add_limited_user
from tests.servers import LOOPBACK, require

# What README tells operators to give: in all forms, and besides where it says so.
RIGHTS = (
    *("+get", "+mget", "+set", "+del", "+evalsha", "+script|load", "+time"),
    *("+zadd", "+zrange", "+zrem", "+zscore", "+zremrangebyscore", "+scan"),
)
ROLE, DATABASE, CLUSTER = "+role", "+select", ("+cluster|slots", "+cluster|nodes", "+asking")

Secure = RedisNode | SentinelSetup | RedisCluster


@pytest.fixture(
    scope="module",
    params=[
        lambda: RedisNode(tls=True),
        lambda: SentinelSetup(tls=True, sentinel_password="open-sesame", down_after_ms=30_000),
        lambda: RedisCluster(tls=True, node_timeout_ms=30_000),
    ],
    ids=["single", "sentinel", "cluster"],
)
def secure(request: pytest.FixtureRequest) -> Iterator[Secure]:
    require("redis-server")
    with request.param() as servers:
        yield servers


@pytest.fixture
async def open_registry() -> AsyncIterator[Callable[[str, str], RedisRegistry]]:
    opened: list[RedisRegistry] = []

    def open_one(url: str, prefix: str) -> RedisRegistry:
        opened.append(RedisRegistry(url, prefix))
        return opened[-1]

    yield open_one
    for registry in opened:
        await registry.close()


async def use_all(registry: RedisRegistry) -> None:
    """Make every call, and with effect."""
    # The beat comes first: it connects, for which it has more time than a push.
    await registry.heartbeat(info("node-a"), LONG_S)
    assert await registry.heartbeat(info("node-a"), LONG_S)
    await registry.claim([Claim("c", A, 0, ALICE), *(Claim(f"d{n}", B) for n in range(20))])
    assert await owner_of(registry, "c") == A
    assert [c.conn for c in await connections_of(registry, ALICE)] == ["c"]
    await registry.mark([Mark(f"g{n}", "node-a", 1, True) for n in range(20)])
    assert await nodes_of(registry, "g0", "g19") == [["node-a"], ["node-a"]]
    await registry.mark([Mark(f"g{n}", "node-a", 2, False) for n in range(20)])
    assert (await registry.listing()).live == ["node-a"]
    assert [node.id for node in await registry.nodes()] == ["node-a"]
    await registry.release([Release("c", A, ALICE), *(Release(f"d{n}", B, None) for n in range(20))])
    assert [known and known.user for known in await registry.describe(["c", "d1"])] == [ALICE, None]
    await use_absences(registry)
    await registry.withdraw("node-a")
    assert (await registry.listing()).live == []


async def use_absences(registry: RedisRegistry) -> None:
    """Make every call about those who leave and may come back."""
    await registry.absences.watch(0)
    await registry.claim([Claim(f"e{n}", Owner("dead", "1"), 0, ALICE) for n in range(20)])
    await registry.heartbeat(info("dead"), 0.001)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(redis_presence, "LAPSED_S", 0.0)
        await eventually(lambda: lapsed(registry), "the lease to end")
        assert sum([number async for number in registry.absences.clear("node-a")]) == 20
    await registry._say(WHOLE)
    gone = await registry.absences.end()
    assert (len(gone), sum(one.offline for one in gone)) == (20, 1)


async def lapsed(registry: RedisRegistry) -> bool:
    return "dead" in (await registry.listing()).lapsed


class TestTLS:
    async def test_everything_works(self, secure, open_registry):
        await use_all(open_registry(secure.url, unique()))

    async def test_server_with_a_certificate_of_somebody_else_is_not_talked_to(
        self, secure, open_registry, tmp_path
    ):
        stranger = Certificates.write(tmp_path)
        url = re.sub("ssl_ca_certs=[^&]*", f"ssl_ca_certs={stranger.ca}", secure.url)
        registry = open_registry(url, unique())
        with pytest.raises(RegistryUnavailable):
            await registry.heartbeat(info("node-a"), LONG_S)


class TestLimitedUser:
    async def test_everything_works_with_the_rights_in_the_readme(self, secure, open_registry):
        prefix = unique()
        rights = (*RIGHTS, ROLE, *(CLUSTER if isinstance(secure, RedisCluster) else ()))
        name, password = add_limited_user(secure.servers, prefix, *rights)
        await use_all(open_registry(secure.url_for(f"{name}:{password}@"), prefix))

    async def test_keys_of_others_are_out_of_reach(self, secure, open_registry):
        prefix = unique()
        name, password = add_limited_user(secure.servers, prefix, *RIGHTS, ROLE, *CLUSTER)
        registry = open_registry(secure.url_for(f"{name}:{password}@"), unique())
        with pytest.raises(RegistryUnavailable, match="permission"):
            await registry.heartbeat(info("node-a"), LONG_S)

    async def test_wrong_password_is_unavailable_and_not_told(self, secure, open_registry):
        name, _ = add_limited_user(secure.servers, "t", *RIGHTS, ROLE, *CLUSTER)
        registry = open_registry(secure.url_for(f"{name}:not-this-one@"), "t")
        with pytest.raises(RegistryUnavailable) as refused:
            await registry.heartbeat(info("node-a"), LONG_S)
        assert "not-this-one" not in str(refused.value)

    @pytest.mark.parametrize("right", RIGHTS)
    async def test_every_right_is_needed(self, limited_node, open_registry, right):
        prefix = unique()
        name, password = add_limited_user([limited_node], prefix, *(r for r in RIGHTS if r != right), ROLE)
        with pytest.raises(RegistryUnavailable, match=r"permission|can't run this command"):
            await use_all(open_registry(limited_node.url_for(f"{name}:{password}@"), prefix))

    async def test_database_needs_a_right_of_its_own(self, limited_node, open_registry):
        prefix = unique()
        name, password = add_limited_user([limited_node], prefix, *RIGHTS, ROLE)
        with pytest.raises(RegistryUnavailable, match="permission"):
            await use_all(open_registry(limited_node.url_for(f"{name}:{password}@", 3), prefix))
        limited_node.ask("ACL", "SETUSER", name, DATABASE)
        await use_all(open_registry(limited_node.url_for(f"{name}:{password}@", 3), prefix))

    async def test_without_the_right_to_ask_for_the_role_it_works_all_the_same(
        self, limited_node, open_registry
    ):
        prefix = unique()
        name, password = add_limited_user([limited_node], prefix, *RIGHTS)
        await use_all(open_registry(limited_node.url_for(f"{name}:{password}@"), prefix))


@pytest.fixture(scope="module")
def limited_node() -> Iterator[RedisNode]:
    require("redis-server")
    with RedisNode() as node:
        yield node


class TestSentinels:
    async def test_one_that_answers_is_enough(self, redis_sentinel, open_registry):
        (port, *_) = (sentinel.port for sentinel in redis_sentinel.sentinels)
        await use_all(open_registry(f"redis+sentinel://{LOOPBACK}:1,{LOOPBACK}:{port}/main", unique()))

    async def test_unknown_master_is_named(self, redis_sentinel, open_registry):
        registry = open_registry(redis_sentinel.url.replace("/main", "/other"), unique())
        with pytest.raises(RegistryUnavailable, match="the Sentinels know no master other"):
            await registry.listing()

    async def test_none_that_answers_is_unavailable(self, open_registry):
        registry = open_registry(f"redis+sentinel://{LOOPBACK}:1,{LOOPBACK}:2/main", unique())
        with pytest.raises(RegistryUnavailable, match="no Sentinel answers"):
            await registry.listing()

    async def test_master_that_hands_over_is_followed_and_not_whole(self, redis_sentinel, open_registry):
        registry = open_registry(redis_sentinel.url, unique())
        await registry.heartbeat(info("node-a"), LONG_S)
        assert await registry.heartbeat(info("node-a"), LONG_S)
        await claim(registry, "c", A)
        old = redis_sentinel.master
        redis_sentinel.promote()
        await eventually(lambda: old.ask("ROLE")[0] == "slave", "the old master to follow the new one")

        async def follows() -> bool:
            try:
                return (await claim(registry, "c", B)).accepted
            except RegistryUnavailable:
                return False

        await eventually(follows, "the registry to use the new master")
        assert redis_sentinel.master is not old
        assert await registry.heartbeat(info("node-a"), LONG_S) is False
        assert await registry.heartbeat(info("node-a"), LONG_S) is True
        await eventually(redis_sentinel.is_whole, "the setup to be whole")


class TestCluster:
    async def test_round_is_one_pipeline_to_each_server_and_all_at_once(
        self, redis_cluster, open_registry, monkeypatch
    ):
        registry = open_registry(redis_cluster.url, unique())
        await registry.heartbeat(info("node-a"), LONG_S)
        conns = [f"c{n}" for n in range(300)]
        await registry.claim([Claim(conn, Owner(f"node-{conn}", "1")) for conn in conns])
        exchange, started, most = Link.exchange, [], 0
        under_way = 0

        async def counted(link: Link, commands, *arguments, **named):
            nonlocal under_way, most
            started.append(len(commands))
            under_way += 1
            most = max(most, under_way)
            try:
                return await exchange(link, commands, *arguments, **named)
            finally:
                under_way -= 1

        monkeypatch.setattr(Link, "exchange", counted)
        owners, *_ = await registry.look_up(conns, [])
        assert [owner.node for owner in owners] == [f"node-{conn}" for conn in conns]
        # All keys, and whether the registry is whole.
        assert (len(started), sum(started), most) == (3, len(conns) + 1, 3)

    async def test_one_server_that_is_known_is_enough(self, redis_cluster, open_registry):
        port = redis_cluster.servers[4].port
        await use_all(open_registry(f"redis+cluster://{LOOPBACK}:1,{LOOPBACK}:{port}", unique()))

    async def test_none_that_answers_is_unavailable(self, open_registry):
        registry = open_registry(f"redis+cluster://{LOOPBACK}:1,{LOOPBACK}:2", unique())
        with pytest.raises(RegistryUnavailable, match="no server answers"):
            await registry.listing()

    async def test_server_that_is_in_no_cluster_is_unavailable(self, redis, open_registry):
        registry = open_registry(f"redis+cluster://{LOOPBACK}:{redis.port}", unique())
        with pytest.raises(RegistryUnavailable, match="cluster support disabled"):
            await registry.listing()

    async def test_replica_that_takes_over_is_followed_and_not_whole(self, redis_cluster, open_registry):
        registry = open_registry(redis_cluster.url, unique())
        await registry.heartbeat(info("node-a"), LONG_S)
        assert await registry.heartbeat(info("node-a"), LONG_S)
        await registry.claim([Claim(f"c{n}", A) for n in range(60)])
        replica = redis_cluster.replica_of(redis_cluster.master_of(f"{registry._prefix}:nodes"))
        redis_cluster.promote(replica)
        await eventually(lambda: redis_cluster.has_taken_over(replica), "the replica to take over")
        claimed = await registry.claim([Claim(f"c{n}", B) for n in range(60)])
        assert [each.before for each in claimed] == [A] * 60
        assert await registry.heartbeat(info("node-a"), LONG_S) is False

        async def is_whole() -> bool:
            return await registry.heartbeat(info("node-a"), LONG_S)

        await eventually(is_whole, "the registry to be whole")
        await eventually(redis_cluster.is_whole, "the cluster to be whole")

    async def test_keys_are_found_while_their_slot_moves_and_after(self, redis_cluster, open_registry):
        registry = open_registry(redis_cluster.url, unique())
        key = f"{registry._prefix}:conn:{{c}}"
        await registry.heartbeat(info("node-a"), LONG_S)
        source = redis_cluster.master_of(key)
        target = next(master for master in redis_cluster.masters if master is not source)
        slot = source.ask("CLUSTER", "KEYSLOT", key)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        await registry.claim([Claim("c", A), *(Claim(f"d{n}", B) for n in range(20))])
        assert await owner_of(registry, "c") == A
        for server in (target, source):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
        assert await owner_of(registry, "c") == A
        assert (await claim(registry, "c", B)).before == A
        assert await registry.heartbeat(info("node-a"), LONG_S) is False

    async def test_cancelled_look_ups_leave_no_answers_behind(self, redis_cluster, open_registry):
        registry = open_registry(redis_cluster.url, unique())
        await registry.heartbeat(info("node-a"), LONG_S)
        conns = [f"c{n}" for n in range(60)]
        await registry.claim([Claim(conn, Owner(f"node-{conn}", "1")) for conn in conns])
        for turns in range(60):
            task = asyncio.create_task(registry.look_up(conns, []))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        for _ in range(10):
            owners, *_ = await registry.look_up(conns, [])
            assert [owner.node for owner in owners] == [f"node-{conn}" for conn in conns]
