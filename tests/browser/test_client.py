"""The JavaScript client in a browser, on real nodes."""

import asyncio
import logging
from typing import Self

import pytest
from playwright.async_api import expect

from sanic_ws import Publisher, User
from sanic_ws.errors import SanicWsError
from tests.browser.conftest import SOCKET_FAILED, bare, until
from tests.integration.back_end import BackEnd
from tests.integration.peers import call, describe_nodes, eventually, only, push, start_all, stop_all, unique
from tests.readme import EXAMPLES
from tests.redis_servers import ask
from tests.servers import GatewayNode, RabbitServer

ROUNDS, EMPTIED, CUT = 10, 4, 8
"""Restarts of nodes, and before which of them Redis is emptied and RabbitMQ is restarted."""
NOTE_S = 0.05
"""Between two notes: a mailbox holds 1,000, so RabbitMQ may take that many times as long to come back."""
KEPT = {"delivered", "acked", "stored"}
BEGIN = """async ([urls, options]) => {
  const { connect } = await import("/static/sanic-ws.js");
  let tries = 0;
  const quick = { backoffMs: 100, backoffCapMs: 1000 };
  const next = () => window.elsewhere ?? urls[tries++ % urls.length];
  const client = connect(next, { ...quick, ...options });
  Object.assign(window, { client, pushes: [], states: [], told: [] });
  client.on("*", (data, { type, id }) => pushes.push({ type, id, data }));
  client.on("ask", (data, message) => message.reply({ answer: data.number + 1 }));
  client.on("tell", (data, message) => message.ack());
  client.when("state", (state, about) => states.push({ state, ...about }));
  for (const event of ["error", "gap", "resumed", "undelivered"]) {
    client.when(event, ({ code, recovered, data, error }) => {
      told.push([event, code ?? recovered ?? error?.code, data]);
    });
  }
}"""
"""Put a client into a page, as `window.client`, and collect what it says; it tries the addresses in turn."""


@pytest.fixture
def open_client(open_page):
    """Open a bare page on the first of some nodes, with a client in it that may go to all of them."""

    async def open_client(nodes, allowed=(), **options):
        page = await open_page(bare(nodes[0]), allowed)
        await page.evaluate(BEGIN, [[node.ws_url for node in nodes], options])
        await until(page, "client.state === 'open'")
        return page

    return open_client


async def pushes_of(page):
    """Return the data of what came."""
    return await page.evaluate("pushes.map(({ data }) => data)")


async def holder(page, nodes):
    """Return the node that holds a page's connection."""
    await until(page, "client.state === 'open'")
    name = await page.evaluate("client.node")
    return next(node for node in nodes if node.node_id == name)


async def test_connects_and_gets_pushes(nodes, open_client):
    sign = unique()
    page = await open_client(nodes[:1], sign=sign)
    assert await page.evaluate("[client.conn, client.node]") == [sign, nodes[0].node_id]
    receipt = await push(nodes[1], {"conn": sign}, type="hello", data={"n": 1})
    assert only(receipt)["outcome"] == "delivered"
    await until(page, "pushes.length === 1")
    assert await page.evaluate("pushes") == [{"type": "hello", "id": receipt["id"], "data": {"n": 1}}]


async def test_an_address_may_be_relative(nodes, open_page):
    page = await open_page(bare(nodes[0]))
    opened = """async () => {
      const { connect } = await import("/static/sanic-ws.js");
      const client = connect("/ws");
      return new Promise((resolve) => client.when("state", () => resolve([client.state, client.node])));
    }"""
    assert await page.evaluate(opened) == ["open", nodes[0].node_id]


async def test_page_of_the_examples_shows_what_is_pushed(make_cluster, open_page):
    nodes = make_cluster(2).nodes
    page = await open_page(bare(nodes[0]))
    html = {"body": (EXAMPLES / "page.html").read_text("utf-8"), "content_type": "text/html"}
    await page.route("**/tasks", lambda route: route.fulfill(**html))
    await page.goto(f"{nodes[0].url}/tasks")
    await expect(page.locator("#state")).to_have_text("open")
    for count in (3, 4):
        receipt = await push(nodes[1], {"user": {"userId": 1001}}, type="task_count", data={"count": count})
        assert receipt["outcome"] == "delivered"
    await expect(page.locator("#count")).to_have_text("4")


async def test_user_is_named_and_push_is_confirmed_and_answered(nodes, open_client):
    user = {"userId": unique("u"), "fromType": "web"}
    page = await open_client(nodes[:1], identity=user)
    assert (await page.evaluate("client.user"))["userId"] == user["userId"]
    told = await push(nodes[1], {"user": user}, type="tell", wait="ack")
    assert only(told)["outcome"] == "acked"
    asked = await push(nodes[2], {"user": user}, type="ask", data={"number": 1}, wait="reply")
    assert only(asked)["reply"] == {"answer": 2}


async def test_groups_are_joined_and_left(nodes, open_client):
    group, other = unique("g"), unique("g")
    page = await open_client(nodes[:1], groups=[group])
    await page.evaluate("(other) => client.join(other)", other)
    for name in (group, other):
        assert (await push(nodes[1], {"group": name}, data=name))["counts"] == {"delivered": 1}
    await until(page, "pushes.length === 2")
    assert await pushes_of(page) == [group, other]
    await page.evaluate("(other) => client.leave(other)", other)
    assert (await push(nodes[1], {"group": other}))["counts"] == {}


async def test_what_is_sent_while_away_goes_out_in_order(make_cluster, open_client):
    own = make_cluster(1)
    (node,) = own.nodes
    page = await open_client([node], [SOCKET_FAILED], queueSize=3)
    back_end = await BackEnd.open(own.rabbit.url, own.prefix)
    inbox = await back_end.bind("note")
    # A node takes clients before it is ready, and what they send then is refused.
    await page.evaluate("window.elsewhere = 'ws://127.0.0.1:1/'; undefined")
    await asyncio.to_thread(node.kill)
    await until(page, "client.state !== 'open'")
    await page.evaluate("window.sent = [1, 2, 3, 4].map((number) => client.send('note', number)); undefined")
    await until(page, "told.length")
    assert await page.evaluate("told") == [["undelivered", "queue_full", 4]]
    await asyncio.to_thread(node.start)
    await page.evaluate("window.elsewhere = undefined")
    await page.evaluate("Promise.all(sent.slice(0, 3))")
    assert [(await inbox.next())["data"] for _ in range(3)] == [1, 2, 3]
    await back_end.close()


async def test_what_nobody_takes_is_told(nodes, open_client):
    page = await open_client(nodes[:1])
    await page.evaluate("client.send('nobody', 1).catch(() => {}); undefined")
    await until(page, "told.some(([, code]) => code === 'unhandled_type')")


async def test_client_of_a_killed_node_goes_elsewhere(make_cluster, open_client):
    nodes = make_cluster(2).nodes
    page = await open_client(nodes, [SOCKET_FAILED])
    sign = await page.evaluate("client.conn")
    first = await holder(page, nodes)
    await asyncio.to_thread(first.kill)
    await until(page, "states.some(({ state }) => state === 'waiting')")
    second = await holder(page, nodes)
    assert second is not first
    assert only(await push(second, {"conn": sign}))["outcome"] == "delivered"


async def test_client_of_a_node_that_leaves_comes_back_when_it_is_told_to(make_cluster, open_client):
    nodes = make_cluster(2).nodes
    page = await open_client(nodes, [SOCKET_FAILED])
    first = await holder(page, nodes)
    first.terminate()
    told = await until(page, "states.find(({ state }) => state === 'waiting')")
    assert told["code"] == 1012
    assert told["reason"] == f"retry_after_ms={told['retryMs']}"
    assert await holder(page, nodes) is not first


async def test_kicked_client_stays_away(nodes, open_client):
    page = await open_client(nodes[:1])
    sign = await page.evaluate("client.conn")
    await call(nodes[1], "DELETE", f"/api/v1/connections/{sign}")
    await until(page, "client.state === 'closed'")
    assert (await page.evaluate("states"))[-1]["code"] == 4403


@pytest.fixture
def quiet(caplog):
    """Say nothing of lost connections: a failure would drown in them."""
    for name in ("aiormq", "aio_pika", "sanic_ws"):
        caplog.set_level(logging.CRITICAL, name)


class Notes:
    """Durable messages to a user, one after the other: each is pushed until it is certainly kept."""

    def __init__(self, publisher: Publisher, user: User) -> None:
        self._publisher = publisher
        self._user = user
        self.kept = 0
        self.quiet = asyncio.Lock()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            async with self.quiet:
                await self._push(self.kept)
                self.kept += 1
            await asyncio.sleep(NOTE_S)

    async def _push(self, number: int) -> None:
        while True:
            try:
                receipt = await self._publisher.push(
                    self._user, "note", number, id=f"note-{number}", offline="store"
                )
            except SanicWsError:
                receipt = None
            if receipt is not None and receipt.counts and KEPT.issuperset(receipt.counts):
                return
            await asyncio.sleep(NOTE_S)

    async def more(self, count: int = 10) -> None:
        """Wait until some more are kept."""
        enough = self.kept + count
        await eventually(lambda: self._task.done() or self.kept >= enough, "notes to be kept", 60)
        assert not self._task.done(), self._task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Push no more; what is being pushed is, until it is kept."""
        async with self.quiet:
            self._task.cancel()
        await asyncio.wait([self._task])


async def restart(node: GatewayNode, *, orderly: bool) -> None:
    """End a node and start it again; it is alive then, whatever Redis and RabbitMQ are."""
    await asyncio.to_thread(node.stop if orderly else node.kill)
    await asyncio.to_thread(node.start)


async def restart_rabbit(rabbit: RabbitServer) -> None:
    await asyncio.to_thread(rabbit.kill)
    await asyncio.to_thread(rabbit.start)


async def heard_all(page, notes):
    await until(page, f"pushes.length >= {notes.kept}")


@pytest.mark.timeout(240)
async def test_page_left_open_has_every_durable_message_in_order(own_redis, own_rabbit, open_client, quiet):
    """Ten restarts of the very node that holds it, an emptied Redis and a restart of RabbitMQ."""
    user = unique("u")
    names = ["night1", "night2", "night3"]
    cluster = describe_nodes(own_redis, own_rabbit, unique("own"), names, {"SANIC_WS_LEASE_S": "2"})
    nodes, restarts = cluster.nodes, set()
    try:
        await asyncio.to_thread(start_all, nodes)
        for node in nodes:
            node._ready = "livez"
        page = await open_client(nodes, [SOCKET_FAILED], identity={"userId": user}, since="")
        async with (
            Publisher(own_redis.url, own_rabbit.url, cluster.prefix) as publisher,
            Notes(publisher, User(user)) as notes,
        ):
            for number in range(ROUNDS):
                await notes.more()
                if number == EMPTIED:
                    # What is stored and not heard yet would be lost with Redis.
                    async with notes.quiet:
                        await heard_all(page, notes)
                        missed = await page.evaluate("told.filter(([, recovered]) => recovered !== true)")
                        await asyncio.to_thread(ask, own_redis.port, "FLUSHALL")
                if number == CUT:
                    restarts.add(asyncio.create_task(restart_rabbit(own_rabbit)))
                node = await holder(page, nodes)
                restarts.add(asyncio.create_task(restart(node, orderly=number % 2 == 0)))
                await until(page, f"client.state === 'open' && client.node !== '{node.node_id}'")
            await asyncio.gather(*restarts)
            await notes.more()
        await heard_all(page, notes)
        assert await pushes_of(page) == list(range(notes.kept))
        assert missed == []
        await until(page, "client.state === 'open'")
    finally:
        if restarts:
            await asyncio.wait(restarts)
        await asyncio.to_thread(stop_all, nodes)
