"""What rows 1 and 2 need to know of a system: its nodes, its clients' way in and its publisher."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmark.load import Endpoint
from scripts.benchmark.processes import BenchServer, Program, importing, python
from tests.servers import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.servers import Server

MARKER = "task"
# 128 bytes of compact JSON.
DATA = {"text": "x" * 117}
PYTHON_AMQP = "python-socketio AioPika"
PYTHON_REDIS = "python-socketio Redis"
NODE_REDIS = "Socket.IO Node Redis"
# Engine.IO opens with 0, the client asks for the namespace with 40, and is in its room when 40 comes back.
ENGINE_IO_STEPS = (('0{"sid"', '40{"user":{i}}'), ('40{"sid"', None))
NODE_PACKAGES = ("socket.io", "@socket.io/redis-adapter", "@socket.io/redis-emitter", "redis")
NODE_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


@dataclass(frozen=True)
class PushSystem:
    """A system that delivers one publisher's pushes through any number of nodes."""

    title: str
    node: Callable[[], Server]
    endpoint: Callable[[Sequence[Server]], Endpoint]
    publisher: Callable[[Path], Program]


class CommandServer(BenchServer):
    """A server that is started by a command with its port in it."""

    def __init__(self, command: Callable[[int], Sequence[str]], env: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._build = command
        self._env = dict(env or {})

    def _command(self) -> Sequence[str]:
        return self._build(self.port)

    def _environment(self) -> Mapping[str, str]:
        return {**importing(os.environ), **self._env}


def _socketio_endpoint(nodes: Sequence[Server]) -> Endpoint:
    urls = [f"ws://127.0.0.1:{node.port}/socket.io/?EIO=4&transport=websocket" for node in nodes]
    return Endpoint(urls, ENGINE_IO_STEPS, f'42["{MARKER}"', engine_io=True)


def python_socketio(title: str, kind: str, url: str) -> PushSystem:
    """Build python-socketio over `kind` (amqp or redis), served by uvicorn."""
    return PushSystem(
        title,
        lambda: CommandServer(lambda port: python("socketio_node", kind, url, str(port))),
        _socketio_endpoint,
        lambda log: Program(python("socketio_publisher", kind, url), log),
    )


def cache_folder() -> Path:
    """Return the folder for what the benchmark installs and writes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sanic-ws-bench"


def node_folder() -> Path:
    """Return the folder that scripts/bench installs the npm packages to."""
    return cache_folder() / "node"


def node_missing() -> str | None:
    """Say what Socket.IO on Node lacks, or None."""
    if find_program("node") is None:
        return "node is not installed"
    absent = [name for name in NODE_PACKAGES if not (node_folder() / "node_modules" / name).is_dir()]
    return f"npm packages are not installed: {', '.join(absent)}" if absent else None


def node_socketio(redis_url: str) -> PushSystem:
    """Build Socket.IO on Node with its Redis adapter and emitter."""
    env = {"BENCH_NODE_FOLDER": str(node_folder()), "NODE_ENV": "production"}
    node = find_program("node") or "node"
    server, publisher = (
        str(NODE_PROGRAMS / "socketio_node.mjs"),
        str(NODE_PROGRAMS / "socketio_publisher.mjs"),
    )
    return PushSystem(
        NODE_REDIS,
        lambda: CommandServer(lambda port: [node, server, redis_url, str(port)], env),
        _socketio_endpoint,
        lambda log: Program([node, publisher, redis_url], log, env=env),
    )
