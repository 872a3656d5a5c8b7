"""The command line on a terminal, as somebody sees it, and what `listen` does when its node goes."""

import asyncio
import json
import os
import pty
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.integration.peers import (
    COMMAND,
    eventually,
    push,
    run_command,
    start_command,
    unique,
)

GREEN, CYAN = "32m", "36m"


class Terminal:
    """A command on a pseudo terminal; holds what it has written there."""

    def __init__(self) -> None:
        self.text = ""
        self.code: int | None = None
        self._main, self._other = pty.openpty()

    async def run(self, *arguments: str, env: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._main, self._read)
        plain = {n: v for n, v in os.environ.items() if not n.startswith(("SANIC_WS_", "NO_COLOR"))}
        self.process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            env={**plain, "TERM": "xterm-256color", "COLUMNS": "200", **env},
            stdin=self._other,
            stdout=self._other,
            stderr=self._other,
        )

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        self.code = await self.process.wait()
        self._read()
        asyncio.get_running_loop().remove_reader(self._main)
        os.close(self._main)
        os.close(self._other)

    def _read(self) -> None:
        os.set_blocking(self._main, False)
        try:
            while data := os.read(self._main, 65536):
                self.text += data.decode()
        except (BlockingIOError, OSError):
            pass


@asynccontextmanager
async def terminal(*arguments: str, **env: str) -> AsyncIterator[Terminal]:
    made = Terminal()
    await made.run(*arguments, env=env)
    try:
        yield made
    finally:
        await made.close()


async def on_terminal(*arguments: str, **env: str) -> Terminal:
    """Run a command on a terminal until it ends by itself."""
    async with terminal(*arguments, **env) as made:
        await made.process.wait()
    return made


class TestTerminal:
    async def test_push_is_a_coloured_line_and_json_where_that_is_asked_for(self, nodes, connect):
        client = await connect(nodes[0], unique())
        push_to = ["push", "--conn", client.conn, "--url", nodes[1].url]
        shown = await on_terminal(*push_to)
        (line,) = shown.text.splitlines()
        assert shown.code == 0
        assert GREEN in line
        for words in ("delivered", client.conn, "direct", nodes[0].node_id, " ms"):
            assert words in line
        assert GREEN not in (await on_terminal(*push_to, NO_COLOR="1")).text
        as_json = await on_terminal(*push_to, "--json", NO_COLOR="1")
        assert '"outcome": "delivered"' in as_json.text
        piped = await run_command(*push_to, env={"FORCE_COLOR": "1"})
        assert json.loads(piped.out)["outcome"] == "delivered"

    async def test_listen_shows_time_type_and_data(self, nodes):
        sign = unique()
        async with terminal("listen", "--url", nodes[0].ws_url, "--sign", sign) as listen:
            await eventually(lambda: "connected" in listen.text, "the first line")
            await push(nodes[1], {"conn": sign}, type="news", data={"n": [1, "ä"]})
            await push(nodes[1], {"conn": sign}, raw="\x1b[2J\x07raw")
            await eventually(lambda: "raw" in listen.text, "what was pushed")
        news = next(line for line in listen.text.splitlines() if "news" in line)
        assert CYAN in news
        assert '{"n":[1,"ä"]}' in news
        assert "\\x1b[2J\\x07raw" in listen.text
        assert listen.code == 130

    async def test_kick_says_what_it_did(self, nodes, connect):
        client = await connect(nodes[0], unique())
        shown = await on_terminal("kick", client.conn, "--url", nodes[1].url)
        assert (shown.code, shown.text.strip()) == (0, f"{client.conn} was closed, on {nodes[0].node_id}")
        assert (await client.closed())[0] == 4403
        again = await run_command("kick", client.conn, "--url", nodes[1].url)
        assert (again.code, again.out) == (1, "")
        assert "no node has this connection" in again.err


class TestListen:
    async def test_comes_back_and_says_so_on_standard_error(self, make_cluster):
        (node,) = make_cluster(1).nodes
        sign = unique()
        process = await start_command("listen", "--url", node.ws_url, "--sign", sign)
        lines = Lines(process)
        await lines.until("connected")
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(node.start)
        await lines.until("connected")
        await push(node, {"conn": sign}, type="again")
        await lines.until("again")
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert process.returncode == 130
        told = err.decode().splitlines()
        assert told[0].startswith("sanic-ws: the node is leaving (1012); trying again in ")
        assert told[-1] == "sanic-ws: connected again"

    async def test_does_not_come_back_where_it_is_told_so(self, make_cluster):
        (node,) = make_cluster(1).nodes
        process = await start_command("listen", "--url", node.ws_url, "--no-reconnect")
        await Lines(process).until("connected")
        await asyncio.to_thread(node.stop)
        _, err = await process.communicate()
        assert (process.returncode, len(err.splitlines())) == (3, 1)

    async def test_stays_away_when_it_was_kicked(self, nodes):
        sign = unique()
        process = await start_command("listen", "--url", nodes[0].ws_url, "--sign", sign)
        await Lines(process).until("connected")
        assert (await run_command("kick", sign, "--url", nodes[1].url)).code == 0
        _, err = await process.communicate()
        assert (process.returncode, err) == (
            3,
            b"sanic-ws: closed by the node: closed through the API (4403)\n",
        )

    async def test_confirms_and_joins(self, make_cluster):
        (node,) = make_cluster(1, client_groups="news").nodes
        sign = unique()
        process = await start_command(
            "listen", "--url", node.ws_url, "--sign", sign, "--group", "news", "--ack", "--count", "4"
        )
        lines = Lines(process)
        await lines.until("joined")
        assert (await push(node, {"conn": sign}, wait="ack"))["outcome"] == "acked"
        assert (await push(node, {"group": "news"}))["counts"] == {"delivered": 1}
        assert await process.wait() == 0


class Lines:
    """Read a command's output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._output = process.stdout

    async def until(self, kind: str) -> dict[str, Any]:
        """Read until a message of a type."""
        while line := await asyncio.wait_for(self._output.readline(), 30):
            message = json.loads(line)
            if message["type"] == kind:
                return message
        raise AssertionError(f"no {kind}")
