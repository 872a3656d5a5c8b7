"""README's recipes run: with a real worker of Celery and Django's transactions, and with React."""

import asyncio
import json
import os
import secrets
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.peers import WAIT_S

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER / "examples"


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
    path = os.pathsep.join(str(folder) for folder in (EXAMPLES, FOLDER))
    env = {**os.environ, **cluster.env, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
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
