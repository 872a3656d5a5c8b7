"""The chart, rendered by the real helm."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import find_program

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sanic-ws"
CI_FILES = sorted((CHART / "ci").glob("*-values.yaml"))
VERSIONS = ("1.28.0", "1.30.0", "1.33.0", "1.37.0")
TOOL_S = 120.0

Object = dict[str, Any]
Render = Callable[..., list[Object]]


def tool(name: str, *folders: Path) -> str:
    """Return the path of a program that the test set-up brings; without it skip, or fail where `CI=true`."""
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    found = find_program(name)
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"{name} is missing: ./scripts/test brings it")
    return found


def run(*command: object, ok: bool = True) -> str:
    """Run a program and return all that it writes; `ok` says whether it has to succeed."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOOL_S,
        check=False,
    )
    assert (ended.returncode == 0) == ok, ended.stdout
    return ended.stdout


def helm(*arguments: object, ok: bool = True) -> str:
    """Run helm."""
    return run(tool("helm", ROOT / ".cache" / "helm"), *arguments, ok=ok)


def template(*arguments: object, version: str = VERSIONS[-1]) -> str:
    """Return what helm would install, as text."""
    return helm("template", "sanic-ws", CHART, "--namespace", "push", "--kube-version", version, *arguments)


def render(*arguments: object, version: str = VERSIONS[-1]) -> list[Object]:
    """Return the objects that helm would install."""
    return [each for each in yaml.safe_load_all(template(*arguments, version=version)) if each]


def refused(*sets: str) -> str:
    """Return why helm refuses values."""
    options = [part for one in sets for part in ("--set-json", one)]
    return helm("template", "sanic-ws", CHART, *options, ok=False)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Return the objects of a kind."""
    return [each for each in objects if each["kind"] == kind]


def only(objects: list[Object], kind: str) -> Object:
    """Return the one object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def pods(objects: list[Object]) -> Iterator[Object]:
    """Return the specs of all pods."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["spec"]
        elif each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]
