"""Durable messages over real nodes: stored for those who are away, read in order wherever they come back."""

from tests.integration.peers import push, unique

COUNT = 250


async def store(node, to, data=1, **fields):
    """Store a message and push it; return its receipt."""
    return await push(node, to, type="note", data=data, offline="store", **fields)


def user(**more):
    return {"user": {"userId": unique("u"), **more}}


async def come_back(connect, node, to, since, sign=None):
    """Connect as a user, or under an id, that is known already; return the client."""
    query = {"since": since}
    if "conn" in to:
        return await connect(node, to["conn"], query=query)
    return await connect(node, sign, query=query, user=to["user"])


async def read(client, until="resumed"):
    """Read until a message of a type; return those before it, and that one's data."""
    messages = []
    while (message := await client.next())["type"] != until:
        messages.append(message)
    return messages, message["data"]


def data_of(messages):
    return [message["data"] for message in messages]


def assert_chained(messages, since=None):
    """Each message names the one before it."""
    before = since
    for message in messages:
        assert message.get("prev") == before, message
        before = message["id"]


class TestAway:
    async def test_what_was_stored_while_a_connection_was_away_comes_on_another_node(self, nodes, connect):
        to = {"conn": unique()}
        client = await connect(nodes[0], to["conn"])
        first = await store(nodes[1], to, 0)
        assert first["outcome"] == "delivered"
        assert (await client.next("note"))["data"] == 0
        await client.close()
        for number in range(1, COUNT):
            receipt = await store(nodes[number % 3], to, number)
            assert receipt["outcome"] in ("stored", "delivered")
        assert (await store(nodes[1], to, COUNT))["outcome"] == "stored"
        client = await come_back(connect, nodes[2], to, first["id"])
        messages, resumed = await read(client)
        assert data_of(messages) == list(range(1, COUNT + 1))
        assert_chained(messages, first["id"])
        assert resumed == {"recovered": True, "count": COUNT, "last_id": messages[-1]["id"]}
        live = await store(nodes[0], to, "live")
        assert live["outcome"] == "delivered"
        last = await client.next("note")
        assert (last["data"], last["prev"]) == ("live", messages[-1]["id"])

    async def test_nobody_was_ever_there(self, nodes, connect):
        to = user()
        receipt = await store(nodes[0], to)
        assert (receipt["outcome"], receipt["counts"]) == ("stored", {"stored": 1})
        client = await connect(nodes[1], user=to["user"])
        assert await client.rest() == []
        await client.send("resume", {"since": ""})
        messages, resumed = await read(client)
        assert data_of(messages) == [1]
        assert resumed == {"recovered": True, "count": 1, "last_id": receipt["id"]}
