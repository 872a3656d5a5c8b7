"""README names tests for what it promises: they are there."""

import re

import pytest

from sanic_ws.settings import Settings
from tests.integration import test_groups, test_readme
from tests.readme import EXAMPLES, README, ROOT, blocks_of, example_of

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


@pytest.mark.parametrize("block", blocks_of("js"), ids=lambda block: block.heading)
def test_what_runs_on_node_is_an_example(block):
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
