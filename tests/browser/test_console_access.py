"""The console's page for everybody: keyboard, small screens, colours, screen readers; and its picture."""

import asyncio
from contextlib import suppress
from pathlib import Path

from playwright.async_api import expect

from tests.browser.accessibility import CONTRASTS, NAMELESS, REFERENCES, SMALL
from tests.browser.conftest import until
from tests.browser.console import fill_push, find, is_in
from tests.integration.peers import Client, call, eventually, unique
from tests.servers import GatewayNode

PICTURE = Path(__file__).with_name("console.png")


async def test_the_keyboard_is_enough(nodes, open_console):
    page = await open_console(nodes[0])
    keys, focused = page.keyboard, page.locator(":focus")
    await keys.press("Tab")
    await expect(focused).to_have_text("Skip to the cluster")
    await expect(focused).to_be_in_viewport()
    await keys.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await keys.press("/")
    await expect(page.locator("#find-id")).to_be_focused()
    await keys.type("?pnt/")
    await expect(page.locator("#find-id")).to_have_value("?pnt/")
    await keys.press("Escape")
    await expect(page.locator("#find-id")).not_to_be_focused()
    await keys.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("find a connection")
    await keys.press("p")
    await keys.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await keys.press("p")
    await expect(page.locator("#push-id")).to_be_focused()
    await keys.type(unique())
    await keys.press("Control+Enter")
    await expect(page.locator(".outcome strong")).to_have_text("offline")
    await keys.press("Escape")
    await keys.press("n")
    await expect(page.locator("#nodes-title")).to_be_focused()
    await keys.press("?")
    await page.get_by_label("Single-key").uncheck()
    await keys.press("Escape")
    await keys.press("/")
    await expect(page.locator("#find-id")).not_to_be_focused()


async def test_themes(nodes, open_console):
    page = await open_console(nodes[0], color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = await page.evaluate(background)
    await page.keyboard.press("t")
    await expect(page.locator("#theme-name")).to_have_text("light")
    assert await page.evaluate(background) != dark
    await page.reload()
    await expect(page.locator("#theme-name")).to_have_text("light")
    await page.get_by_role("button", name="Theme").click()
    assert await page.evaluate(background) == dark


async def test_narrow_screens(nodes, open_console, connect):
    page = await open_console(nodes[0], viewport={"width": 320, "height": 700}, color_scheme="dark")
    client = await connect(nodes[1], unique(), {"userId": unique("user"), "tenantId": 7, "fromType": "web"})
    await is_in(page, nodes[1], "ready")
    await expect(await find(page, "conn", client.conn)).to_contain_text("tenantId")
    await fill_push(page, client.conn)
    await expect(page.locator(".outcome strong")).to_have_text("delivered")
    for width in (1000, 800, 390, 320):
        await page.set_viewport_size({"width": width, "height": 700})
        await until(page, f"document.documentElement.scrollWidth <= {width}")
    assert await page.evaluate(SMALL) == []


async def test_everybody_can_use_it(nodes, open_console, connect):
    page = await open_console(nodes[0], color_scheme="light", reduced_motion="reduce")
    client = await connect(nodes[1], unique())
    await is_in(page, nodes[1], "ready")
    await find(page, "conn", client.conn)
    await fill_push(page, client.conn)
    await expect(page.locator(".outcome strong")).to_have_text("delivered")
    assert await page.evaluate(NAMELESS) == []
    assert await page.evaluate(REFERENCES) == []
    assert await page.evaluate(CONTRASTS) == []
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(CONTRASTS) == []
    assert await page.locator("[aria-live]").count() == 1
    assert await page.evaluate("document.documentElement.lang") == "en"
    assert await page.locator("table[role=table] [role=columnheader]").count() == 11


async def test_a_chart_is_read_with_the_arrow_keys(nodes, open_console):
    page = await open_console(nodes[0])
    chart, when = page.locator("#rate-chart svg"), page.locator("#rate-legend .when")
    await chart.focus()

    async def reads_earlier() -> bool:
        await page.keyboard.press("ArrowLeft")
        return "ago" in (await when.text_content() or "")

    await eventually(reads_earlier, "an earlier point is shown")
    await page.keyboard.press("Tab")
    await expect(when).to_have_text("now")


async def test_the_picture(nodes, open_console, connect, screenshots, pytestconfig):
    """Take the picture that README shows; with `--picture` after a minute of traffic, and in its place."""
    anew = pytestconfig.getoption("--picture")
    page = await open_console(nodes[0], viewport={"width": 1400, "height": 900}, color_scheme="light")
    clients = await asyncio.gather(*(open_client(connect, nodes[n % 3], n) for n in range(24 if anew else 3)))
    traffic = asyncio.create_task(make_traffic(nodes, clients))
    try:
        await is_in(page, nodes[2], "ready")
        if anew:
            await page.wait_for_timeout(57_000)
        await expect(await find(page, "conn", clients[2].conn)).to_contain_text("tenantId")
        await fill_push(page, clients[2].conn, type="task_count", data='{"count": 3}')
        await expect(page.locator(".outcome strong")).to_have_text("delivered")
        await page.keyboard.press("Escape")
        await page.mouse.move(0, 0)
        taken = await page.screenshot(full_page=True, path=PICTURE if anew else screenshots / PICTURE.name)
    finally:
        traffic.cancel()
        with suppress(asyncio.CancelledError):
            await traffic
    assert len(taken) < 200_000


async def open_client(connect, node: GatewayNode, number: int) -> Client:
    """Open a client of some user."""
    user = {"userId": 1000 + number // 2, "tenantId": 7, "fromType": "web" if number % 2 else "ios"}
    return await connect(node, unique("phone"), user)


async def make_traffic(nodes: list[GatewayNode], clients: list[Client]) -> None:
    """Push to all clients in turn, through all nodes in turn, until cancelled."""
    number = 0
    while True:
        pushes = [
            {"to": {"conn": client.conn}, "type": "tick", "data": number}
            for client in clients[: 8 + number % 11]
        ]
        await call(nodes[number % 3], "POST", "/api/v1/push/batch", {"pushes": pushes})
        number += 1
        await asyncio.sleep(0.1)
