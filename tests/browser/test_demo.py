"""The demo page: a push crosses from one node to the other."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.integration.peers import call, node_ids
from tests.integration.secured import secured
from tests.servers import GatewayNode


@pytest.fixture(scope="module")
def embedded():
    """A node on the embedded backends."""
    with GatewayNode("dev", name="demo") as node:
        yield node


@pytest.mark.parametrize(
    ("which", "look"),
    [
        ("embedded", {"color_scheme": "light"}),
        ("embedded", {"color_scheme": "dark", "viewport": {"width": 320, "height": 900}}),
        ("cluster", {}),
    ],
    ids=["light", "dark phone", "cluster"],
)
async def test_push_crosses_and_says_how(embedded, make_cluster, open_page, which, look):
    node = embedded if which == "embedded" else make_cluster(2).nodes[0]
    page = await open_page(f"{node.url}/demo", **look)
    held = page.locator(".state[data-state=open] + .node")
    await expect(held).to_have_count(2)
    first, second = await held.all_text_contents()
    assert {first, second} <= set(await node_ids(node))
    await page.get_by_role("button", name="Push to Ben").click()
    await expect(page.locator("section[data-user=ben] li")).to_have_text("Ada: Hello Ben")
    await page.get_by_label("Ben says to Ada").fill("<b>Hi</b>")
    await page.get_by_label("Ben says to Ada").press("Enter")
    await expect(page.locator("section[data-user=ada] li")).to_have_text("Ben: <b>Hi</b>")
    await expect(page.locator("#receipts tr")).to_have_count(2)
    rows = [await row.locator("td").all_text_contents() for row in await page.locator("#receipts tr").all()]
    assert [row[:6] for row in rows] == [
        ["Ada", "Ben", first, "direct", second, "delivered"],
        ["Ben", "Ada", first, "local", first, "delivered"],
    ]
    assert all(float(row[6]) > 0 for row in rows)
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")


async def test_page_is_not_there_in_production():
    with secured() as node:
        for path in ("/demo", "/demo/ws"):
            assert (await call(node, "GET", path)).status == 404


async def test_second_node_leaves_with_the_first(connect):
    with GatewayNode("dev", name="demo", env={"SANIC_WS_DRAIN_S": "0.1"}) as node:
        first = await connect(node)
        node.ws_url = node.ws_url.replace("/ws", "/demo/ws")
        second = await connect(node)
        assert second.connected["node"].startswith("demo-two-")
        assert second.connected["node"] != first.connected["node"]
        node.terminate()
        assert [(await client.closed())[0] for client in (second, first)] == [1012, 1012]
        assert await asyncio.to_thread(node.stop) == 0
