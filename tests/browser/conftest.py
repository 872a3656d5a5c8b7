"""Debian's Chromium, and pages that fail their test where something is wrong with them."""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.integration.peers import eventually
from tests.servers import LOOPBACK, GatewayNode, require

WAIT_MS = 30_000
"""How long anything is waited for before the test fails; nothing is expected to take that long."""
SOCKET_FAILED = r"^WebSocket connection to "
"""What a browser says of a node that is away; no page can keep it from that."""
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self' ws://127.0.0.1:*; base-uri 'none'"
BARE = "<!doctype html><html lang=en><title>bare</title>"

OpenPage = Callable[..., Awaitable[Page]]


class Watch:
    """What is wrong with a page: errors on its console, and requests to other hosts.

    What its policy forbids (CSP) is an error on the console, too.
    """

    def __init__(self, page: Page, allowed: Sequence[str]) -> None:
        self.wrong: list[str] = []
        self._allowed = allowed
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._request(request.url))
        page.on("websocket", lambda socket: self._request(socket.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(re.search(each, message.text) for each in self._allowed):
            self.wrong.append(f"console: {message.text}")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.hostname != LOOPBACK and parts.scheme not in ("data", "blob"):
            self.wrong.append(f"request to elsewhere: {url}")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    program = require("chromium")
    # A page that a test has made is from nowhere, and may not speak to this machine otherwise.
    arguments = ["--disable-features=LocalNetworkAccessChecks"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program, args=arguments)
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for screenshots: that of `--screenshots`, or a temporary one."""
    folder = pytestconfig.getoption("--screenshots") or tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
async def open_page(
    browser: Browser, screenshots: Path, request: pytest.FixtureRequest
) -> AsyncIterator[OpenPage]:
    """Open pages, each in a context of its own; keep a screenshot of each, and fail if one is wrong.

    The function takes the address, what its console may say though it is an error (`allowed`: regular
    expressions), and options of a context, such as `color_scheme`, `viewport` or `has_touch`.
    A test names the fixture of its servers before this one, so that pages are closed first.
    """
    opened: list[tuple[Page, Watch]] = []

    async def open_one(url: str, allowed: Sequence[str] = (), **options: object) -> Page:
        context = await browser.new_context(**options)
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        opened.append((page, Watch(page, allowed)))
        await _serve_bare(page)
        await page.goto(url)
        return page

    yield open_one
    name = re.sub(r"\W+", "-", request.node.name)
    for number, (page, _) in enumerate(opened, 1):
        if "bare" not in await page.title():
            await page.screenshot(path=screenshots / f"{name}-{number}.png")
        await page.context.close()
    wrong = [each for _, watch in opened for each in watch.wrong]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def open_console(open_page: OpenPage) -> OpenPage:
    """Open a node's console; wait until the feed is there, unless told otherwise."""

    async def open_console(
        node: GatewayNode, allowed: Sequence[str] = (), *, live: bool = True, **options: object
    ) -> Page:
        page = await open_page(f"{node.url}/console", allowed, **options)
        if live:
            await expect(page.locator("#feed")).to_have_attribute("data-state", "open")
        return page

    return open_console


async def _serve_bare(page: Page) -> None:
    """Put an empty page with a strict policy on `/bare` of every node: a place for scripts of a test."""
    headers = {"Content-Type": "text/html", "Content-Security-Policy": POLICY}
    await page.route("**/bare", lambda route: route.fulfill(body=BARE, headers=headers))
    await page.route("**/favicon.ico", lambda route: route.fulfill(status=204))


async def until(page: Page, expression: str) -> Any:
    """Wait until an expression is true on a page; `Page.wait_for_function` is against a strict policy."""
    return await eventually(lambda: page.evaluate(expression), expression)


def bare(node: GatewayNode) -> str:
    """Return the address of the empty page on a node."""
    return f"{node.url}/bare"
