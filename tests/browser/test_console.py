"""The console's page, on real nodes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import SOCKET_FAILED
from tests.integration.peers import Client, call, eventually, push, unique
from tests.integration.secured import KEY, secured
from tests.servers import GatewayNode

expect.set_options(timeout=30_000)

AWAY = (SOCKET_FAILED, "net::ERR_CONNECTION_REFUSED", "status of 503")
"""What a browser says of a node that ends or is away."""
REFUSED = "status of 40[13]"
MISSING = "status of 404"
PUSHER = "the-key-of-a-pusher"
PICTURE = Path(__file__).with_name("console.png")


@pytest.fixture
def open_console(open_page):
    """Open a node's console; wait until the feed is there, unless told otherwise."""

    async def open_console(node, allowed=(), *, live=True, **options):
        page = await open_page(f"{node.url}/console", allowed, **options)
        if live:
            await expect(page.locator("#feed")).to_have_attribute("data-state", "open")
        return page

    return open_console


@pytest.fixture(scope="module")
async def guarded() -> AsyncIterator[GatewayNode]:
    """A node that asks for keys."""
    with secured(api_keys=f"backend:{KEY},pusher:{PUSHER}:push") as node:
        yield node


def row(page: Page, node: GatewayNode) -> Locator:
    """Return a node's row; a node that is started anew has one of its own."""
    return page.locator("#node-rows tr").filter(has_text=node.node_id)


async def is_in(page: Page, node: GatewayNode, *states: str) -> None:
    """Wait until a node is shown in one of some states."""
    tr = row(page, node)
    await eventually(lambda: _state(tr, states), f"{node.name} is one of {states}")


async def _state(tr: Locator, states: tuple[str, ...]) -> bool:
    return await tr.count() == 1 and await tr.get_attribute("data-state") in states


async def fill_push(page: Page, conn: str, **fields: str) -> None:
    """Fill the form, and send it."""
    await page.locator("#push-kind").select_option("conn")
    await page.locator("#push-id").fill(conn)
    for name, value in fields.items():
        await page.locator(f"#push-{name}").fill(value)
    await page.locator("#push-form").get_by_role("button", name="Push").click()


async def find(page: Page, kind: str, name: str, **more: str) -> Locator:
    """Search; return where the results are."""
    await page.locator("#find-kind").select_option(kind)
    await page.locator("#find-id").fill(name)
    for field, value in more.items():
        await page.locator(f"#find-{field}").fill(value)
    await page.locator("#find").get_by_role("button", name="Find").click()
    return page.locator("#found")


async def confirm(page: Page, answer: str) -> None:
    """Answer the question that is asked."""
    dialog = page.get_by_role("alertdialog")
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name=answer, exact=True).click()
    await expect(dialog).to_be_hidden()


async def announced(page: Page, text: str) -> None:
    """Wait until something was said to screen readers; what was said before may be gone."""
    await expect(page.locator("#announcer")).to_contain_text(text)


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
        return await rate.text_content() not in ("0", "–")

    await eventually(counted, "a rate of pushes")
    await expect(page.locator("#rate-chart polyline.k-direct")).to_be_attached()
    await expect(page.locator("#latency-chart polyline.k-p50")).to_be_attached()
    await page.get_by_text("by outcome").click()
    await expect(page.locator("#rate-legend")).to_contain_text("delivered")


async def test_a_push_shows_its_receipt_and_its_way(nodes, open_console, connect):
    page = await open_console(nodes[0])
    client = await connect(nodes[1], unique())
    await is_in(page, nodes[1], "ready")
    await fill_push(page, client.conn, type="greeting", data='{"text": "hello"}')
    message = await client.next("greeting")
    assert message["data"] == {"text": "hello"}
    await expect(page.locator(".outcome strong")).to_have_text("delivered")
    await expect(page.locator(".deliveries tbody tr")).to_contain_text(client.conn)
    steps = page.locator("#receipt ol li")
    for what in ("accepted", "looked up", "sent", "written", "receipt"):
        await expect(steps.filter(has_text=what)).to_have_count(1)
    await expect(steps.filter(has_text="written")).to_contain_text(nodes[1].name)
    await expect(page.locator(".drawing polygon")).to_have_count(4)
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
    assert (await call(nodes[0], "PUT", f"/api/v1/groups/{group}/connections/{quote(client.conn)}")).status == 200
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


@pytest.mark.parametrize("width", [320, 390, 768])
async def test_narrow_screens(nodes, open_console, connect, width):
    page = await open_console(nodes[0], viewport={"width": width, "height": 700}, color_scheme="dark")
    client = await connect(nodes[1], unique(), {"userId": unique("user"), "tenantId": 7, "fromType": "web"})
    await is_in(page, nodes[1], "ready")
    await expect(await find(page, "conn", client.conn)).to_contain_text("tenantId")
    await fill_push(page, client.conn)
    await expect(page.locator(".outcome strong")).to_have_text("delivered")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    if width < 560:
        small = """[...document.querySelectorAll("button, select, input:not([type=radio]), summary")]
          .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 24).map((one) => one.outerHTML)"""
        assert await page.evaluate(small) == []


NAMELESS = """() => {
  const named = (one) => one.labels?.length || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
    || (one.matches("button, a, summary") && one.textContent.trim());
  return [...document.querySelectorAll("button, a, summary, input, select, textarea, svg[role=img], [role=dialog], dialog, table, form[role]")]
    .filter((one) => !one.hidden && !named(one) && !one.matches("form")).map((one) => one.outerHTML.slice(0, 120));
}"""
REFERENCES = """() => {
  const wrong = [];
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`twice: ${id}`);
  for (const name of ["for", "aria-labelledby", "aria-describedby", "aria-errormessage"]) {
    for (const one of document.querySelectorAll(`[${name}]`)) {
      for (const id of one.getAttribute(name).split(" ")) if (!document.getElementById(id)) wrong.push(`${name}: ${id}`);
    }
  }
  return wrong;
}"""
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const probe = document.body.appendChild(document.createElement("i"));
  const light = (name) => {
    probe.style.color = `var(--${name})`;
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((one) => one / 255).map(
      (one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const low = [];
  const check = (text, ground, least) => {
    const found = ratio(text, ground);
    if (found < least) low.push(`${text} on ${ground}: ${found.toFixed(2)}`);
  };
  for (const text of ["text", "dim", "accent", "good", "warn", "bad"]) {
    for (const ground of ["page", "sheet", "sunk"]) check(text, ground, 4.5);
  }
  check("on-accent", "accent", 4.5);
  check("page", "bad", 4.5);
  for (const shape of ["local", "direct", "fallback", "plain", "firm"]) check(shape, "sheet", 3);
  probe.remove();
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_it(nodes, open_console, connect, scheme):
    page = await open_console(nodes[0], color_scheme=scheme, reduced_motion="reduce")
    client = await connect(nodes[1], unique())
    await is_in(page, nodes[1], "ready")
    await find(page, "conn", client.conn)
    await fill_push(page, client.conn)
    await expect(page.locator(".outcome strong")).to_have_text("delivered")
    assert await page.evaluate(NAMELESS) == []
    assert await page.evaluate(REFERENCES) == []
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
    """Take the picture that README shows; with `--picture` after minutes of traffic, and in its place."""
    anew = pytestconfig.getoption("--picture")
    page = await open_console(nodes[0], viewport={"width": 1400, "height": 900}, color_scheme="light")
    clients = await asyncio.gather(*(open_client(connect, nodes[n % 3], n) for n in range(24)))
    traffic = asyncio.create_task(make_traffic(nodes, clients))
    try:
        await is_in(page, nodes[2], "ready")
        if anew:
            await page.wait_for_timeout(200_000)
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
        pushes = [{"to": {"conn": client.conn}, "type": "tick", "data": number} for client in clients[: 8 + number % 11]]
        await call(nodes[number % 3], "POST", "/api/v1/push/batch", {"pushes": pushes})
        number += 1
        await asyncio.sleep(0.1)
