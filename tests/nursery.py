"""Node processes that are forked from one that has loaded the program already.

Loading takes a second of CPU, and the tests start a node about every second. What a node does from its
arguments on is the same; that `sanic-ws` itself starts is tested where the command line is.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

POLL_S = 0.01


class Child:
    """A forked process, with what `servers` needs of `subprocess.Popen`.

    Attributes:
        returncode: as of `Popen`; None while it was not seen to have ended.
    """

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Look whether it has ended."""
        if self.returncode is None:
            self.returncode = self._nursery.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it takes longer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("sanic-ws", timeout or 0)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to leave."""
        self.send_signal(signal.SIGTERM)


class Nursery:
    """Hold the process that the others are forked from; it starts with the first, and ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path, log: Path) -> Child:
        """Start `sanic-ws` with these arguments in a session and a folder of its own."""
        command = {"arguments": arguments, "env": dict(env), "folder": str(folder), "log": str(log)}
        return Child(self, self.ask(fork=command))

    def ask(self, **request: Any) -> Any:
        """Ask the process; return its answer."""
        with self._lock:
            if self._socket is None:
                self._socket = self._start()
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                read = self._socket.recv(4096)
                if not read:
                    raise RuntimeError("the process that nodes are forked from has ended")
                answer += read
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return ours


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork as it is asked for until nobody asks any more; return in a forked process what it is to do."""
    with asked, asked.makefile("rb") as lines:
        for line in lines:
            request = json.loads(line)
            if "fork" not in request:
                answer = _code(request["poll"])
            elif (answer := os.fork()) == 0:
                return request["fork"]
            asked.sendall(json.dumps(answer).encode() + b"\n")
    return None


def _code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(wanted: dict[str, Any]) -> None:
    """Be as if this process had been started for this."""
    os.setsid()
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    log = os.open(wanted["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    sys.argv = ["sanic-ws", *wanted["arguments"]]


def _main(descriptor: int) -> None:
    import gc

    import sanic_ws.app  # noqa: F401 - it is what takes long
    from sanic_ws.cli import main

    gc.freeze()
    wanted = None
    with contextlib.suppress(ConnectionError):
        wanted = _serve(socket.socket(fileno=descriptor))
    if wanted is not None:
        _become(wanted)
        main()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _main(int(sys.argv[1]))
