"""README names tests for what it promises: they are there."""

import re
from typing import get_args

import pytest

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.messages import ErrorCode, EventType
from sanic_ws.http.message_schemas import FROM_CLIENT, FROM_NODE
from sanic_ws.settings import Settings
from tests.integration import test_groups, test_readme
from tests.readme import EXAMPLES, README, ROOT, blocks_of, example_of, read_blocks

FOLDER = ROOT / "tests" / "integration"
BROWSER = ROOT / "tests" / "browser"
FOLDERS = "unit|contract|integration|faults|conformance|browser"
NAMED = sorted(set(re.findall(rf"`((?:{FOLDERS})/[\w/]+\.py)(?:::(\w+))?`", README)))


def test_promises_name_tests():
    assert len(NAMED) > 10


@pytest.mark.parametrize(("file", "name"), NAMED, ids="::".join)
def test_named_test_is_there(file, name):
    text = (ROOT / "tests" / file).read_text("utf-8")
    assert not name or re.search(rf"^(async def|def|class) {name}\b", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"mode"}))
def test_every_setting_is_in_readme(name):
    assert re.search(rf"^\|[^|]*`{name.upper()}`", README, re.MULTILINE)


@pytest.mark.parametrize("block", blocks_of("python"), ids=lambda block: block.heading)
def test_python_is_run_by_a_test(block):
    ways = [words for words in test_readme.RUN if words in block.text]
    assert example_of(block) is not None or len(ways) == 1


@pytest.mark.parametrize("block", [*blocks_of("js"), *blocks_of("html")], ids=lambda block: block.heading)
def test_what_runs_on_node_or_in_a_browser_is_an_example(block):
    assert example_of(block) is not None


@pytest.mark.parametrize(
    "path", [path for path in sorted(EXAMPLES.iterdir()) if path.is_file()], ids=lambda path: path.name
)
def test_example_is_run_by_a_test(path):
    tests = [test for folder in (FOLDER, BROWSER) for test in folder.glob("test_*.py")]
    assert any(f'"{path.name}"' in test.read_text("utf-8") for test in tests)


@pytest.mark.parametrize("text", [test_groups.CLIENT, test_groups.CURL], ids=["client", "curl"])
def test_what_groups_are_shown_with_is_what_their_tests_run(text):
    assert text.strip() in README


def test_settings_of_haproxy_are_those_that_are_tested():
    assert (ROOT / "tests" / "haproxy.cfg").read_text("utf-8") in README


NOT_RUN = {"swift": "needs Apple's Foundation", "csharp": "needs .NET"}
"""Languages of blocks that nothing here can run; README says so beside each."""


def test_every_block_is_run_or_cannot_be():
    languages = {"python", "js", "html", "json", "console", *NOT_RUN}
    assert {block.language for block in read_blocks()} <= languages
    assert README.count("This is not run by a test.") == len(
        [b for b in read_blocks() if b.language in NOT_RUN]
    )


def section(heading):
    """Return the text under a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def anchors(text):
    """Return the anchors of headings, as they are made of them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_links_within_lead_somewhere():
    links = re.findall(r"\]\(#([^)]+)\)", README)
    assert len(links) > 20
    assert set(links) <= set(anchors(README))


def test_contents_are_the_sections_in_their_order():
    contents = README[: README.index("\n## ")]
    sections = anchors("\n".join(re.findall(r"^## .+$", README, re.MULTILINE)))
    assert re.findall(r"\]\(#([^)]+)\)", contents) == sections


def test_order_is_that_of_the_house():
    order = ["How a push finds its node", "Guarantees and limits", "Configuration", "Deploy", "Develop"]
    places = [README.index(f"\n## {heading}\n") for heading in order]
    assert places == sorted(places)


@pytest.mark.parametrize("code", CloseCode)
def test_close_code_is_told_with_whether_to_come_back(code):
    row = re.search(rf"^\| {code.value} \| (.*) \| (.*) \|$", README, re.MULTILINE)
    assert row[1] == code.why
    assert row[2].startswith("yes") is code.reconnect


@pytest.mark.parametrize(
    "word", sorted({*get_args(ErrorCode), *FROM_CLIENT, *FROM_NODE} - {"push", "message"})
)
def test_types_and_error_codes_are_told(word):
    assert word in {"text", "binary"} or f"`{word}`" in section("The WebSocket side")


@pytest.mark.parametrize("kind", get_args(EventType))
def test_events_are_told(kind):
    assert f"`{kind}`" in section("Presence")


def test_troubleshooting_names_what_the_code_has():
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "sanic_ws").rglob("*.py"))
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", section("Troubleshooting"), re.MULTILINE)
    assert len(rows) > 25
    words = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    # The codes of limits are put together.
    made = {"too_many_connections", "too_many_handshakes"}
    assert {word for word in words - made if word.lower() not in source and word not in source} == set()
