"""What the OpenAPI document allows and what it does not, tried by schemathesis (see `fuzzing.toml`)."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.integration.peers import unique
from tests.servers import GatewayNode

ROOT = Path(__file__).parents[2]
KEY = "the-key-of-the-fuzzer"
PROGRAM = Path(sys.executable).with_name("schemathesis")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["dev", "serve"])
async def test_node_answers_as_its_document_says_whatever_it_is_sent(mode, tmp_path):
    settings = {"REDIS_URL": "memory://", "AMQP_URL": "memory://", "PREFIX": unique(), "DRAIN_S": "0.1"}
    if mode == "serve":
        settings["API_KEYS"] = f"fuzzer:{KEY}"
    node = GatewayNode(mode, name=mode, env={f"SANIC_WS_{name}": value for name, value in settings.items()})
    with node:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *("--config-file", ROOT / "tests/integration/fuzzing.toml"),
            *("run", f"{node.url}/docs/openapi.json"),
            # To break its rules one by one is enough in one mode: the code that reads is the same.
            *(("--phases", "fuzzing") if mode == "dev" else ()),
            *(("--header", f"Authorization: Bearer {KEY}") if mode == "serve" else ()),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told = (await process.communicate())[0].decode()
        log = node.log.read_text()
    assert process.returncode == 0, told
    assert re.search(r"(\d\d) selected / \1 total", told), told
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log
