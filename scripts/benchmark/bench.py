"""What the rows share: options, servers, the report."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from tests.servers import RabbitServer, RedisServer, Server, ServerError, find_program

from .load import LoadClient, LoadError
from .processes import Program, ProgramError, python

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .report import Report

T = TypeVar("T")
S = TypeVar("S", bound=Server)

FAILURES = (ServerError, ProgramError, LoadError, OSError)


class Bench:
    """One run: starts what rows ask for and stops it all at the end."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.quick = report.quick
        self._stack = ExitStack()
        self._logs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pick(self, quick: T, full: T) -> T:
        """Return the value for this run's length."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Tell on standard error what is being done."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    @cached_property
    def folder(self) -> Path:
        """A temporary folder for logs."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sanic-ws-bench-")))

    def log(self, name: str) -> Path:
        """Return a new log file's path."""
        self._logs += 1
        return self.folder / f"{self._logs:03d}-{name}.log"

    @cached_property
    def redis(self) -> RedisServer:
        """A Redis for the whole run; peers' subscribers are never cut off for being slow."""
        return self._stack.enter_context(RedisServer("--client-output-buffer-limit", "pubsub 0 0 0"))

    @cached_property
    def rabbit(self) -> RabbitServer:
        """A RabbitMQ for the whole run."""
        return self._stack.enter_context(RabbitServer())

    def load_client(self) -> LoadClient:
        """Start a load client; the caller stops it."""
        return LoadClient(self.log("load-client"))

    def program(self, module: str, *args: str, env: Mapping[str, str] | None = None) -> Program:
        """Start one of the benchmark's programs; the caller stops it."""
        return Program(python(module, *args), self.log(module), env=env)

    def attempt(self, row: int, system: str, action: Callable[[], object]) -> bool:
        """Do it; a system's failure becomes a gap of the report, so that the other systems go on."""
        try:
            action()
        except FAILURES as error:
            self.report.gap(row, system, str(error).strip())
            self.say(f"row {row}: {system} failed: {error}")
            return False
        return True

    def start_all(self, row: int, stack: ExitStack, makers: Mapping[str, Callable[[], S]]) -> dict[str, S]:
        """Enter what can be started, by title; the rest become gaps."""
        started: dict[str, S] = {}

        def start(title: str) -> None:
            server = makers[title]()
            stack.enter_context(server)
            started[title] = server

        for title in makers:
            self.attempt(row, title, partial(start, title))
        return started

    def alternate(self, row: int, rounds: int, measures: Mapping[str, Callable[[], object]]) -> None:
        """Run every system's measurement in turn, `rounds` times; one that fails is left out after it."""
        left = dict(measures)
        for _ in range(rounds):
            left = {title: measure for title, measure in left.items() if self.attempt(row, title, measure)}


def servers_missing() -> str | None:
    """Say which of the servers that every push needs is not installed, or None."""
    absent = [name for name in ("redis-server", "rabbitmq-server") if find_program(name) is None]
    return f"not installed (apt): {', '.join(absent)}" if absent else None
