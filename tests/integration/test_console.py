"""The console's server side over real nodes: who may watch, what they see how soon, what they may order."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from sanic_ws.core.api_keys import parse_api_keys
from sanic_ws.core.tickets import make_ticket
from tests.integration.peers import (
    WAIT_S,
    Client,
    call,
    connections_of,
    describe_nodes,
    eventually,
    node_ids,
    push,
    push_body,
    samples,
    start_all,
    stop_all,
    unique,
)
from tests.integration.secured import KEY, error_code, refusal, secured
from tests.leaks import note
from tests.servers import LOOPBACK, GatewayNode, RabbitServer, RedisServer

OTHER = "the-key-of-another-admin"
PUSHER = "the-key-of-one-who-pushes"
FEW = "the-key-of-one-for-a-few"
KEYS = f"ops:{KEY},ops:{OTHER}:admin,pusher:{PUSHER}:push+read,few:{FEW}:admin:conn=few-*"
TICKET = "/api/v1/console/ticket"
PUSH = "/api/v1/console/push"


class Watcher(Client):
    """A console; it keeps the latest of what it is shown, and notes when it came."""

    @classmethod
    async def watch(cls, node: GatewayNode, token: str | None = None, **options: Any) -> "Watcher":
        """Open the console's WebSocket."""
        at = _At(node)
        query = {} if token is None else {"token": token}
        return await cls.open(at, query=query, **options)

    async def until(self, holds: Callable[[dict[str, Any]], Any], kind: str, what: str) -> dict[str, Any]:
        """Read until a message of a kind is as is wanted; return its data."""
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    message = await self.next()
                    if message["type"] == kind and holds(message["data"]):
                        return message["data"]
        except TimeoutError:
            raise AssertionError(f"waited {WAIT_S:g} s in vain: {what}") from None

    async def node(self, node: GatewayNode, **wanted: Any) -> dict[str, Any]:
        """Read until a snapshot of a node has these values; return it."""

        def holds(data: dict[str, Any]) -> bool:
            return data["node"] == node.node_id and all(data[name] == value for name, value in wanted.items())

        return await self.until(holds, "node", f"{node.name} with {wanted}")

    async def nodes(self, *names: str) -> dict[str, Any]:
        """Read until the registry lists these nodes; return what is told of the cluster."""
        wanted = sorted(names)
        return await self.until(
            lambda data: sorted(entry["name"] for entry in data["nodes"]) == wanted, "cluster", f"{wanted}"
        )


class _At:
    """Where the console's WebSocket of a node is."""

    def __init__(self, node: GatewayNode) -> None:
        self.ws_url = f"ws://{LOOPBACK}:{node.port}/console/ws"


async def ticket_of(node: GatewayNode, key: str = KEY) -> str:
    answer = await call(node, "POST", TICKET, key=key)
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    note(answer.json["ticket"])
    return answer.json["ticket"]


def key_of(text: str):
    (key,) = parse_api_keys(text)
    return key


@pytest.fixture(scope="module")
def keyed():
    with secured(api_keys=KEYS, name="keyed") as node:
        yield node


class TestSeen:
    async def test_all_of_a_cluster_is_seen_within_a_second_of_the_event(self, make_cluster, connect):
        """Measured and printed; what is asserted is that it is seen at all."""
        cluster = make_cluster(3, names=["one", "two", "three"], lease_s=3)
        one, two, three = cluster.nodes
        watcher = await Watcher.watch(one)
        took: dict[str, float] = {}

        async def timed(name: str, seen: Any, event: Any = None) -> Any:
            began = time.monotonic()
            if event is not None:
                await event
            found = await seen
            took[name] = time.monotonic() - began
            return found

        for node in cluster.nodes:
            await timed(f"first of {node.name}", watcher.node(node, state="ready"))
        cluster_now = await timed("list", watcher.nodes("one", "two", "three"))
        assert (cluster_now["registry"], cluster_now["broker"]) == ("up", "up")

        conn = unique()
        await timed(
            "connection", watcher.node(three, connections=1, users=1), connect(three, conn, {"userId": 7})
        )
        receipt = await push(one, {"conn": conn})
        assert receipt["outcome"] == "delivered"
        shown = await timed("push", watcher.until(_has_pushed(one), "node", "the push"))
        assert shown["pushes"]["by_outcome"] == {"delivered": 1}
        assert shown["latency"]["counts"][-1] == 1
        assert len(shown["latency"]["bounds_ms"]) + 1 == len(shown["latency"]["counts"])

        drained = call(one, "POST", f"/api/v1/nodes/{two.node_id}/drain")
        await timed("drain", watcher.node(two, state="draining"), drained)
        await timed("drained and gone", watcher.nodes("one", "three"))

        await asyncio.to_thread(three.kill)
        began = time.monotonic()
        await watcher.nodes("one")
        took["killed, and not believed any more"] = time.monotonic() - began
        print("\n".join(f"{name:36} {s:6.3f} s" for name, s in took.items()))  # noqa: T201

    async def test_snapshots_of_a_killed_node_end_at_once(self, make_cluster):
        one, two = make_cluster(2).nodes
        watcher = await Watcher.watch(one)
        await watcher.node(two)
        await asyncio.to_thread(two.kill)
        # What was under way is read; after two more of this node's own it is silent.
        silent = 0
        while silent < 3:
            message = await watcher.next()
            if message["type"] == "node":
                silent = 0 if message["data"]["node"] == two.node_id else silent + 1

    async def test_console_does_not_count_itself(self, make_cluster):
        one, two = make_cluster(2).nodes
        before = await samples(one), await samples(two)
        batches = [(await call(node, "GET", "/api/v1/stats")).json["batches"] for node in (one, two)]
        watchers = [await Watcher.watch(node) for node in (one, one, two)]
        for watcher in watchers:
            for node in (one, two):
                for _ in range(3):
                    shown = await watcher.node(node)
        assert (shown["connections"], shown["groups"], shown["batches"]) == (0, 0, batches[1])
        assert shown["handshakes"] == {}
        assert [await connections_of(node) for node in (one, two)] == [0, 0]
        after = await samples(one), await samples(two)
        for now, then in zip(after, before, strict=True):
            changed = {name[0] for name, value in (now - then).items() if value}
            assert not {name for name in changed if name.startswith("sanic_ws")}

    async def test_pushes_to_all_do_not_reach_who_watches(self, nodes, connect):
        watcher = await Watcher.watch(nodes[0])
        client = await connect(nodes[0], unique())
        mark = unique("everybody")
        await push(nodes[1], {"all": True}, type=mark)
        assert (await client.next())["type"] == mark
        assert mark not in {message["type"] for message in await watcher.rest()}
        await watcher.close()

    async def test_nobody_watches_any_more_and_nothing_is_sent(self, make_cluster):
        cluster = make_cluster(2)
        one, two = cluster.nodes
        watcher = await Watcher.watch(one)
        await watcher.node(two)
        await watcher.close()

        async def forgotten() -> bool:
            return not [key for key in await cluster.keys_that_name(one.node_id) if ":group:" in key]

        await eventually(forgotten, "the registry to know that nobody watches")

    async def test_registry_away_is_seen_and_snapshots_go_on(self, make_cluster, own_redis):
        one, two = make_cluster(2, own_redis=own_redis).nodes
        watcher = await Watcher.watch(one)
        await watcher.node(two)
        own_redis.pause()
        try:
            await watcher.until(lambda data: data["registry"] == "down", "cluster", "the registry is away")
            for node in (one, two):
                await watcher.node(node)
        finally:
            own_redis.resume()
        shown = await watcher.until(lambda data: data["registry"] == "up", "cluster", "it is back")
        assert shown["broker"] == "up"

    async def test_who_comes_while_the_registry_is_away_sees_its_own_node(self, make_cluster, own_redis):
        (one,) = make_cluster(1, own_redis=own_redis).nodes
        own_redis.pause()
        try:
            watcher = await Watcher.watch(one)
            await watcher.node(one)
            await watcher.until(lambda data: data["registry"] == "down", "cluster", "the registry is away")
        finally:
            own_redis.resume()

    async def test_broker_away_is_seen(self, redis: RedisServer, own_rabbit: RabbitServer, make_cluster):
        cluster = describe_nodes(redis, own_rabbit, unique("own"), ["one"])
        start_all(cluster.nodes)
        try:
            watcher = await Watcher.watch(cluster.nodes[0])
            await watcher.node(cluster.nodes[0], state="ready")
            await asyncio.to_thread(own_rabbit.kill)
            await watcher.node(cluster.nodes[0], state="deaf", broker={"connected": False, "blocked": False})
            await watcher.until(lambda data: data["broker"] == "down", "cluster", "the broker is away")
        finally:
            stop_all(cluster.nodes)


def _has_pushed(node: GatewayNode) -> Callable[[dict[str, Any]], bool]:
    return lambda data: data["node"] == node.node_id and any(data["pushes"]["by_route"].values())


class TestWhoMayWatch:
    async def test_ticket_of_one_node_is_good_on_another(self, redis, rabbit, keyed):
        """Behind a load balancer the socket may land elsewhere."""
        with secured(api_keys=KEYS, name="other") as other:
            watcher = await Watcher.watch(other, await ticket_of(keyed))
            assert (await watcher.next("node"))["data"]["name"] == "other"
            await watcher.close()

    @pytest.mark.parametrize("key", [KEY, OTHER, FEW])
    async def test_every_admin_may_watch(self, keyed, key):
        watcher = await Watcher.watch(keyed, await ticket_of(keyed, key))
        assert watcher.connected["user"] is None
        await watcher.next("node")
        await watcher.close()

    @pytest.mark.parametrize(("key", "status"), [(None, 401), ("nobodys-key-at-all", 401), (PUSHER, 403)])
    async def test_without_an_admin_key_there_is_no_ticket(self, keyed, key, status):
        assert (await call(keyed, "POST", TICKET, key=key)).status == status

    async def test_no_ticket_or_no_good_one_is_401(self, keyed):
        good = await ticket_of(keyed)
        now = time.time()
        text, _, signature = good.rpartition(".")
        for token in (
            None,
            "",
            "x",
            KEY,
            "....",
            good[:-1],
            f"{good}x",
            f"{text}A.{signature}",
            f"{signature}.{text}",
            f"{text}.",
            f"{text}.Ä",
            make_ticket(key_of(f"ops:{KEY}"), now - 61),
            make_ticket(key_of("ops:another-cluster-has-this-key"), now),
            make_ticket(key_of(f"pusher:{PUSHER}:push+read"), now),
        ):
            answer = await refused_to(keyed, token)
            assert answer.status == 401, token
            assert answer.headers["www-authenticate"] == 'Bearer realm="sanic_ws"'
            assert answer.error["code"] == "unauthorized"

    async def test_page_from_elsewhere_is_403_whatever_it_brings(self, keyed):
        here = f"http://{LOOPBACK}:{keyed.port}"
        for origin in ("https://elsewhere.example", "null", f"{here}0", f"http://{LOOPBACK}", f"{here}/"):
            answer = await refused_to(keyed, await ticket_of(keyed), origin=origin)
            assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed"), origin
        for origin in (here, here.replace("http", "https")):
            watcher = await Watcher.watch(keyed, await ticket_of(keyed), origin=origin)
            await watcher.next("node")
            await watcher.close()

    async def test_origins_of_clients_are_not_the_consoles(self, nodes):
        """In `dev` any page may connect as a client, but only the node's own may watch."""
        answer = await refused_to(nodes[0], None, origin="https://elsewhere.example")
        assert answer.status == 403

    async def test_limits_apply(self):
        with secured(api_keys=KEYS, max_connections_per_address=2, messages_per_s=5) as node:
            first, second = [await Watcher.watch(node, await ticket_of(node)) for _ in range(2)]
            assert (await refused_to(node, await ticket_of(node))).status == 429
            await second.close()
            third = None
            while third is None:
                with suppress(Exception):
                    third = await Watcher.watch(node, await ticket_of(node))
            with suppress(ConnectionClosed):
                for _ in range(2000):
                    await first.send("ping")
            assert (await first.closed())[0] == 1008
            await third.close()


async def refused_to(node: GatewayNode, token: str | None, **options: Any):
    """Watch in vain; return the HTTP answer."""
    query = {} if token is None else {"token": token}
    return await refusal(_At(node), query=query, **options)


class TestConversation:
    async def test_it_answers_pings_and_nothing_else(self, nodes):
        watcher = await Watcher.watch(nodes[0])
        await watcher.send("ping", {"n": 1}, id="p")
        pong = await watcher.until(lambda _: True, "pong", "the pong")
        assert pong == {"n": 1}
        for kind in ("join", "auth", "user_info", "ack", "hello"):
            await watcher.send(kind, {"group": "g"}, id=kind)
            error = await watcher.until(lambda _: True, "error", "an error")
            assert error["code"] == "unhandled_type"
        await watcher.socket.send(b"\x00")
        assert (await watcher.until(lambda _: True, "error", "an error"))["code"] == "binary_not_supported"
        await watcher.socket.send("{")
        assert (await watcher.until(lambda _: True, "error", "an error"))["code"] == "invalid_json"
        await watcher.socket.send('{"type":"ping","data":1e999}')
        assert (await watcher.until(lambda _: True, "error", "an error"))["code"] == "invalid_json"
        await watcher.close()

    async def test_its_node_drains_and_it_is_told_to_come_back(self, make_cluster):
        (one,) = make_cluster(1).nodes
        watcher = await Watcher.watch(one)
        one.terminate()
        told = await watcher.until(lambda _: True, "reconnect", "to be told to come back")
        code, reason = await watcher.closed()
        assert (code, reason) == (1012, f"retry_after_ms={told['after_ms']}")

    async def test_group_of_those_who_watch_is_nobody_elses(self, nodes, connect):
        client = await connect(nodes[0], unique())
        assert await error_code(client, "join", {"group": ""}) == "invalid_group"
        watcher = await Watcher.watch(nodes[0])
        answer = await call(nodes[1], "POST", "/api/v1/push", push_body({"group": ""}))
        assert (answer.status, answer.error["field"]) == (400, "to.group")
        answer = await call(nodes[0], "POST", "/api/v1/push", push_body({"conn": watcher.conn}))
        assert answer.json["outcome"] == "offline"
        assert (await call(nodes[0], "DELETE", f"/api/v1/connections/{watcher.conn}")).status == 404
        await watcher.close()


class TestPush:
    async def test_way_over_broker(self, nodes, connect, cluster):
        client = await connect(nodes[2], unique())
        answer = await call(nodes[0], "POST", PUSH, push_body({"conn": client.conn}))
        assert answer.status == 200, answer
        assert answer.json["receipt"]["outcome"] == "delivered"
        here, owner, exchange = nodes[0].node_id, nodes[2].node_id, f"{cluster.prefix}.direct"
        assert sorted(ways(answer)) == sorted(
            [
                ("accepted", here, None),
                ("looked_up", "registry", owner),
                ("sent", exchange, owner),
                ("confirmed", exchange, owner),
                ("written", owner, None),
                ("receipt", here, None),
            ]
        )
        steps = answer.json["steps"]
        times = {step["what"]: step["at_ms"] for step in steps}
        assert times["accepted"] == 0
        assert times["accepted"] < times["looked_up"] < times["sent"] < times["written"] <= times["receipt"]
        assert [step["at_ms"] for step in steps] == sorted(step["at_ms"] for step in steps)
        assert await client.next("hello")

    async def test_way_on_the_spot(self, nodes, connect):
        client = await connect(nodes[0], unique())
        answer = await call(nodes[0], "POST", PUSH, push_body({"conn": client.conn}))
        here = nodes[0].node_id
        assert ways(answer) == [("accepted", here, None), ("written", here, None), ("receipt", here, None)]

    async def test_way_of_the_fallback(self, nodes, connect, cluster):
        client = await connect(nodes[1], unique())
        await cluster.forget(client.conn)
        answer = await call(nodes[0], "POST", PUSH, push_body({"conn": client.conn}))
        assert answer.json["receipt"]["deliveries"][0]["route"] == "fallback"
        assert ("fallback", f"{cluster.prefix}.fanout", None) in ways(answer)
        assert ("written", nodes[1].node_id, None) in ways(answer)
        assert "not_here" not in {what for what, _, _ in ways(answer)}

    async def test_way_of_an_ack_and_a_reply(self, nodes, connect):
        client = await connect(nodes[2], unique())
        for wait, kind, last in (("ack", "ack", "acked"), ("reply", "reply", "replied")):
            pushing = asyncio.create_task(
                call(nodes[0], "POST", PUSH, push_body({"conn": client.conn}, wait=wait))
            )
            await client.send(kind, {"id": (await client.next("hello"))["id"], "data": 1})
            answer = await pushing
            assert answer.json["receipt"]["outcome"] == "acked"
            assert (last, "client", nodes[2].node_id) in ways(answer)

    async def test_way_of_what_is_stored(self, nodes, connect):
        answer = await call(nodes[0], "POST", PUSH, push_body({"conn": unique()}, offline="store"))
        assert answer.json["receipt"]["outcome"] == "stored"
        assert ("stored", "mailbox", None) in ways(answer)

    async def test_way_to_a_group_goes_over_all_its_nodes(self, nodes, connect):
        group = unique("g")
        for node in nodes:
            member = await connect(node, unique())
            await member.send("join", {"group": group})
            await member.next("joined")
        answer = await call(nodes[0], "POST", PUSH, push_body({"group": group}))
        assert answer.json["receipt"]["counts"] == {"delivered": 3}
        written = {where for what, where, _ in ways(answer) if what == "written"}
        assert written == {nodes[1].node_id, nodes[2].node_id}

    async def test_nobody_is_waited_for(self, nodes, connect):
        answer = await call(nodes[0], "POST", PUSH, push_body({"conn": unique()}, wait="none"))
        assert answer.status == 202
        assert [what for what, _, _ in ways(answer)] == ["accepted", "receipt"]

    async def test_who_may_not_push_to_a_target_may_not_here(self, keyed):
        answer = await call(keyed, "POST", PUSH, push_body({"conn": "many"}), key=FEW)
        assert (answer.status, answer.error["field"]) == (403, "to.conn")
        assert (await call(keyed, "POST", PUSH, push_body({"conn": "few-1"}), key=FEW)).status == 200
        assert (await call(keyed, "POST", PUSH, push_body({"conn": "few-1"}), key=PUSHER)).status == 403


def ways(answer) -> list[tuple[str, str, str | None]]:
    return [(step["what"], step["where"], step.get("to")) for step in answer.json["steps"]]


class TestDrain:
    async def test_node_leaves_in_its_orderly_way(self, make_cluster, connect):
        one, two = make_cluster(2).nodes
        client = await connect(two, unique())
        answer = await call(one, "POST", f"/api/v1/nodes/{two.node_id}/drain")
        assert (answer.status, answer.json) == (200, {"node": two.node_id, "draining": True})
        assert (await client.closed())[0] == 1012
        assert await asyncio.to_thread(two._process.wait, WAIT_S) == 0

        async def gone() -> bool:
            return await node_ids(one) == [one.node_id]

        await eventually(gone, "the node to be out of the registry")
        answer = await call(one, "POST", f"/api/v1/nodes/{two.node_id}/drain")
        assert (answer.status, answer.error["code"]) == (404, "not_found")

    async def test_node_drains_itself(self, make_cluster, connect):
        (one,) = make_cluster(1).nodes
        client = await connect(one, unique())
        assert (await call(one, "POST", f"/api/v1/nodes/{one.node_id}/drain")).status == 200
        assert (await client.closed())[0] == 1012
        assert await asyncio.to_thread(one._process.wait, WAIT_S) == 0

    async def test_worker_is_started_anew(self, redis, rabbit, make_cluster):
        (one,) = make_cluster(1, workers=2).nodes
        first, second = sorted(await two_nodes(one))
        assert (await call(one, "POST", f"/api/v1/nodes/{first}/drain")).status == 200

        async def another() -> bool:
            with suppress(OSError):
                now = await node_ids(one)
                return len(now) == 2 and second in now and first not in now
            return False

        await eventually(another, "another worker in its place")

    async def test_node_that_does_not_answer_is_504(self, make_cluster):
        one, two = make_cluster(2).nodes
        two.pause()
        try:
            answer = await call(one, "POST", f"/api/v1/nodes/{two.node_id}/drain")
        finally:
            two.resume()
        assert (answer.status, answer.error["code"]) == (504, "unknown")

    async def test_node_that_is_gone_and_still_listed_is_503(self, make_cluster):
        one, two = make_cluster(2, lease_s=60).nodes
        await asyncio.to_thread(two.kill)

        async def unreachable() -> bool:
            return (await call(one, "POST", f"/api/v1/nodes/{two.node_id}/drain")).status == 503

        await eventually(unreachable, "its queue to be gone")

    async def test_registry_away_is_503(self, make_cluster, own_redis):
        one, two = make_cluster(2, own_redis=own_redis).nodes
        own_redis.pause()
        try:
            assert (await call(one, "POST", f"/api/v1/nodes/{two.node_id}/drain")).status == 503
        finally:
            own_redis.resume()

    @pytest.mark.parametrize(("key", "status"), [(None, 401), (PUSHER, 403), (FEW, 403), (KEY, 404)])
    async def test_only_admins_of_everything_may(self, keyed, key, status):
        assert (await call(keyed, "POST", "/api/v1/nodes/nobody/drain", key=key)).status == status


async def two_nodes(node: GatewayNode) -> list[str]:
    async def both() -> list[str]:
        now = await node_ids(node)
        return now if len(now) == 2 else []

    return await eventually(both, "both workers to be there")


class TestPage:
    async def test_in_dev_it_is_for_everybody(self, nodes):
        answer = await call(nodes[0], "GET", "/console")
        assert answer.status == 200
        assert "www-authenticate" not in answer.headers
        assert (await call(nodes[0], "POST", TICKET)).json == {"ticket": "", "expires_in_s": 60}

    @pytest.mark.parametrize(("key", "status"), [(None, 401), ("wrong", 401), (PUSHER, 403), (KEY, 200)])
    async def test_in_serve_its_shell_is_the_same_and_holds_nothing(self, keyed, key, status):
        answer = await call(keyed, "GET", "/console", key=key)
        assert answer.status == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert answer.body == (await call(keyed, "GET", "/console", key=KEY)).body
        assert b"keyed-" not in answer.body

    async def test_its_policy_is_strict(self, nodes):
        headers = (await call(nodes[0], "GET", "/console")).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
