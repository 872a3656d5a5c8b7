"""Programs that take commands, and what the benchmark's own servers have in common."""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.servers import LOOPBACK, Server, tail

from .accounting import cpu_s, family, pss_bytes, settle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = f"{__package__}.programs"
START_S = 60.0
STOP_S = 10.0
CHUNK = 1 << 20


class ProgramError(Exception):
    """A program that the benchmark started failed."""


def python(module: str, *args: str) -> list[str]:
    """Return the command that runs one of the benchmark's own programs."""
    return [sys.executable, "-m", f"{PROGRAMS}.{module}", *args]


def importing(env: Mapping[str, str]) -> dict[str, str]:
    """Add what lets a Python process in any folder import the benchmark and the gateway."""
    paths = [str(ROOT), env.get("PYTHONPATH", "")]
    return {**env, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


class BenchServer(Server):
    """A server of the benchmark's own on a port of 127.0.0.1, ready when that port answers HTTP."""

    start_timeout_s = START_S

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self.port}"

    def _environment(self) -> Mapping[str, str]:
        return importing(os.environ)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True


class Program:
    """A process that takes commands as JSON lines (see programs/control.py) and ends when its input does."""

    def __init__(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        self._buffer = bytearray()
        try:
            self.answer("start", within_s=START_S)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def call(self, op: str, *, within_s: float = 120.0, **arguments: Any) -> dict[str, Any]:
        """Give one command and return its answer."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._failure(f"{op}: the program has ended") from None
        return self.answer(op, within_s=within_s)

    def answer(self, op: str, *, within_s: float) -> dict[str, Any]:
        """Read one answer.

        Raises:
            ProgramError: the program failed, ended or took longer than `within_s` seconds.
        """
        message: dict[str, Any] = json.loads(self._line(op, time.monotonic() + within_s))
        if not message.pop("ok"):
            raise ProgramError(f"{op}: {message['error']}")
        return message

    def stop(self) -> None:
        """Hang up; end the process where it does not end by itself."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        for end in (self._popen.stdin.close, self._popen.terminate, self._popen.kill):
            try:
                end()
                self._popen.wait(STOP_S)
                break
            except (OSError, subprocess.TimeoutExpired):
                continue
        self._popen.stdout.close()

    def _failure(self, what: str) -> ProgramError:
        return ProgramError(f"{what}\n{tail(self.log, 5)}")

    def _line(self, op: str, end: float) -> bytes:
        assert self._popen.stdout is not None
        output = self._popen.stdout.fileno()
        while b"\n" not in self._buffer:
            if not select.select([output], [], [], max(0.0, end - time.monotonic()))[0]:
                raise self._failure(f"{op}: no answer in time")
            data = os.read(output, CHUNK)
            if not data:
                raise self._failure(f"{op}: the program has ended")
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_together(servers: Sequence[Server], stack: ExitStack) -> None:
    """Start servers side by side; the stack stops them side by side too."""
    stack.callback(stop_together, servers)
    for server in servers:
        server.spawn()
    for server in servers:
        server.wait_ready()


def stop_together(servers: Sequence[Server]) -> None:
    """Ask all to leave, then see each out."""
    for server in servers:
        server.terminate()
    for server in servers:
        server.stop()


class Meter:
    """The CPU time of some processes and their children since a start."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.pids = family(pids)
        self._start_s = cpu_s(self.pids)

    def used_s(self) -> float:
        """Wait until the processes are done and return their CPU seconds."""
        settle(self.pids)
        return cpu_s(self.pids) - self._start_s

    def memory(self) -> int:
        """Return their memory (PSS) in bytes."""
        return pss_bytes(self.pids)
