"""The console's page, with a feed that says what real nodes say only in trouble."""

import json

import pytest
from playwright.async_api import expect

from tests.browser.conftest import bare
from tests.browser.console import NONE
from tests.browser.feed import BOUNDS_MS, Feed


@pytest.fixture
async def feed():
    feed = Feed()
    yield feed
    await feed.stop()


@pytest.fixture
def open_fed(nodes, open_page, feed):
    """Open the console of a node with the feed in place of the real one."""

    async def open_fed(allowed=()):
        page = await open_page(bare(nodes[0]), allowed)
        await feed.install(page)
        await page.goto(f"{nodes[0].url}/console")
        return page

    return open_fed


def row(page, name):
    return page.locator("#node-rows tr").filter(has=page.locator("b", has_text=name))


async def test_states(feed, open_fed):
    feed.add("fine")
    feed.add("hears-nothing", state="deaf", ready=False)
    feed.add("leaves", state="draining", ready=False)
    feed.add("not-registered", ready=False, registered=False)
    killed = feed.add("killed")
    page = await open_fed()
    for name, state in {
        "fine": "ready",
        "hears-nothing": "deaf",
        "leaves": "draining",
        "not-registered": "not ready",
        "killed": "ready",
    }.items():
        await expect(row(page, name).locator(".state span")).to_have_text(state)
    await expect(page.locator("#f-nodes-note")).to_have_text("1 deaf, 1 draining, 1 not ready")
    await expect(page.locator("#f-connections")).to_have_text("20")
    feed.kill(killed)
    await expect(row(page, "killed")).to_have_attribute("data-state", "silent")
    await expect(page.locator("#f-connections")).to_have_text("16")
    feed.forget(killed)
    await expect(row(page, "killed")).to_have_attribute("data-state", "gone")
    await expect(row(page, "killed").get_by_role("button")).to_be_disabled()


async def test_nobody_is_gone_because_the_registry_is(feed, open_fed):
    feed.add("fine")
    killed = feed.add("killed")
    page = await open_fed()
    await expect(row(page, "killed")).to_have_attribute("data-state", "ready")
    feed.kill(killed)
    feed.cluster |= {"nodes": [], "registry": "down", "broker": "down"}
    await expect(row(page, "killed")).to_have_attribute("data-state", "silent")
    await expect(page.locator("#f-registry")).to_have_text("down")
    await expect(page.locator("#f-broker")).to_have_text("down")
    await expect(row(page, "fine")).to_have_attribute("data-state", "ready")


async def test_a_feed_that_is_quiet_says_nothing_of_nodes(feed, open_fed):
    feed.add("fine")
    page = await open_fed()
    await expect(row(page, "fine")).to_have_attribute("data-state", "ready")
    feed.quiet = True
    await expect(page.locator("#feed-text")).to_contain_text("nothing heard, figures as of")
    await expect(row(page, "fine")).to_have_attribute("data-state", "unknown")
    await expect(page.locator("#f-connections")).to_have_text(NONE)
    feed.quiet = False
    await expect(row(page, "fine")).to_have_attribute("data-state", "ready")


async def test_a_broker_that_takes_nothing(feed, open_fed):
    feed.add("fine", broker={"connected": True, "blocked": True})
    page = await open_fed()
    await expect(page.locator("#f-broker")).to_have_text("blocked")


async def test_text_is_never_markup(feed, open_fed):
    evil = '<img src=x onerror="document.title=1"><b>bold</b>'
    feed.add(evil, version=evil)
    page = await open_fed()
    await expect(page.locator("#node-rows .name b")).to_have_text(evil)
    assert await page.locator("main img").count() == 0
    assert await page.title() == "sanic_ws console"


async def test_latency_is_that_of_the_last_seconds(feed, open_fed):
    node = feed.add("fine", latency={"bounds_ms": BOUNDS_MS, "counts": [9000, 9000, 9000, 9000]})
    page = await open_fed()
    await expect(row(page, "fine")).to_have_attribute("data-state", "ready")
    await expect(page.locator("#f-p50")).to_have_text(NONE)
    latency = {"bounds_ms": BOUNDS_MS, "counts": [9000, 9010, 9010, 9010]}
    feed.nodes[node] = feed.nodes[node] | {"latency": latency}
    await expect(page.locator("#f-p50")).to_have_text("1.50 ms")
    await expect(page.locator("#f-p99")).to_have_text("1.99 ms")


async def test_percentiles(feed, open_fed):
    page = await open_fed()
    cases = [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 10, 10, 10], 0.5, 0.5),
        ([0, 0, 10, 10], 0.5, 3.5),
        ([5, 10, 10, 10], 0.5, 1),
        ([0, 0, 0, 10], 0.99, 5),
    ]
    script = """async ([bounds, cases]) => {
      const { percentile } = await import("/static/console-model.js");
      return cases.map(([upto, share]) => percentile(bounds, upto, share));
    }"""
    assert await page.evaluate(script, [BOUNDS_MS, cases]) == [wanted for _, _, wanted in cases]


async def test_who_may_no_longer_come_in_is_asked_for_a_key(feed, open_fed):
    feed.add("fine")
    page = await open_fed(["status of 401"])
    await expect(row(page, "fine")).to_be_visible()
    error = {"error": {"code": "unauthorized", "message": "the API key is not known"}}

    async def refuse(route):
        await route.fulfill(status=401, body=json.dumps(error))

    await page.route("**/api/v1/console/ticket", refuse)
    await page.evaluate("sessionStorage.setItem('sanic_ws.key', 'old')")
    await page.reload()
    await expect(page.get_by_label("API key")).to_be_focused()
    await expect(page.locator("#key-error")).to_contain_text("not known")
    assert await page.evaluate("sessionStorage.length") == 0
