"""README's code runs as it stands there; blocks that are files of the examples are run by their own tests."""

import asyncio
import json
import os
import shlex
import sys
import textwrap

import pytest

from sanic_ws import Conn, Group, Publisher, PushRequest, User
from tests.integration.peers import COMMAND, WAIT_S, Client, call, only, run_command, unique
from tests.readme import EXAMPLES, blocks_of, example_of
from tests.servers import GatewayNode, require

PROGRAMS = [block for block in blocks_of("python") if example_of(block) is None]
NAMED = (Conn, User, Group, PushRequest)
USER = {"userId": 1001, "tenantId": 7, "fromType": "web"}


def the(language, *words):
    """Return the one block of a language that has these words."""
    found = [block.text for block in blocks_of(language) if all(word in block.text for word in words)]
    assert len(found) == 1, f"{len(found)} blocks have {words}"
    return found[0]


async def run_program(text, tmp_path, cluster):
    """Run a block as a program against a cluster; return what it printed."""
    program = tmp_path / "block.py"
    urls = {"redis://127.0.0.1:6379/0": cluster.redis.url, "amqp://127.0.0.1/": cluster.rabbit.url}
    for shown, real in urls.items():
        text = text.replace(f'"{shown}"', repr(real))
    program.write_text(text, "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, env={**os.environ, **cluster.env}, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0
    return printed.decode()


async def run_snippet(text, publisher):
    """Run a block that awaits; return what it names."""
    names = {"publisher": publisher, **{each.__name__: each for each in NAMED}}
    exec("async def run():\n" + textwrap.indent(text, "    ") + "    return locals()\n", names)
    return await names["run"]()


async def push_to_user(tmp_path, make_cluster, connect):
    own = make_cluster(3)
    client = await connect(own.nodes[1], "demo", user=USER)
    printed = await run_program(the("python", '"task_count"'), tmp_path, own)
    assert printed == f"delivered [('demo', {own.nodes[1].node_id!r}, <Route.DIRECT: 'direct'>)]\n"
    assert (await client.next("task_count"))["data"] == {"count": 3}


async def push_many(tmp_path, make_cluster, connect):
    own = make_cluster(3)
    client = await connect(own.nodes[0], "demo")
    phone = await connect(own.nodes[1], user={"userId": "eve", "fromType": "phone"})
    text = the("python", 'User("eve"') + "print([str(receipt.outcome) for receipt in receipts])\n"
    assert await run_program(text, tmp_path, own) == "['delivered', 'delivered']\n"
    assert ((await client.next("a"))["data"], (await phone.next("b"))["data"]) == (1, {"x": 2})


async def ring(tmp_path, make_cluster, connect):
    own = make_cluster(3)
    desk, phone = [await connect(node, user={"userId": 1001}) for node in own.nodes[:2]]
    running = asyncio.create_task(run_program(the("python", '"ring"'), tmp_path, own))
    message = await phone.next("ring")
    await desk.next("ring")
    await phone.send("reply", {"id": message["id"], "data": {"accepted": True}})
    printed = sorted((await running).splitlines())
    assert printed == sorted([f"{phone.conn} acked {{'accepted': True}}", f"{desk.conn} delivered None"])
    assert (await desk.next("cancelled"))["data"] == {"id": message["id"]}


async def push_to_group(tmp_path, make_cluster, connect):
    own = make_cluster(3)
    client = await connect(own.nodes[0])
    await client.send("join", {"group": "news"})
    await client.next("joined")
    async with Publisher(own.redis.url, own.rabbit.url, own.prefix) as publisher:
        ran = await run_snippet(the("python", 'Group("news")'), publisher)
    assert ran["receipt"].counts == {"delivered": 1}
    assert (await client.next("headline"))["data"] == "hi"


async def tick(tmp_path, make_cluster, connect):
    own = make_cluster(3)
    client = await connect(own.nodes[0], "demo")
    async with Publisher(own.redis.url, own.rabbit.url, own.prefix) as publisher:
        ran = await run_snippet(the("python", '"price"'), publisher)
    assert [receipt.outcome for receipt in ran["receipts"]] == ["delivered"] * 3
    assert [(await client.next("price"))["data"] for _ in range(3)] == [101.5, 101.7, 101.6]


async def push_once(tmp_path, make_cluster, connect):
    own = make_cluster(3)
    client = await connect(own.nodes[0], user={"userId": 1001})
    async with Publisher(own.redis.url, own.rabbit.url, own.prefix) as publisher:
        text = the("python", "order-7-shipped")
        first, copy = [(await run_snippet(text, publisher))["receipt"].to_json() for _ in range(2)]
    assert (first["outcome"], copy) == ("delivered", first)
    assert [message["type"] for message in await client.rest()] == ["order_shipped"]


async def run_gateway(tmp_path, make_cluster, connect):
    program = tmp_path / "gateway.py"
    program.write_text(the("python", "gateway.run()"), "utf-8")
    # It listens where the settings say, as README has it.
    node = GatewayNode("dev", name="readme", program=[sys.executable, str(program)])
    node._env["SANIC_WS_PORT"] = str(node.port)
    with node:
        client = await connect(node, "demo")
        await client.send("chat.send", "hi there")
        assert (await client.next("chat.sent"))["data"] == {"from": "demo", "length": 8}


RUN = {
    '"task_count"': push_to_user,
    'User("eve"': push_many,
    '"ring"': ring,
    'Group("news")': push_to_group,
    '"price"': tick,
    "order-7-shipped": push_once,
    "gateway.run()": run_gateway,
}
"""How a block is run, by what only it has."""


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.heading)
async def test_python_runs_as_it_stands_there(block, tmp_path, make_cluster, connect):
    (run,) = [run for words, run in RUN.items() if words in block.text]
    await run(tmp_path, make_cluster, connect)


async def test_first_push_by_hand(tmp_path):
    require("curl")
    lines = the("console", "sanic-ws listen").strip().split("\n")
    with GatewayNode("dev", name="readme") as node:
        listen, push = [line.replace("127.0.0.1:8000", f"127.0.0.1:{node.port}") for line in lines]
        # The port is the default's in README.
        arguments = [*shlex.split(listen)[1:], "--url", node.ws_url]
        listener = await asyncio.create_subprocess_exec(COMMAND, *arguments, stdout=asyncio.subprocess.PIPE)
        try:
            await asyncio.wait_for(listener.stdout.readline(), WAIT_S)
            process = await asyncio.create_subprocess_shell(push, stdout=asyncio.subprocess.PIPE)
            answer = json.loads((await process.communicate())[0])
            shown = json.loads(the("json", '"outcome":"delivered"'))
            assert answer.keys() == shown.keys()
            assert only(answer).keys() == only(shown).keys()
            assert (answer["counts"], only(answer)["route"]) == (shown["counts"], only(shown)["route"])
            assert b'"hello"' in await asyncio.wait_for(listener.stdout.readline(), WAIT_S)
        finally:
            listener.terminate()
            await listener.wait()


async def test_push_of_the_console_by_hand(nodes, connect):
    require("curl")
    await connect(nodes[1], "demo")
    command = the("console", "console/push").replace("127.0.0.1:8000", f"127.0.0.1:{nodes[0].port}")
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    answer = json.loads((await process.communicate())[0])
    assert answer["receipt"]["outcome"] == "delivered"
    assert [step["what"] for step in answer["steps"]][:3] == ["accepted", "looked_up", "sent"]


async def test_handshake_by_hand(nodes):
    require("curl")
    command = the("console", "--http1.1").replace("127.0.0.1:8000", f"127.0.0.1:{nodes[0].port}")
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert out.startswith(b"HTTP/1.1 101")
    assert b'"connected"' in out


async def test_connected_is_as_shown(nodes):
    shown = json.loads(the("json", '"heartbeat_s"'))
    client = await Client.open(nodes[0], unique())
    assert client.connected.keys() == shown["data"].keys()
    same = ("user", "heartbeat_s", "max_message_bytes")
    assert {name: client.connected[name] for name in same} == {name: shown["data"][name] for name in same}
    await client.close()


async def test_push_is_taken_as_shown(make_cluster, connect):
    (node,) = make_cluster(1).nodes
    client = await connect(node, user=USER)
    answer = await call(node, "POST", "/api/v1/push", the("json", '"order-7"').encode())
    assert (answer.status, answer.json["id"], answer.json["counts"]) == (200, "order-7", {"delivered": 1})
    assert (await client.next("task_count"))["data"] == {"count": 3}


async def test_plan_is_made_as_shown():
    command = shlex.split(the("console", "sanic-ws plan").removeprefix("$ "))
    ended = await run_command(*command[1:])
    assert (ended.code, bool(ended.out)) == (0, True)


async def test_handler_of_the_examples_pushes():
    program = [sys.executable, str(EXAMPLES / "pushing.py")]
    with GatewayNode("dev", name="pushing", program=program) as node:
        one, other = [await Client.open(node, unique()) for _ in range(2)]
        for client in (one, other):
            await client.send("join", {"group": "chat"})
            await client.next("joined")
        await one.send("chat.say", "hi")
        assert (await one.next("chat.heard"))["data"] == {"by": 1}
        assert (await other.next("chat.said"))["data"] == "hi"
        await one.close()
        await other.close()
