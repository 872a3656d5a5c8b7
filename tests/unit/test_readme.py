"""README names tests for what it promises: they are there."""

import re
from pathlib import Path

import pytest

from sanic_ws.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FOLDERS = "unit|contract|integration|faults|conformance"
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
