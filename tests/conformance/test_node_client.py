"""The client `ws` of Node against a node, with compression and without."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.conformance.raw import WAIT_S
from tests.node_packages import install
from tests.servers import require

PACKAGE = "ws@8.23.0"
PROGRAM = Path(__file__).with_name("node_client.mjs")


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory) -> Path:
    """A folder with the program and what it needs."""
    folder = tmp_path_factory.mktemp("node")
    install(folder, PACKAGE)
    shutil.copy(PROGRAM, folder)
    return folder


async def run(*command: object) -> tuple[int, str, str]:
    """Run a program to its end; return its exit code and what it wrote."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("which", ["echo_node", "compressing_node"])
async def test_client_of_node(request, node_folder, which):
    node = request.getfixturevalue(which)
    url = f"ws://127.0.0.1:{node.port}/echo"
    code, out, err = await run(require("node"), node_folder / PROGRAM.name, url)
    assert (code, err) == (0, "")
    first, *echoes, fragments, closed, refused = map(json.loads, out.splitlines())
    agreed = "permessage-deflate" if which == "compressing_node" else ""
    assert first == {"extensions": agreed, "protocol": "v1.example"}
    assert [echo["echoed"] for echo in echoes] == [True] * 5
    assert fragments == {"pong": "between", "message": "in parts"}
    assert closed == {"code": 4321, "reason": "bye"}
    assert refused == {"code": 1009}
