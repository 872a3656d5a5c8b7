"""The AsyncAPI document is valid, and what nodes, clients and back ends say is as it says.

All that the clients and back ends of the other tests hear is checked against it too: `tests/spoken.py`.
"""

import asyncio
import base64
import json

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from tests.integration.back_end import BackEnd
from tests.integration.peers import call, push, push_body, unique
from tests.integration.secured import KEY, secured
from tests.node_packages import install
from tests.spoken import check_spoken

PATH = "/docs/asyncapi.json"


@pytest.fixture(scope="module")
def specification(tmp_path_factory):
    """The JSON Schema of AsyncAPI 3.0, as its makers publish it."""
    folder = tmp_path_factory.mktemp("asyncapi")
    install(folder, "@asyncapi/specs@6.11.1")
    schemas = folder / "node_modules" / "@asyncapi" / "specs" / "schemas"
    return Draft7Validator(json.loads((schemas / "3.0.0-without-$id.json").read_text("utf-8")))


async def test_document_is_valid(nodes, specification):
    document = (await call(nodes[0], "GET", PATH)).json
    specification.validate(document)
    assert document["servers"]["gateway"] == {
        "host": f"127.0.0.1:{nodes[0].port}",
        "protocol": "ws",
        "description": "any node",
    }
    assert document["channels"]["calls"]["address"] == "shared.rpc"


async def test_document_of_a_node_that_takes_tokens_is_valid(specification):
    with secured() as node:
        document = (await call(node, "GET", PATH, key=KEY)).json
    specification.validate(document)
    assert set(document["components"]["securitySchemes"]) == {"bearer", "token"}


async def test_document_that_is_wrong_is_not_valid(nodes, specification):
    document = (await call(nodes[0], "GET", PATH)).json
    document["operations"]["hear"]["action"] = "listen"
    assert not specification.is_valid(document)


class Talk:
    """Clients of a node, of whom all that they say and hear is noted by its name in the document."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    async def say(self, client, kind, data=None):
        message = {"type": kind, "data": data, "id": unique("m")}
        self.names.add(check_spoken(message, f"client.{kind}", "client.message"))
        await client.socket.send(json.dumps(message))

    async def hear(self, client, kind):
        message = await client.next(kind)
        self.names.add(check_spoken(message, f"node.{kind}", "node.push"))
        return message

    async def ask(self, client, kind, data, answer):
        """Say something, and hear the answer."""
        await self.say(client, kind, data)
        return await self.hear(client, answer)

    def note_frame(self, value, name):
        self.names.add(check_spoken(value, name))


async def talk_by_themselves(talk, client, user):
    talk.note_frame(
        {"type": "connected", "data": client.connected, "time": "2026-01-01T00:00:00Z"}, "node.connected"
    )
    assert (await talk.ask(client, "ping", {"any": 1}, "pong"))["data"] == {"any": 1}
    assert (await talk.ask(client, "user_info", user, "user_bound"))["data"]["user"]["tenantId"] == "7"
    await talk.ask(client, "join", {"group": "news"}, "joined")
    await talk.ask(client, "leave", {"group": "news"}, "left")
    assert (await talk.ask(client, "nobody_handles_this", 1, "error"))["data"]["code"] == "unhandled_type"
    await talk.ask(client, "auth", {"token": "none is taken here"}, "error")


async def talk_of_pushes(talk, node, client, phone, user):
    await push(node, {"conn": client.conn}, raw="text")
    talk.note_frame(await client.next_frame(), "node.text")
    await push(node, {"conn": client.conn}, raw_base64="/wA=")
    talk.note_frame(base64.b64encode(await client.next_frame()).decode(), "node.binary")
    await push(node, {"user": user}, offline="store", type="note")
    await phone.next("note")
    first = await talk.hear(client, "note")
    assert first["prev"] is None
    await push(node, {"user": user}, offline="store", type="note")
    await phone.next("note")
    assert (await talk.hear(client, "note"))["prev"] == first["id"]
    assert (await talk.ask(client, "resume", {"since": ""}, "note"))["type"] == "note"
    await talk.hear(client, "note")
    assert (await talk.hear(client, "resumed"))["data"]["count"] == 2


async def talk_of_answers(talk, node, client, phone, user):
    asking = asyncio.create_task(
        push(node, {"user": user}, wait="reply", wait_for="first", timeout_ms=20_000)
    )
    message = await talk.hear(client, "hello")
    await phone.next("hello")
    await talk.say(client, "reply", {"id": message["id"], "data": 1})
    assert (await asking)["counts"]["acked"] == 1
    await talk.hear(phone, "cancelled")
    asking = asyncio.create_task(push(node, {"conn": client.conn}, wait="ack", timeout_ms=20_000))
    await talk.say(client, "ack", {"id": (await talk.hear(client, "hello"))["id"]})
    assert (await asking)["outcome"] == "acked"


async def test_all_that_clients_say_and_hear_is_as_documented(make_cluster, connect):
    node, other = make_cluster(2).nodes
    user = {"userId": unique("u"), "tenantId": 7, "fromType": "web"}
    client, phone = await connect(node, unique()), await connect(other)
    document = (await call(node, "GET", PATH)).json
    talk = Talk()
    await talk_by_themselves(talk, client, user)
    await phone.bind(**user)
    await talk_of_pushes(talk, other, client, phone, user)
    await talk_of_answers(talk, other, client, phone, user)
    node.terminate()
    await talk.hear(client, "reconnect")
    code, reason = await client.closed()
    assert document["channels"]["clients"]["x-close-codes"][str(code)]["reconnect"]
    assert reason.startswith("retry_after_ms=")
    messages = document["channels"]["clients"]["messages"]
    assert talk.names == set(messages)


async def test_all_that_back_ends_say_and_hear_is_as_documented(make_cluster, connect):
    own = make_cluster(1, presence_grace_s=0)
    back_end = await BackEnd.open(own.rabbit.url, own.prefix)
    inbox, events = await back_end.bind("#"), await back_end.watch("#")
    user = {"userId": unique("u"), "fromType": "web"}
    client = await connect(own.nodes[0], unique())
    assert (await events.next())["type"] == "connection_opened"
    await client.bind(**user)
    assert (await events.next())["user"] == {"userId": user["userId"]}
    await client.send("say", 1)
    await client.send("say", {"a": 1}, "m")
    assert [(await inbox.next())["id"] for _ in range(2)] == [None, "m"]
    for asked, answer in (
        (push_body({"conn": client.conn}), "id"),
        ({"pushes": [push_body({"user": user}), push_body({"all": True})]}, "receipts"),
        (push_body({"conn": "a b"}), "error"),
    ):
        if answer != "error":
            check_spoken(asked, "call")
        assert answer in await back_end.call(asked)
    await client.close()
    assert {(await events.next())["type"] for _ in range(2)} == {"connection_closed", "user_offline"}
    await back_end.close()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({"type": "connected", "data": {}, "time": "t"}, "node.connected"),
        ({"type": "pong", "data": 1}, "node.pong"),
        ({"type": "connected", "data": 1, "time": "t"}, "node.push"),
        ({"type": "ack", "data": {"id": "p"}}, "client.message"),
        ({"type": "user_info", "data": {"userId": 0}}, "client.user_info"),
        ({"type": "join", "data": {"group": ""}}, "client.join"),
        ({"to": {"conn": "c"}}, "call"),
        ({"id": "p", "outcome": "sent", "counts": {}}, "answer"),
    ],
)
def test_what_is_not_as_documented_is_found(message, name):
    with pytest.raises(ValidationError):
        check_spoken(message, name)
