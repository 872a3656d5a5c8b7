"""The console's page, on real nodes."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.browser.conftest import SOCKET_FAILED
from tests.browser.console import NONE, announced, confirm, fill_push, find, is_in, row
from tests.integration.peers import call, eventually, push, unique
from tests.integration.secured import KEY, secured
from tests.servers import GatewayNode

AWAY = (SOCKET_FAILED, "net::ERR_CONNECTION_REFUSED", "status of 503")
"""What a browser says of a node that ends or is away."""
REFUSED = "status of 40[13]"
MISSING = "status of 404"
PUSHER = "the-key-of-a-pusher"


@pytest.fixture(scope="module")
async def guarded() -> AsyncIterator[GatewayNode]:
    """A node that asks for keys."""
    with secured(api_keys=f"backend:{KEY},pusher:{PUSHER}:push") as node:
        yield node


async def test_shows_the_cluster(nodes, open_console, connect):
    page = await open_console(nodes[0])
    for node in nodes:
        await is_in(page, node, "ready")
        await expect(row(page, node)).to_contain_text(node.name)
    await expect(row(page, nodes[0])).to_contain_text("this page's")
    await expect(page.locator("#f-registry")).to_have_text("up")
    await expect(page.locator("#f-broker")).to_have_text("up")
    await expect(page.locator("#feed-text")).to_have_text(f"live, from {nodes[0].name}")
    client = await connect(nodes[2], unique())
    assert client.conn
    held = (await call(nodes[2], "GET", "/api/v1/stats")).json["connections"]
    await expect(row(page, nodes[2]).locator("[data-label=Connections]")).to_have_text(str(held))


async def test_counts_pushes_that_others_make(nodes, open_console, connect):
    page = await open_console(nodes[0])
    client = await connect(nodes[2], unique())
    rate = page.locator("#f-pushes")

    async def counted() -> bool:
        await push(nodes[1], {"conn": client.conn})
        return await rate.text_content() not in ("0", NONE)

    await eventually(counted, "a rate of pushes")
    await expect(page.locator("#rate-chart polyline.k-direct")).to_be_attached()
    await expect(page.locator("#latency-chart polyline.k-p50")).to_be_attached()
    await page.get_by_text("by outcome").click()
    await expect(page.locator("#rate-legend")).to_contain_text("delivered")


async def test_a_push_shows_its_receipt_and_its_way(nodes, open_console, connect):
    page = await open_console(nodes[0])
    client = await connect(nodes[1], unique())
    await is_in(page, nodes[1], "ready")
    await fill_push(page, client.conn, type="greeting", data='{"text": "hello", "n": 9007199254740993}')
    message = await client.next("greeting")
    assert message["data"] == {"text": "hello", "n": 9007199254740993}, "a number that JavaScript has not"
    await expect(page.locator(".outcome strong")).to_have_text("delivered")
    await expect(page.locator(".deliveries tbody tr")).to_contain_text(client.conn)
    steps = page.locator("#receipt ol li")
    for what in ("accepted", "looked up", "sent", "written", "receipt"):
        await expect(steps.filter(has_text=what)).to_have_count(1)
    await expect(steps.filter(has_text="written")).to_contain_text(nodes[1].name)
    await expect(page.locator(".drawing polygon").first).to_be_visible()
    await announced(page, "Receipt: delivered")


async def test_a_push_that_nobody_gets_says_so(nodes, open_console):
    page = await open_console(nodes[0])
    await fill_push(page, unique())
    await expect(page.locator(".outcome strong")).to_have_text("offline")
    await expect(page.locator("#receipt ol")).to_contain_text("fallback")


async def test_what_is_wrong_is_said_at_the_field(nodes, open_console):
    page = await open_console(nodes[0], ["status of 400"])
    data, kind = page.get_by_label("Data, as JSON"), page.locator("#push-type")
    await fill_push(page, "anyone", data="{nope")
    await expect(page.locator("#push").get_by_role("alert")).to_contain_text("This is not JSON")
    await expect(data).to_have_attribute("aria-invalid", "true")
    await expect(data).to_be_focused()
    # This one only the node knows.
    await fill_push(page, "anyone", data="1", type="connected")
    await expect(kind).to_have_attribute("aria-invalid", "true")
    await expect(data).not_to_have_attribute("aria-invalid", "true")
    await expect(page.locator(".field", has=kind).get_by_role("alert")).to_be_visible()


async def test_finds_and_kicks(nodes, open_console, connect):
    page = await open_console(nodes[0], [MISSING])
    user = unique("user")
    client = await connect(nodes[2], unique(), {"userId": user, "tenantId": 7, "fromType": "web"})
    other = await connect(nodes[1], unique(), {"userId": user, "tenantId": 7, "fromType": "ios"})
    await is_in(page, nodes[2], "ready")
    found = await find(page, "user", user, tenant="7")
    await expect(found.get_by_role("heading", name="2 connections")).to_be_visible()
    found = await find(page, "user", user, tenant="7", **{"from": "ios"})
    await expect(found.locator(".result")).to_have_count(1)
    await expect(found).to_contain_text(other.conn)
    found = await find(page, "conn", client.conn)
    await expect(found).to_contain_text(f"userId {user} · tenantId 7 · fromType web")
    await expect(found.locator("dd").first).to_have_text(nodes[2].name)
    await found.get_by_role("button", name="Kick").click()
    await confirm(page, "Cancel")
    assert await client.is_alive()
    await found.get_by_role("button", name="Kick").click()
    await confirm(page, "Kick")
    await expect(found).to_contain_text(f"Closed on {nodes[2].name}.")
    assert (await client.closed())[0] == 4403
    await expect(await find(page, "conn", client.conn)).to_contain_text("No node has this connection.")


async def test_finds_a_group_and_fills_the_form_from_it(nodes, open_console, connect):
    page = await open_console(nodes[0])
    group, client = unique("group"), await connect(nodes[1], unique())
    await expect(await find(page, "group", group)).to_contain_text("Nobody is in this group.")
    joined = await call(nodes[0], "PUT", f"/api/v1/groups/{group}/connections/{client.conn}")
    assert joined.status == 200
    found = await find(page, "group", group)
    await expect(found.get_by_role("heading", name="1 connection")).to_be_visible()
    await expect(found.locator(".facts")).to_contain_text(nodes[1].name)
    await found.get_by_role("button", name="Push to the group").click()
    await page.locator("#push-form").get_by_role("button", name="Push").click()
    await client.next("hello")
    await expect(page.locator(".outcome")).to_contain_text("1 delivered")


async def test_drained_killed_and_back(make_cluster, open_console, connect):
    cluster = make_cluster(3, names=["own1", "own2", "own3"])
    home, killed, drained = cluster.nodes
    page = await open_console(home, AWAY)
    client = await connect(drained)
    await is_in(page, drained, "ready")
    await expect(row(page, drained).locator("[data-label=Connections]")).to_have_text("1")
    await row(page, drained).get_by_role("button", name="Drain").click()
    await expect(page.get_by_role("alertdialog")).to_contain_text("1 connection")
    await confirm(page, "Drain")
    assert (await client.closed())[0] == 1012
    await is_in(page, drained, "gone")
    await eventually(lambda: not drained.running, "the process has ended")

    await is_in(page, killed, "ready")
    killed.kill()
    await is_in(page, killed, "silent")
    await announced(page, f"{killed.name} is silent")
    await expect(page.locator("#f-nodes-note")).to_have_text("1 silent")

    home.kill()
    await expect(page.locator("#feed-text")).to_contain_text("reconnecting")
    await expect(page.locator("#feed-text")).to_contain_text("figures as of")
    await is_in(page, home, "unknown")
    home.start()
    await expect(page.locator("#feed-text")).to_contain_text("live")
    await is_in(page, home, "ready")


async def test_shows_the_second_node_of_the_demo(connect, open_console):
    with GatewayNode("dev", name="demo", env={"SANIC_WS_DRAIN_S": "0.1"}) as node:
        node.ws_url = node.ws_url.replace("/ws", "/demo/ws")
        await connect(node)
        page = await open_console(node, AWAY)
        await expect(page.locator("#node-rows tr[data-state=ready]")).to_have_count(2)


async def test_signs_in_where_keys_are_asked_for(guarded, open_console):
    page = await open_console(guarded, [REFUSED], live=False)
    key, button = page.get_by_label("API key"), page.get_by_role("button", name="Sign in")
    await expect(key).to_be_focused()
    await expect(page.locator("#main")).to_be_hidden()
    for wrong, why in (("nonsense", "The API key is not known."), (PUSHER, "The API key lacks the scope")):
        await key.fill(wrong)
        await button.click()
        await expect(page.locator("#key-error")).to_contain_text(why)
    await key.fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.locator("#feed")).to_have_attribute("data-state", "open")
    await expect(page.locator("#node-rows tr")).to_have_count(1)
    assert await key.input_value() == ""
    await page.reload()
    await expect(page.locator("#feed")).to_have_attribute("data-state", "open")
    await page.get_by_role("button", name="Sign out").click()
    await expect(key).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0
    assert await page.evaluate("JSON.stringify(localStorage)") == "{}"
    await page.reload()
    await expect(key).to_be_focused()
