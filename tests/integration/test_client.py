"""The Python client on real nodes: it comes back, goes on where it was, and stays away where it has to."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sanic_ws import User
from sanic_ws.client import Client, Problem, Resumed, State, StateChanged, connect
from sanic_ws.errors import (
    ClientAway,
    ClientClosed,
    ClientError,
    ClientOverloaded,
    ClientRefused,
    InvalidField,
)
from tests.integration.peers import call, connection_info, eventually, only, push, unique
from tests.integration.secured import push_to, secured, signer
from tests.leaks import note
from tests.servers import GatewayNode, free_port

EXAMPLES = Path(__file__).with_name("examples")


class Listener:
    """Read a client in the background; holds the messages, the events, and what ended it."""

    def __init__(self, url: Any, **options: Any) -> None:
        self.events: list[Any] = []
        self.messages: list[Any] = []
        self.error: ClientError | None = None
        self.client: Client = connect(url, on_event=self.events.append, **options)

    async def run(self) -> None:
        try:
            async for message in self.client:
                self.messages.append(message)
        except ClientError as exc:
            self.error = exc

    @property
    def data(self) -> list[Any]:
        return [message.data for message in self.messages]

    def states(self) -> list[State]:
        return [event.state for event in self.events if isinstance(event, StateChanged)]

    async def came(self, count: int) -> list[Any]:
        await eventually(lambda: len(self.messages) >= count, f"{count} messages")
        return self.data

    async def opened(self, times: int) -> None:
        await eventually(lambda: self.states().count(State.OPEN) >= times, f"to be open {times} times")


Listen = Callable[..., Any]


@asynccontextmanager
async def listening(url: Any, **options: Any) -> AsyncIterator[Listener]:
    listener = Listener(url, **options)
    async with listener.client:
        task = asyncio.create_task(listener.run())
        yield listener
    await task


def urls(nodes):
    return [node.ws_url for node in nodes]


async def store(node, to, data):
    receipt = await push(node, to, type="note", data=data, offline="store")
    assert receipt["outcome"] in ("stored", "delivered")
    return receipt


class TestOpen:
    async def test_is_who_it_says_and_where_it_says(self, nodes):
        user = User(unique("u"), 7, from_type="tool")
        async with connect(nodes[0].ws_url, user=user) as client:
            assert (client.state, client.user, client.node) == (State.OPEN, user, nodes[0].node_id)
            info = await connection_info(nodes[1], client.conn)
            assert info["user"] == user.to_json()
        assert client.state is State.CLOSED

        async def gone():
            return await connection_info(nodes[1], client.conn) is None

        await eventually(gone, "the connection to be gone")

    async def test_answers_a_push(self, nodes):
        async with connect(nodes[0].url) as client:
            asked = [
                asyncio.create_task(push(nodes[1], {"conn": client.conn}, wait=wait))
                for wait in ("ack", "reply")
            ]
            message = await anext(client)
            await message.ack()
            message = await anext(client)
            assert (message.type, message.data, message.gap) == ("hello", {"n": 1}, False)
            await message.reply({"is": "good"})
            receipts = await asyncio.gather(*asked)
        assert [receipt["outcome"] for receipt in receipts] in (["acked", "acked"], ["acked", "delivered"])

    async def test_raw_pushes_come_as_they_are(self, nodes):
        async with listening(nodes[0].ws_url) as one:
            to = {"conn": one.client.conn}
            await push(nodes[0], to, raw="just täxt")
            await push(nodes[0], to, raw_base64="/w==")
            await push(nodes[0], to, raw='{"type": 7}')
            await one.came(3)
        assert [(m.type, m.data, m.content, m.binary) for m in one.messages] == [
            ("", None, "just täxt".encode(), False),
            ("", None, b"\xff", True),
            ("", None, b'{"type": 7}', False),
        ]
        assert one.messages[0].text == "just täxt"
        with pytest.raises(InvalidField, match="id"):
            await one.messages[0].ack()
        with pytest.raises(InvalidField, match="content"):
            _ = one.messages[1].text

    async def test_errors_of_the_node_are_events(self, nodes):
        async with listening(nodes[0].ws_url) as one:
            await one.client.send("fly", {"to": "the moon"})
            await eventually(lambda: any(isinstance(e, Problem) for e in one.events), "an error")
        (problem,) = [event for event in one.events if isinstance(event, Problem)]
        assert problem.code == "unhandled_type"

    async def test_own_messages_are_handed_out_where_that_is_wanted(self, nodes):
        async with listening(nodes[0].ws_url, since="", everything=True) as one:
            await one.came(2)
        assert [message.type for message in one.messages] == ["connected", "resumed"]

    async def test_error_of_on_event_does_not_end_it(self, nodes):
        def fail(_):
            raise ZeroDivisionError

        async with connect(nodes[0].ws_url, on_event=fail) as client:
            assert only(await push(nodes[0], {"conn": client.conn}))["outcome"] == "delivered"
            assert (await anext(client)).type == "hello"

    async def test_groups_are_joined_and_left(self, make_cluster):
        (node,) = make_cluster(1, client_groups="news,weather").nodes
        async with listening(node.ws_url, groups=["news"]) as one:
            await one.client.join("weather")
            assert one.client.groups == ("news", "weather")
            for group in ("news", "weather"):
                assert (await push(node, {"group": group}))["counts"] == {"delivered": 1}
            await one.client.leave("news")
            assert (await push(node, {"group": "news"}))["outcome"] == "offline"
            with pytest.raises(ClientRefused) as caught:
                await one.client.join("secrets")
            assert (caught.value.code, one.client.groups) == ("not_allowed", ("weather",))
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            await one.opened(2)

            async def joined():
                return (await push(node, {"group": "weather"}))["counts"].get("delivered")

            await eventually(joined, "the group to be joined again")


class TestFailing:
    @pytest.mark.parametrize(
        "url", ["", "node", "ftp://node", "ws://", "ws://a:b@node", "ws://node/ws?sign=1", "ws://[x"]
    )
    def test_what_is_no_address_is_refused(self, url):
        with pytest.raises(InvalidField, match="url"):
            connect(url)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("sign", "a b"),
            ("since", "x" * 65),
            ("groups", [""]),
            ("queue_size", 0),
            ("inbox_size", 0),
            ("connect_timeout_s", 0),
            ("open_timeout_s", float("nan")),
            ("token", "a\r\nb"),
        ],
    )
    def test_what_cannot_be_is_refused_by_its_name(self, field, value):
        with pytest.raises(InvalidField, match=field):
            connect("ws://node", **{field: value})

    async def test_nobody_there(self):
        url = f"ws://127.0.0.1:{free_port()}"
        with pytest.raises(ClientAway, match="does not answer"):
            await connect(url, open_timeout_s=0).__aenter__()

    async def test_one_that_is_late_is_waited_for(self, make_cluster):
        (node,) = make_cluster(1).nodes
        await asyncio.to_thread(node.kill)
        entering = asyncio.create_task(connect(node.ws_url, open_timeout_s=60).__aenter__())
        await asyncio.to_thread(node.start)
        client = await entering
        assert client.state is State.OPEN
        await client.close()

    async def test_not_a_gateway(self, nodes):
        with pytest.raises(ClientClosed) as caught:
            await connect(f"{nodes[0].url}/nowhere").__aenter__()
        assert caught.value.code == 404

    async def test_one_that_never_says_connected(self):
        async def silent(reader, writer):
            with suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ClientAway, match="nothing within"):
            await connect(url, connect_timeout_s=0.05, open_timeout_s=0).__aenter__()
        server.close()

    async def test_user_that_is_not_taken(self):
        with secured(jwt_secret=None) as node, pytest.raises(ClientRefused) as caught:
            await connect(node.ws_url, user=User(1)).__aenter__()
        assert caught.value.code == "identity_not_trusted"

    async def test_used_outside_of_its_block(self, nodes):
        client = connect(nodes[0].ws_url)
        with pytest.raises(ClientError, match="async with"):
            await client.send("a")
        async with client:
            pass
        with pytest.raises(ClientClosed):
            await client.send("a")
        with pytest.raises(StopAsyncIteration):
            await anext(client)


class TestComingBack:
    async def test_to_another_node_when_its_own_was_killed(self, make_cluster):
        own = make_cluster(2)
        user = User(unique("u"), from_type="tool")
        async with listening(urls(own.nodes), user=user) as one:
            conn = one.client.conn
            first = await store(own.nodes[1], {"conn": conn}, 0)
            await one.came(1)
            await asyncio.to_thread(own.nodes[0].kill)
            await one.opened(2)
            assert (one.client.conn, one.client.node, one.client.user) == (conn, own.nodes[1].node_id, user)
            await store(own.nodes[1], {"conn": conn}, 1)
            assert await one.came(2) == [0, 1]
        assert one.messages[1].prev == first["id"]
        assert one.states()[:4] == [State.CONNECTING, State.OPEN, State.WAITING, State.CONNECTING]

    async def test_after_the_wait_that_a_leaving_node_has_asked_for(self, make_cluster):
        own = make_cluster(2)
        async with listening(urls(own.nodes), everything=True) as one:
            code = asyncio.create_task(asyncio.to_thread(own.nodes[0].stop))
            await one.opened(2)
            assert (await code, one.client.node) == (0, own.nodes[1].node_id)
        (waiting,) = [e for e in one.events if isinstance(e, StateChanged) and e.state is State.WAITING]
        (told,) = [message.data for message in one.messages if message.type == "reconnect"]
        assert (waiting.wait_s, waiting.reason) == (told["after_ms"] / 1000, "the node is leaving (1012)")

    async def test_goes_on_where_it_was_over_nodes_that_come_and_go(self, make_cluster):
        own = make_cluster(3)
        user = User(unique("u"), from_type="tool")
        sent, stop = 0, asyncio.Event()

        async def keep_pushing():
            nonlocal sent
            while not stop.is_set():
                with suppress(OSError):
                    await store(own.nodes[2], {"user": {"userId": user.user_id}}, sent)
                    sent += 1

        async with listening(urls(own.nodes[:2]), user=user) as one:
            pushing = asyncio.create_task(keep_pushing())
            for round_ in range(4):
                node = next(node for node in own.nodes if node.node_id == one.client.node)
                end = node.kill if round_ % 2 else node.terminate
                await asyncio.to_thread(end)
                await one.opened(round_ + 2)
                await asyncio.to_thread(node.stop)
                await asyncio.to_thread(node.start)
            stop.set()
            await pushing
            assert await one.came(sent) == list(range(sent))
        assert not any(message.gap for message in one.messages)
        assert all(event.recovered for event in one.events if isinstance(event, Resumed))

    async def test_what_it_missed_comes_even_if_nothing_durable_had_come_before(self, make_cluster):
        own = make_cluster(2)
        async with listening(own.nodes[0].ws_url) as one:
            to = {"conn": one.client.conn}
            await asyncio.to_thread(own.nodes[0].kill)
            for number in range(3):
                assert (await store(own.nodes[1], to, number))["outcome"] == "stored"
            await asyncio.to_thread(own.nodes[0].start)
            assert await one.came(3) == [0, 1, 2]
        assert not any(message.gap for message in one.messages)

    async def test_an_id_that_nobody_knows_is_told(self, nodes):
        to = {"conn": unique()}
        await store(nodes[0], to, 1)
        async with listening(nodes[1].ws_url, sign=to["conn"], since="not-there") as one:
            assert await one.came(1) == [1]
            await eventually(lambda: any(isinstance(e, Resumed) for e in one.events), "the end of the replay")
        assert one.messages[0].gap
        (resumed,) = [event for event in one.events if isinstance(event, Resumed)]
        assert (resumed.recovered, resumed.last_id) == (False, one.client.last_id)

    async def test_leaves_a_node_of_which_nothing_is_heard(self, make_cluster):
        own = make_cluster(2, heartbeat_s=1)
        async with listening(urls(own.nodes)) as one:
            own.nodes[0].pause()
            try:
                await one.opened(2)
            finally:
                own.nodes[0].resume()
            assert one.client.node == own.nodes[1].node_id
            # The other is heard: it stays there.
            assert only(await push(own.nodes[1], {"conn": one.client.conn}))["outcome"] == "delivered"
        assert any(
            "nothing was heard" in event.reason for event in one.events if isinstance(event, StateChanged)
        )


class TestStayingAway:
    async def test_when_it_was_kicked(self, nodes):
        async with listening(nodes[0].ws_url) as one:
            await push(nodes[0], {"conn": one.client.conn})
            answer = await call(nodes[1], "DELETE", f"/api/v1/connections/{one.client.conn}")
            assert answer.status < 300
            await eventually(lambda: one.error, "the end")
            assert (one.error.code, one.client.state, len(one.messages)) == (4403, State.CLOSED, 1)
            with pytest.raises(ClientClosed):
                await one.client.send("a")

    async def test_when_a_newer_one_has_its_id(self, nodes):
        sign = unique()
        async with (
            listening(nodes[0].ws_url, sign=sign) as one,
            listening(nodes[1].ws_url, sign=sign) as other,
        ):
            await eventually(lambda: one.error, "the end")
            assert (one.error.code, other.client.state) == (4409, State.OPEN)

    async def test_when_it_was_told_not_to_come_back(self, make_cluster):
        (node,) = make_cluster(1).nodes
        async with listening(node.ws_url, reconnect=False) as one:
            await asyncio.to_thread(node.kill)
            await eventually(lambda: one.error, "the end")
            assert one.error.code == 1006


class TestTokens:
    async def test_each_connection_has_a_token_of_its_own(self):
        given = []

        async def token():
            lives_s = 2 if not given else 600
            given.append(signer.token("u", exp=time.time() + lives_s))
            note(given[-1])
            return given[-1]

        with secured() as node:
            async with listening(node.ws_url, token=token) as one:
                await one.opened(2)
                assert one.client.user == User("u")
                assert await push_to(node, {"conn": one.client.conn}) == "delivered"
        assert len(given) == 2
        assert any("(4401)" in event.reason for event in one.events if isinstance(event, StateChanged))

    async def test_a_fresh_one_prolongs_the_session(self):
        with secured() as node:
            first = signer.token("u", exp=time.time() + 3)
            async with listening(node.ws_url, token=first) as one:
                await one.client.authenticate(signer.token("u", exp=time.time() + 600))
                with pytest.raises(ClientRefused) as caught:
                    await one.client.authenticate(signer.token("somebody-else"))
                assert caught.value.code == "identity_mismatch"
                await eventually(lambda: time.time() > float(_exp(first)) + 1, "the first to have ended")
                assert one.client.state is State.OPEN
                assert await push_to(node, {"conn": one.client.conn}) == "delivered"

    @pytest.mark.parametrize("as_function", [False, True])
    async def test_one_that_is_not_taken_ends_it(self, as_function):
        asked = []
        bad = signer.token("u", exp=time.time() - 600)

        def token():
            asked.append(1)
            return bad

        with secured() as node, pytest.raises(ClientClosed) as caught:
            await connect(node.ws_url, token=token if as_function else bad).__aenter__()
        assert (caught.value.code, len(asked)) == (401, 2 * as_function)
        assert bad not in str(caught.value)

    async def test_function_that_fails_is_the_cause(self):
        def token():
            raise KeyError("the vault")

        with pytest.raises(ClientAway, match="KeyError") as caught:
            await connect("ws://127.0.0.1:1", token=token, open_timeout_s=0).__aenter__()
        assert isinstance(caught.value.__cause__, KeyError)


class TestQueues:
    async def test_what_is_sent_while_away_goes_with_the_next_connection(self, make_cluster):
        (node,) = make_cluster(1).nodes
        async with listening(node.ws_url, everything=True, queue_size=3) as one:
            await asyncio.to_thread(node.kill)
            await eventually(lambda: one.client.state is not State.OPEN, "to be away")
            sends = [asyncio.create_task(one.client.send("ping", n)) for n in range(4)]
            await eventually(sends[3].done, "one to be too many")
            assert isinstance(sends[3].exception(), ClientOverloaded)
            sends[1].cancel()
            await asyncio.to_thread(node.start)
            await asyncio.gather(sends[0], sends[2])

            def pongs():
                return [message.data for message in one.messages if message.type == "pong"]

            await eventually(lambda: len(pongs()) == 2, "what was sent to be answered")
            assert pongs() == [0, 2]

    async def test_who_waits_to_send_is_told_the_end(self, make_cluster):
        (node,) = make_cluster(1).nodes
        async with listening(node.ws_url) as one:
            await asyncio.to_thread(node.kill)
            await eventually(lambda: one.client.state is not State.OPEN, "to be away")
            sending = asyncio.create_task(one.client.send("a"))
            await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await sending

    async def test_one_that_does_not_read_holds_back_its_node_and_loses_nothing_that_was_delivered(
        self, nodes
    ):
        text, delivered = "x" * 20_000, []
        async with connect(nodes[0].ws_url, inbox_size=10) as client:
            inbox, numbers = client._life.conversation.inbox, iter(range(10_000))
            while True:
                batch = [next(numbers) for _ in range(100)]
                pushes = [{"to": {"conn": client.conn}, "type": "n", "data": [n, text]} for n in batch]
                answer = await call(nodes[0], "POST", "/api/v1/push/batch", {"pushes": pushes})
                outcomes = [receipt["outcome"] for receipt in answer.json["receipts"]]
                delivered += [n for n, outcome in zip(batch, outcomes, strict=True) if outcome == "delivered"]
                if "overloaded" in outcomes:
                    break
            assert inbox.full
            assert len(inbox._messages) < len(delivered)
            assert [(await anext(client)).data[0] for _ in delivered] == delivered
            assert not inbox.full


async def test_example_answers():
    with GatewayNode("dev", name="example") as node:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLES / "listening.py"),
            env={**os.environ, "URL": node.ws_url},
            stdout=asyncio.subprocess.PIPE,
        )
        try:

            async def asked():
                receipt = await push(node, {"conn": "demo"}, type="question", data=6, wait="reply")
                return receipt if receipt["outcome"] == "acked" else None

            receipt = await eventually(asked, "an answer")
            assert only(receipt)["reply"] == {"answer": 42}
        finally:
            program.terminate()
            out, _ = await program.communicate()
    assert b"question 6" in out
    assert b"State.OPEN" in out


def _exp(token: str) -> float:
    import base64
    import json

    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"]
