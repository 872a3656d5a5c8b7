"""The Dockerfile, and what a container of it would run, run for real with the chart's environment."""

import fnmatch
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.deploy.chart import CHART, ROOT, only, render, run, tool
from tests.deploy.image import BIN, Container, command, instructions
from tests.integration.peers import unique
from tests.servers import LOOPBACK

KEY = "backend-0123456789abcdef"


def health_check(port: int) -> int:
    (line,) = instructions("HEALTHCHECK")
    ended = subprocess.run(
        command(line[line.index("CMD") :]),
        env={**os.environ, "SANIC_WS_PORT": str(port)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    return ended.returncode


@pytest.fixture
def container(redis, rabbit) -> Iterator[Container]:
    secrets = {
        "SANIC_WS_REDIS_URL": redis.url,
        "SANIC_WS_AMQP_URL": rabbit.url,
        "SANIC_WS_PREFIX": unique("pod"),
        "SANIC_WS_API_KEYS": f"backend:{KEY}",
    }
    one = Container("sanic-ws-5d4f8c7b9-x2x7k", render("--set-json", "config.DRAIN_S=0.5"), secrets)
    yield one
    one.stop()


def test_hadolint_has_nothing_to_say():
    run(tool("hadolint", BIN), "Dockerfile")


def test_image_is_not_root_and_lets_signals_through():
    (user,) = instructions("USER")
    pod = only(render(), "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    for name in ("ENTRYPOINT", "CMD"):
        (line,) = instructions(name)
        assert line.startswith("[")
    (entry,), (arguments,) = instructions("ENTRYPOINT"), instructions("CMD")
    assert json.loads(entry) + json.loads(arguments) == ["sanic-ws", "serve"]


def test_image_is_pinned_by_the_constraints():
    assert re.search(r"pip install .*-c constraints\.txt", (ROOT / "Dockerfile").read_text())


def test_context_holds_what_is_copied_and_nothing_else():
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        copied |= set(line.split()[:-1])
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert any(fnmatch.fnmatch("sanic_ws/core/__pycache__", rule) for rule in rules if "/" in rule)


def test_pod_runs_is_probed_and_leaves(container):
    container.start()
    probes = {name: container.spec[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")}
    assert {container.get_status(path) for path in probes.values()} == {200}
    assert health_check(container.port) == 0
    env = {**os.environ, "NODE_URL": f"http://{LOOPBACK}:{container.port}"}
    helm_test = [sys.executable, CHART / "files" / "helm_test.py"]
    subprocess.run(helm_test, env=env, check=True, timeout=30, capture_output=True)
    process = container._process
    assert process is not None
    container.terminate()
    assert process.wait(container.grace_s) == 0
    assert health_check(container.port) != 0


def test_helm_test_fails_where_nothing_answers_as_it_should():
    env = {**os.environ, "NODE_URL": f"http://{LOOPBACK}:1"}
    ended = subprocess.run(
        [sys.executable, CHART / "files" / "helm_test.py"],
        env=env,
        check=False,
        timeout=30,
        capture_output=True,
    )
    assert ended.returncode != 0
