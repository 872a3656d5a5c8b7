"""README's recipes run: with a real worker of Celery and Django's transactions, and with React."""

import asyncio
import json
import os
import secrets
import shutil
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import sanic_ws.http
from tests.integration.peers import WAIT_S, call, connection_info, eventually, push, unique
from tests.node_packages import install
from tests.servers import require

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER / "examples"
STATIC = Path(sanic_ws.http.__file__).with_name("static")
REACT, RENDERER, WS = "react@19", "react-test-renderer@19", "ws@8.23.0"


@asynccontextmanager
async def started(*command, **options):
    """Run a program for a while."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=pipe, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), WAIT_S)


async def test_what_django_commits_is_pushed_by_a_worker_of_celery(cluster, connect, tmp_path):
    for name in ("tasks.py", "views.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    own = {"CELERY_BROKER_URL": cluster.rabbit.url, "PYTHONPATH": str(tmp_path)}
    env = {**os.environ, **cluster.env, **own}
    user, order = secrets.randbelow(1 << 30) + 1, secrets.randbelow(1 << 30)
    client = await connect(cluster.nodes[1], user={"userId": user})
    worker = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "1"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    async with started(*worker, *quiet, env=env, cwd=tmp_path, stderr=asyncio.subprocess.PIPE):
        program = [sys.executable, FOLDER / "django_shop.py", order, user]
        async with started(*program, env=env, cwd=tmp_path) as shop:
            out, _ = await asyncio.wait_for(shop.communicate(), WAIT_S)
            assert json.loads(out) == {"order": order + 1}
        message = await client.next("order_shipped")
    assert message["data"] == {"order": order + 1}
    assert message["id"] == f"order-{order + 1}-shipped"


async def test_react_shows_what_is_pushed(cluster, tmp_path):
    install(tmp_path, REACT, RENDERER, WS)
    files = [EXAMPLES / "use_gateway.mjs", FOLDER / "react_page.mjs", STATIC / "sanic-ws.js"]
    program = [shutil.copy(file, tmp_path) for file in files][1]
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    conn, group, node = unique(), unique("g"), cluster.nodes[0]
    pipe = asyncio.subprocess.PIPE
    async with started(require("node"), program, node.ws_url, conn, group, stdin=pipe, cwd=tmp_path) as page:

        async def shown(state, count):
            while (line := json.loads(await asyncio.wait_for(page.stdout.readline(), WAIT_S))) != {
                "state": state,
                "count": count,
            }:
                assert line["count"] <= count

        async def joined():
            return (await call(node, "GET", f"/api/v1/groups/{group}")).json["connections"]

        await shown("open", 0)
        await push(cluster.nodes[1], {"conn": conn}, type="task_count", data={"count": 1})
        await shown("open", 1)
        await eventually(joined, "the page to join its group")
        await push(cluster.nodes[1], {"group": group}, type="task_count", data={"count": 2})
        await shown("open", 2)
        page.stdin.close()
        assert await asyncio.wait_for(page.wait(), WAIT_S) == 0
    assert await eventually(lambda: gone(node, conn), "the connection to close")


async def gone(node, conn):
    return await connection_info(node, conn) is None
