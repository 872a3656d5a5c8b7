"""The JavaScript client on Node, as README's example has it."""

import asyncio
import json
import shutil

import pytest

from tests.integration.peers import WAIT_S, eventually, only, push
from tests.node_packages import install
from tests.readme import EXAMPLES, ROOT
from tests.servers import require

WS = "ws@8.23.0"
PROGRAM = EXAMPLES / "client.mjs"
CLIENT = ROOT / "sanic_ws" / "http" / "static" / "sanic-ws.js"


@pytest.fixture
def folder(tmp_path):
    """A folder with the program and what it needs."""
    install(tmp_path, WS)
    shutil.copy(PROGRAM, tmp_path)
    shutil.copy(CLIENT, tmp_path / "sanic-ws.mjs")
    return tmp_path


async def test_client_on_node(make_cluster, folder):
    first, second = make_cluster(2).nodes
    user = {"userId": 1001}
    stored = await push(first, {"user": user}, type="task_count", data={"count": 3}, offline="store")
    assert stored["outcome"] == "stored"
    program = folder / PROGRAM.name
    process = await asyncio.create_subprocess_exec(
        require("node"), program, first.ws_url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )

    async def line():
        return json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT_S))

    try:
        assert {json.dumps(await line()) for _ in range(2)} == {'{"state": "open"}', '{"count": 3}'}
        rung = await push(second, {"user": user}, type="ring", data={"from": "eve"}, wait="reply")
        assert only(rung)["reply"] == {"accepted": True}
        await asyncio.to_thread(first.stop)
        assert (told := await line())["code"] == 1012, told
        await asyncio.to_thread(first.start)
        while (told := await line())["state"] != "open":
            assert told["state"] in ("connecting", "waiting")

        async def stopped():
            return (await push(second, {"group": "news"}, type="stop"))["counts"] == {"delivered": 1}

        await eventually(stopped, "the group to be joined again")
        out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["state"] == "closed"
