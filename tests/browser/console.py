"""What tests do on the console's page."""

from playwright.async_api import Locator, Page, expect

from tests.integration.peers import eventually
from tests.servers import GatewayNode

NONE = "\N{EN DASH}"
"""What stands where nothing is known."""

expect.set_options(timeout=30_000)


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
