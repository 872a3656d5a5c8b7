"""The JavaScript client in a browser, on real nodes."""

import pytest

from tests.browser.conftest import bare, until
from tests.integration.peers import only, push, unique


@pytest.fixture
def open_client(open_page):
    """Open a bare page on a node with a client in it, as `window.client`; `window.pushes` is what came."""

    async def open_client(node, options=None, allowed=(), url=None):
        page = await open_page(bare(node), allowed)
        await page.evaluate(
            """async ([url, options]) => {
              const { connect } = await import("/static/sanic-ws.js");
              const client = connect(url, options);
              Object.assign(window, { client, pushes: [], states: [], told: [] });
              client.on("*", ({ ...data }, { type, id }) => pushes.push({ type, id, data }));
              client.when("state", (state, about) => states.push({ state, ...about }));
              for (const event of ["error", "gap", "resumed", "undelivered"]) {
                client.when(event, ({ ...about }) => told.push({ event, ...about }));
              }
            }""",
            [url or "/ws", options or {}],
        )
        return page

    return open_client


async def test_connects_and_gets_pushes(nodes, open_client):
    sign = unique()
    page = await open_client(nodes[0], {"sign": sign})
    await until(page, "client.state === 'open'")
    assert await page.evaluate("[client.conn, client.node]") == [sign, nodes[0].node_id]
    receipt = await push(nodes[1], {"conn": sign}, type="hello", data={"n": 1})
    assert only(receipt)["outcome"] == "delivered"
    await until(page, "pushes.length === 1")
    assert await page.evaluate("pushes") == [{"type": "hello", "id": receipt["id"], "data": {"n": 1}}]
