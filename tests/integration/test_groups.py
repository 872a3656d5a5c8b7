"""Groups over real nodes: who is in them, what a push to them costs, and who is left out."""

import asyncio
import json
from unittest.mock import ANY
from urllib.parse import quote

import pytest
import redis.asyncio as aioredis

from sanic_ws import Conn, Everyone, Group, Publisher, User
from tests.faults.crowd import Crowd
from tests.integration.peers import (
    call,
    connection_info,
    eventually,
    node_ids,
    only,
    push,
    push_body,
    run_command,
    unique,
)
from tests.integration.secured import KEY, authenticate, bearer, error_code, secured, signer
from tests.servers import require

LEASE_S = 2


async def join(client, group):
    """Join a group; return once the node has said so."""
    mark = unique("m")
    await client.send("join", {"group": group}, id=mark)
    joined = await client.next("joined")
    assert (joined["data"], joined["id"]) == ({"group": group}, mark)
    return client


async def types(client):
    return [message["type"] for message in await client.rest()]


def member_path(group, conn):
    return f"/api/v1/groups/{group}/connections/{conn}"


async def nodes_of(node, group):
    """Return the nodes that have members, as a node sees it."""
    answer = await call(node, "GET", f"/api/v1/groups/{group}")
    assert answer.status == 200, answer
    assert answer.json["group"] == group
    return [entry["node"] for entry in answer.json["nodes"]]


class TestMembership:
    async def test_members_on_all_nodes_get_it_and_nobody_else(self, nodes, connect):
        group = unique("g")
        members = [await join(await connect(node, unique()), group) for node in nodes]
        other = await connect(nodes[0], unique())
        receipt = await push(nodes[0], {"group": group})
        assert "deliveries" not in receipt
        assert (receipt["outcome"], receipt["counts"]) == ("delivered", {"delivered": 3})
        assert [await types(member) for member in members] == [["hello"]] * 3
        assert await types(other) == []

    async def test_who_has_left_gets_nothing_more(self, nodes, connect):
        group = unique("g")
        stays, leaves = [await join(await connect(node, unique()), group) for node in nodes[:2]]
        await leaves.send("leave", {"group": group}, id="bye")
        left = await leaves.next("left")
        assert (left["data"], left["id"]) == ({"group": group}, "bye")
        assert (await push(nodes[2], {"group": group}))["counts"] == {"delivered": 1}
        assert (await types(stays), await types(leaves)) == (["hello"], [])
        assert await nodes_of(nodes[2], group) == [nodes[0].node_id]

    async def test_group_of_nobody_is_offline(self, nodes, connect):
        receipt = await push(nodes[0], {"group": unique("nobody")})
        assert (receipt["outcome"], receipt["counts"]) == ("offline", {})

    async def test_group_is_empty_once_its_last_member_is_gone(self, nodes, connect):
        group = unique("g")
        member = await join(await connect(nodes[0], unique()), group)
        await member.close()

        async def empty():
            return await nodes_of(nodes[1], group) == []

        await eventually(empty, "the group to be empty")
        assert (await push(nodes[1], {"group": group}))["outcome"] == "offline"

    async def test_names_with_any_characters_are_told_apart(self, nodes, connect):
        names = [
            unique("g") + end for end in ("", " x", "\x1f", "\n", "}", "%3A", "Ä 😀", "*", "#", ",", "/")
        ]
        members = [await join(await connect(nodes[0], unique()), name) for name in names]
        for name, member in zip(names, members, strict=True):
            assert (await push(nodes[1], {"group": name}, data=name))["counts"] == {"delivered": 1}
            assert (await member.next("hello"))["data"] == name

    async def test_joining_twice_is_joining_once(self, nodes, connect):
        group = unique("g")
        member = await join(await join(await connect(nodes[0], unique()), group), group)
        assert (await push(nodes[1], {"group": group}))["counts"] == {"delivered": 1}
        assert await types(member) == ["hello"]

    @pytest.mark.parametrize("data", [None, "g", {}, {"group": ""}, {"group": 5}, {"group": "g" * 129}])
    async def test_what_is_no_group_is_an_error(self, nodes, connect, data):
        client = await connect(nodes[0], unique())
        assert await error_code(client, "join", data) == "invalid_group"
        assert await error_code(client, "leave", data) == "invalid_group"

    async def test_a_hundred_groups_are_enough(self, nodes, connect):
        client = await connect(nodes[0], unique())
        groups = [unique("g") for _ in range(100)]
        for group in groups:
            await join(client, group)
        assert await error_code(client, "join", {"group": unique("g")}) == "too_many_groups"
        answer = await call(nodes[1], "PUT", member_path(unique("g"), client.conn))
        assert answer.status == 429
        await join(client, groups[0])
        await client.send("leave", {"group": groups[0]})
        await client.next("left")
        await join(client, unique("g"))


class TestReconnect:
    @pytest.mark.parametrize("at", [0, 1])
    async def test_under_the_same_sign_is_in_the_same_groups(self, nodes, connect, at):
        kept, left = unique("kept"), unique("left")
        before = await join(await join(await connect(nodes[0], unique()), kept), left)
        await before.send("leave", {"group": left})
        await before.next("left")
        await before.close()
        again = await connect(nodes[at], before.conn)
        assert (await push(nodes[2], {"group": kept}))["counts"] == {"delivered": 1}
        assert (await push(nodes[2], {"group": left}))["outcome"] == "offline"
        assert await types(again) == ["hello"]

    async def test_replacing_session_takes_them_over(self, nodes, connect):
        group = unique("g")
        before = await join(await connect(nodes[0], unique()), group)
        for node in (nodes[0], nodes[1]):
            again = await connect(node, before.conn)
            assert (await before.closed())[0] == 4409
            before = again
            assert (await push(nodes[2], {"group": group}))["counts"] == {"delivered": 1}
            assert await types(again) == ["hello"]

    async def test_after_its_node_was_killed_is_in_the_same_groups(self, make_cluster, connect):
        group = unique("g")
        killed, other, asked = make_cluster(3, lease_s=LEASE_S).nodes
        before = await join(await connect(killed, unique()), group)
        killed.kill()
        await before.closed()
        again = await connect(other, before.conn)
        receipt = await push(asked, {"group": group})
        assert receipt["counts"]["delivered"] == 1
        assert await types(again) == ["hello"]


class TestTrouble:
    async def test_killed_node_fades_and_others_still_get_theirs(self, make_cluster, connect):
        group = unique("g")
        killed, other, asked = make_cluster(3, lease_s=LEASE_S).nodes
        await join(await connect(killed, unique()), group)
        member = await join(await connect(other, unique()), group)
        killed_id = killed.node_id
        killed.kill()
        first = await push(asked, {"group": group})
        assert first["counts"]["delivered"] == 1
        assert set(first["counts"]) <= {"delivered", "unavailable", "unknown"}

        async def faded():
            return killed_id not in await node_ids(asked)

        await eventually(faded, "the lease of the killed node to end")
        assert await nodes_of(asked, group) == [other.node_id]
        after = await push(asked, {"group": group})
        assert (after["outcome"], after["counts"]) == ("delivered", {"delivered": 1})
        assert await types(member) == ["hello", "hello"]

    async def test_emptied_registry_leaves_nobody_out(self, make_cluster, own_redis, connect):
        group = unique("g")
        own = make_cluster(3, own_redis=own_redis, lease_s=LEASE_S)
        members = [await join(await connect(node, unique()), group) for node in own.nodes[:2]]
        await push(own.nodes[2], {"group": group})
        async with aioredis.Redis.from_url(own_redis.url) as client:
            await client.flushall()
        # Nobody has beaten yet: there is no list, so all nodes that were met are asked.
        receipt = await push(own.nodes[2], {"group": group})
        assert receipt["counts"]["delivered"] == 2
        nobody = push_body({"group": unique("nobody")})
        assert (await call(own.nodes[2], "POST", "/api/v1/push", nobody)).json["outcome"] != "offline"
        expected = sorted(node.node_id for node in own.nodes[:2])

        async def asserted():
            return await nodes_of(own.nodes[2], group) == expected

        await eventually(asserted, "the nodes to assert their groups")

        async def offline():
            answer = await call(own.nodes[2], "POST", "/api/v1/push", push_body({"group": unique("nobody")}))
            return answer.json["outcome"] == "offline"

        await eventually(offline, "the registry to be whole")
        assert (await push(own.nodes[2], {"group": group}))["counts"] == {"delivered": 2}
        assert [await types(member) for member in members] == [["hello"] * 3] * 2

    async def test_without_redis_members_still_get_theirs_and_nobody_joins(
        self, make_cluster, own_redis, connect
    ):
        group = unique("g")
        own = make_cluster(3, own_redis=own_redis)
        members = [await join(await connect(node, unique()), group) for node in own.nodes[:2]]
        await push(own.nodes[2], {"group": group})
        own_redis.kill()
        receipt = await push(own.nodes[2], {"group": group})
        assert receipt["counts"] == {"delivered": 2, "unknown": 1}
        assert (
            await error_code(await connect(own.nodes[2], unique()), "join", {"group": group}) == "unavailable"
        )
        answer = await call(own.nodes[2], "PUT", member_path(unique("g"), members[0].conn))
        assert answer.status in (503, 504)
        assert [await types(member) for member in members] == [["hello"] * 2] * 2
        own_redis.start()


class TestExcept:
    @pytest.mark.parametrize("kind", ["group", "all"])
    async def test_connections_and_users_are_left_out(self, make_cluster, connect, kind):
        own, group, user = make_cluster(3), unique("g"), {"userId": unique("u"), "tenantId": 7}
        web, app = [
            await join(await connect(node, unique(), user=user | {"fromType": device}), group)
            for node, device in zip(own.nodes, ("web", "app"), strict=False)
        ]
        alone, other = [await join(await connect(node, unique()), group) for node in own.nodes[1:]]
        to = {"group": {"group": group}, "all": {"all": True}}[kind]
        for except_, got in [
            ([alone.conn, {"user": user}], [other]),
            ([{"user": user | {"fromType": "web"}}], [app, alone, other]),
            ([{"user": {"userId": user["userId"]}}], [web, app, alone, other]),
        ]:
            receipt = await push(own.nodes[2], to, except_=except_)
            assert receipt["counts"] == {"delivered": len(got)}
            heard = [client for client in (web, app, alone, other) if await types(client)]
            assert heard == got

    async def test_devices_of_a_user_are_left_out(self, nodes, connect):
        user = {"userId": unique("u")}
        web, app = [
            await connect(node, unique(), user=user | {"fromType": device})
            for node, device in zip(nodes, ("web", "app"), strict=False)
        ]
        receipt = await push(nodes[2], {"user": user}, except_=[{"user": user | {"fromType": "web"}}])
        assert only(receipt)["conn"] == app.conn
        assert await types(web) == []

    @pytest.mark.parametrize("route", ["local", "direct", "fallback"])
    async def test_connections_of_a_user_are_left_out(self, cluster, connect, route):
        user = {"userId": unique("u")}
        web = await connect(cluster.nodes[0], unique(), user=user | {"fromType": "web"})
        node = cluster.nodes[route != "local"]
        for except_, outcome in [
            ([{"user": user}], "offline"),
            ([{"user": user | {"fromType": "web"}}], "offline"),
            ([{"user": user | {"fromType": "app"}}], "delivered"),
            ([{"user": {"userId": unique("other")}}, "nobody"], "delivered"),
        ]:
            if route == "fallback":
                await cluster.forget(web.conn)
            receipt = await push(node, {"conn": web.conn}, except_=except_)
            assert (receipt["outcome"], len(receipt["deliveries"])) == (outcome, outcome == "delivered")
            assert await types(web) == ["hello"] * (outcome == "delivered")

            async def registered(conn=web.conn):
                return await connection_info(node, conn) is not None

            await eventually(registered, "its node to register it again")

    async def test_sender_never_gets_its_own_message_across_a_reconnect(
        self, cluster, nodes, connect, publisher
    ):
        """As in README: a back end hands on what a client says, to all in the group but the client."""
        room, name = unique("room"), unique("u")
        user = {"userId": name, "fromType": "web"}
        sender = await join(await connect(nodes[0], unique(), user=user), room)
        listener = await join(await connect(nodes[1], unique()), room)
        for exclude in ([sender.conn], [Conn(sender.conn)], [User(name)]):
            receipt = await publisher.push(Group(room), "chat", {"text": "hi"}, exclude=exclude)
            assert receipt.counts == {"delivered": 1}
            assert await types(listener) == ["chat"]
            await sender.close()
            again = await connect(nodes[2], sender.conn)
            receipt = await publisher.push(Group(room), "chat", {"text": "hi"}, exclude=exclude)
            assert receipt.counts == {"delivered": 1}
            assert (await types(listener), await types(again)) == (["chat"], [])
            sender = again
        assert (await publisher.push(Everyone(), "x", exclude=[User(name)])).counts["delivered"] >= 1
        assert await types(sender) == []


class TestPolicy:
    async def test_clients_join_nothing_by_themselves_unless_they_may(self, connect):
        with secured() as node:
            client = await connect(node, unique(), **bearer(signer.token()))
            for kind in ("join", "leave"):
                assert await error_code(client, kind, {"group": "news"}) == "not_allowed"
            await client.close()

    async def test_only_what_the_patterns_allow(self, connect):
        with secured(client_groups="news*, lobby") as node:
            client = await connect(node, unique(), **bearer(signer.token()))
            for group in ("news", "news-eu", "lobby"):
                await join(client, group)
            for group in ("lobby-2", "new", "*"):
                assert await error_code(client, "join", {"group": group}) == "not_allowed"
            await client.close()

    async def test_token_names_groups_at_the_handshake_and_later(self, connect):
        with secured() as node:
            early = await connect(node, unique(), **bearer(signer.token("early", groups=["eu", "all"])))
            late = await connect(node, unique())
            await authenticate(late, signer.token("late", groups=["all"]))
            assert await counts(node, "eu") == {"delivered": 1}
            assert await counts(node, "all") == {"delivered": 2}
            assert await early.rest()
            await authenticate(early, signer.token("early", groups=["us"], exp=4_000_000_000))
            assert await counts(node, "eu") == {}
            assert await counts(node, "us") == {"delivered": 1}
            await early.close()
            # What a token has granted is not kept for a session that has another one.
            again = await connect(node, early.conn, **bearer(signer.token("early")))
            assert await counts(node, "us") == {}
            assert await types(again) == []
            for client in (late, again):
                await client.close()

    async def test_keys_reach_so_far_and_no_further(self, connect):
        few, reader = "key-of-somebody-limited", "key-of-somebody-who-reads"
        keys = f"all:{KEY},few:{few}:push+admin:group=eu-*+conn=web-*,reader:{reader}:read"
        with secured(api_keys=keys) as node:
            client = await connect(node, unique("web"), **bearer(signer.token()))
            for method, path, key, status in [
                ("PUT", member_path("eu-1", client.conn), few, 200),
                ("PUT", member_path("us-1", client.conn), few, 403),
                ("PUT", member_path("eu-1", "app-1"), few, 403),
                ("PUT", member_path("eu-1", client.conn), reader, 403),
                ("DELETE", member_path("eu-1", client.conn), reader, 403),
                ("GET", "/api/v1/groups/eu-1", reader, 200),
                ("GET", "/api/v1/groups/eu-1", few, 403),
            ]:
                assert (await call(node, method, path, key=key)).status == status, (method, path, key)
            for group, status in (("eu-1", 200), ("us-1", 403)):
                body = push_body({"group": group})
                answer = await call(node, "POST", "/api/v1/push", body, key=few)
                assert answer.status == status
            assert answer.error["field"] == "to.group"
            await client.close()


async def counts(node, group):
    answer = await call(node, "POST", "/api/v1/push", push_body({"group": group}), key=KEY)
    return answer.json["counts"]


class TestAPI:
    @pytest.mark.parametrize("at", [0, 1])
    async def test_connection_is_put_into_a_group_and_taken_out_from_any_node(self, nodes, connect, at):
        group, client = unique("gruppe ä/"), await connect(nodes[0], unique())
        path = member_path(quoted(group), client.conn)
        answer = await call(nodes[at], "PUT", path)
        assert answer.status == 200
        assert answer.json == {"group": group, "conn": client.conn, "member": True}
        # Every push that follows knows it, whoever makes it.
        assert (await push(nodes[2], {"group": group}))["counts"] == {"delivered": 1}
        answer = await call(nodes[2], "GET", f"/api/v1/groups/{quoted(group)}")
        listed = [{"node": nodes[0].node_id, "connections": 1}]
        assert answer.json == {"group": group, "connections": 1, "nodes": listed}
        answer = await call(nodes[at], "DELETE", path)
        assert (answer.status, answer.json["member"]) == (200, False)
        assert (await push(nodes[2], {"group": group}))["outcome"] == "offline"
        assert await types(client) == ["hello"]

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_who_is_not_connected_is_not_found(self, nodes, method):
        answer = await call(nodes[0], method, member_path("g", unique("nobody")))
        assert (answer.status, answer.error["code"]) == (404, "not_found")

    async def test_many_at_once(self, nodes, connect):
        group = unique("g")
        clients = [await connect(node, unique()) for node in nodes for _ in range(10)]
        answers = await asyncio.gather(
            *(call(nodes[0], "PUT", member_path(group, client.conn)) for client in clients)
        )
        assert {answer.status for answer in answers} == {200}
        assert (await push(nodes[1], {"group": group}))["counts"] == {"delivered": 30}

    async def test_command_line_pushes_to_a_group(self, cluster, connect):
        group = unique("g")
        await join(await connect(cluster.nodes[0], unique()), group)
        for where in (cluster.env, {}):
            url = [] if where else ["--url", cluster.nodes[1].url]
            ended = await run_command("push", "--group", group, *url, env=where)
            assert (ended.code, json.loads(ended.out)["counts"]) == (0, {"delivered": 1})


def quoted(text):
    return quote(text, safe="")


class TestCost:
    NODES, MEMBERS, PUSHES = 8, 3000, 5

    async def test_push_costs_a_message_for_each_node_with_members(self, make_cluster):
        own, group = make_cluster(self.NODES), unique("g")
        signs = [[unique() for _ in range(self.MEMBERS // 2)] for _ in range(2)]
        homes = own.nodes[2], own.nodes[5]
        with Crowd(signs[0]) as here, Crowd(signs[1]) as there:
            for crowd, node in ((here, homes[0]), (there, homes[1])):
                await asyncio.to_thread(crowd.connect, node.port)
                await asyncio.to_thread(join_all, crowd, group)
            async with Publisher(own.redis.url, own.rabbit.url, own.prefix) as publisher:
                sent, replied = watch(publisher)
                before = await batches(own.nodes)
                for _ in range(self.PUSHES):
                    receipt = await publisher.push(Group(group), "hello", {"n": 1})
                    assert receipt.counts == {"delivered": self.MEMBERS}
                after = await batches(own.nodes)
            assert sorted(sent) == sorted([node.node_id for node in homes] * self.PUSHES)
            assert sorted(replied) == sorted(sent)
            assert {node: after[node] - before[node] for node in after if after[node] != before[node]} == {
                node.node_id: self.PUSHES for node in homes
            }
            for crowd in (here, there):
                got = await asyncio.to_thread(read_pushes, crowd, self.PUSHES)
                assert got == {self.PUSHES}


def watch(publisher):
    """Note to whom batches go and from whom replies come; anything to all nodes would be a mistake."""
    sent, replied = [], []
    broker, router = publisher._broker, publisher._dispatcher._router
    send, take = broker.send, router.replied

    async def noting_send(node, *rest):
        sent.append(node)
        await send(node, *rest)

    async def no_broadcast(*_):
        sent.append("all")

    def noting_replied(reply, now):
        replied.append(reply.node)
        take(reply, now)

    broker.send, broker.broadcast, router.replied = noting_send, no_broadcast, noting_replied
    return sent, replied


async def batches(nodes):
    """Return how many batches each node has read."""
    stats = [(await call(node, "GET", "/api/v1/stats")).json for node in nodes]
    return {entry["node"]: entry["batches"] for entry in stats}


def join_all(crowd, group):
    """Have all of a crowd join a group; wait for the answers."""
    message = json.dumps({"type": "join", "data": {"group": group}}).encode()
    frame = bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message
    for sock in crowd._sockets.values():
        sock.settimeout(30)
        sock.send(frame)
    for sign in crowd._sockets:
        # Pings come in between.
        while '"joined"' not in crowd.read(sign):
            pass


def read_pushes(crowd, pushes):
    """Return how often clients have got the push."""
    found = set()
    for sign in crowd._sockets:
        text = ""
        while text.count('"hello"') < pushes:
            text += crowd.read(sign)
        found.add(text.count('"hello"'))
    return found


CLIENT = """
{"type": "join", "data": {"group": "news"}, "id": "1"}
{"type": "joined", "data": {"group": "news"}, "id": "1"}
{"type": "leave", "data": {"group": "news"}, "id": "2"}
{"type": "left", "data": {"group": "news"}, "id": "2"}
"""
CURL = r"""
curl -s -X PUT http://127.0.0.1:8000/api/v1/groups/news/connections/demo
curl -s http://127.0.0.1:8000/api/v1/groups/news
curl -s -X POST http://127.0.0.1:8000/api/v1/push -d '{"to":{"group":"news"},"type":"headline","data":"hi", \
  "except":["conn-9",{"user":{"userId":1001}}]}'
curl -s -X DELETE http://127.0.0.1:8000/api/v1/groups/news/connections/demo
"""


class TestReadme:
    """What README shows, as it stands there."""

    async def test_client_joins_and_leaves(self, make_cluster, connect):
        client = await connect(make_cluster(1).nodes[0])
        join, joined, leave, left = map(json.loads, CLIENT.split("\n")[1:-1])
        for message, answer in ((join, joined), (leave, left)):
            await client.send(**message)
            assert await client.next() == answer | {"time": ANY}

    async def test_calls(self, make_cluster, connect):
        (node,) = make_cluster(1).nodes
        client = await connect(node, "demo")
        commands = CURL.replace("\\\n", "").strip().split("\n")
        answers = [await shell(line.replace(":8000", f":{node.port}")) for line in commands]
        assert answers == [
            {"group": "news", "conn": "demo", "member": True},
            {"group": "news", "connections": 1, "nodes": [{"node": node.node_id, "connections": 1}]},
            {"id": ANY, "outcome": "delivered", "counts": {"delivered": 1}},
            {"group": "news", "conn": "demo", "member": False},
        ]
        assert (await client.next("headline"))["data"] == "hi"

    async def test_publisher(self, cluster, connect, publisher):
        client = await join(await connect(cluster.nodes[0]), "news")
        receipt = await publisher.push(Group("news"), "headline", "hi", exclude=["conn-9", User(1001)])
        assert receipt.counts["delivered"] == 1
        assert (await client.next("headline"))["data"] == "hi"


async def shell(command):
    """Run a command of README's; return what it prints."""
    require("curl")
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return json.loads(out)
