"""Servers of our own on free loopback ports: Redis, RabbitMQ and gateway nodes.

Used by the tests' fixtures and by `scripts/cluster`. Each server is a synchronous context manager with a
temporary folder of its own. Processes are ended by the ids that were started here and by nothing else, and a
guard process ends what is left when this process dies without cleaning up.
"""

import atexit
import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, ClassVar, Literal, Protocol, Self

if TYPE_CHECKING:
    from tests.nursery import Nursery

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range (32768 and up): a client that retries a closed port of that range can connect
# to itself, and so take the port away from a server that is being restarted.
PORTS = range(20000, 32000)
# Debian keeps servers out of a normal user's PATH, and its rabbitmq-server there is a wrapper that insists on
# the user `rabbitmq`, who cannot read our folders.
PROGRAM_FOLDERS = (
    "/usr/lib/rabbitmq/bin",
    *os.environ.get("PATH", "").split(os.pathsep),
    "/usr/sbin",
    "/usr/bin",
)

_handed_out: set[int] = set()


class ServerError(RuntimeError):
    """A server did not start, or did not do what it was waited for; holds the tail of its log."""


def find_program(name: str) -> str | None:
    """Return the path of an installed program, or None."""
    return shutil.which(name, path=os.pathsep.join(PROGRAM_FOLDERS))


def require(program: str) -> str:
    """Return the program's path; without it skip the running test, or fail it where `CI=true`."""
    import pytest

    __tracebackhide__ = True
    path = find_program(program)
    if path is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"{program} is not installed")
    return path


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a loopback port that nobody listens on, each only once in the life of this process."""
    for port in random.sample(PORTS, len(PORTS)):
        if port not in _handed_out and port_is_free(port):
            _handed_out.add(port)
            return port
    raise ServerError("no free port left")


def tail(log: Path, lines: int = 40) -> str:
    """Return the last lines of a log file, or an empty string without one."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def wait_until(
    predicate: Callable[[], bool],
    timeout_s: float,
    what: str,
    *,
    log: Path | None = None,
    interval_s: float = 0.02,
) -> None:
    """Poll until the predicate holds.

    Raises:
        ServerError: not within `timeout_s` seconds; says `what` was waited for, and the tail of the log.
    """
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            shown = f"\n{tail(log)}" if log else ""
            raise ServerError(f"waited {timeout_s:g} s in vain for {what}{shown}")
        time.sleep(interval_s)


class _Guard:
    """A process that ends our processes and removes our folders once this process is gone, killed or not.

    It learns that from the end of its input. PR_SET_PDEATHSIG would not do: it acts when the thread that
    started a server ends, and leaves the folders.
    """

    def __init__(self) -> None:
        self._input: IO[bytes] | None = None
        self._lock = threading.Lock()

    def hold(self, kind: Literal["process", "folder"], name: object) -> None:
        self._tell("+", kind, name)

    def release(self, kind: Literal["process", "folder"], name: object) -> None:
        self._tell("-", kind, name)

    def _tell(self, sign: str, kind: str, name: object) -> None:
        with self._lock:
            if self._input is None:
                self._input = self._start()
            self._input.write(f"{sign} {kind} {name}\n".encode())

    @staticmethod
    def _start() -> IO[bytes]:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        assert guard.stdin is not None

        def close(pipe: IO[bytes] = guard.stdin) -> None:
            pipe.close()
            guard.wait()

        atexit.register(close)
        return guard.stdin


def _guard_main(lines: Iterator[str]) -> None:
    held: set[tuple[str, str]] = set()
    for line in lines:
        sign, kind, name = line.rstrip("\n").split(" ", 2)
        (held.add if sign == "+" else held.discard)((kind, name))
    pids = [int(name) for kind, name in held if kind == "process"]
    for pid in pids:
        _signal_group(pid, signal.SIGKILL)
    # Where nobody reaps orphans the killed stay as zombies: not worth a longer wait.
    with contextlib.suppress(ServerError):
        wait_until(lambda: not any(_signal_group(pid, 0) for pid in pids), 1, "the end of all processes")
    for folder in [name for kind, name in held if kind == "folder"]:
        shutil.rmtree(folder, ignore_errors=True)


def _signal_group(pid: int, number: int) -> bool:
    """Signal a process of ours and its children: each was started as the leader of its own group."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


_guard = _Guard()


class Process(Protocol):
    """A process of ours: a `subprocess.Popen`, or a child of the `Nursery`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...


class Server:
    """A process on a loopback port; subclasses say how it is run and when it is ready.

    `kill` leaves the folder, and `start` after it goes on with the same ports and data; `stop` removes the
    folder unless told otherwise.
    """

    name = "server"
    start_timeout_s = 30.0
    stop_timeout_s = 15.0

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder: Path | None = None
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """The server's temporary folder, made when first asked for."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sanic-ws-"))
            _guard.hold("folder", self._folder)
        return self._folder

    @property
    def log(self) -> Path:
        """What the process wrote to its standard output and error."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it is ready; stop it again where it is not."""
        try:
            self.spawn()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def spawn(self) -> None:
        """Start the process without waiting, so that several servers can start at once."""
        assert self._process is None, f"{self.name} is running already"
        # Otherwise whoever answers there would pass for ours.
        if not port_is_free(self.port):
            raise ServerError(f"{self.name}: port {self.port} is taken")
        self._process = self._popen(self._command(), self._environment())

    def wait_ready(self) -> None:
        """Wait until the server does its work.

        Raises:
            ServerError: it ended, or took longer than `start_timeout_s`; with the tail of its log.
        """
        wait_until(self._ended_or_ready, self.start_timeout_s, f"{self.name} to be ready", log=self.log)
        if not self.running:
            raise ServerError(f"{self.name} ended while starting\n{tail(self.log)}")

    def stop(self, *, keep_data: bool = False) -> int | None:
        """End the process in its orderly way, and by force past `stop_timeout_s`.

        Returns:
            The exit code (negative: the signal that ended it), or None where it was not running.
        """
        code = self._end(signal.SIGTERM)
        if not keep_data:
            self._remove_folder()
        return code

    def kill(self) -> None:
        """End the process and its children at once (`kill -9`)."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the process: its sockets stay open and nothing answers."""
        _signal_group(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        _signal_group(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the process to leave (SIGTERM) without waiting for it; `stop` still has to follow."""
        if self._process is not None:
            self._process.terminate()

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _ended_or_ready(self) -> bool:
        return not self.running or self._is_ready()

    def _popen(self, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _guard.hold("process", process.pid)
        return process

    def _end(self, number: signal.Signals) -> int | None:
        process, self._process = self._process, None
        return None if process is None else self._end_process(process, number)

    def _end_process(self, process: Process, number: signal.Signals) -> int:
        try:
            process.send_signal(number)
            # A paused process takes the signal only once it goes on.
            _signal_group(process.pid, signal.SIGCONT)
            process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            code = process.wait()
            _guard.release("process", process.pid)
        return code

    def _remove_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            _guard.release("folder", folder)


class RedisServer(Server):
    """A Redis without persistence; `options` are more of redis-server's own, such as `--appendonly yes`."""

    name = "redis-server"

    def __init__(self, *options: str, port: int | None = None) -> None:
        super().__init__(port)
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._options = options

    def _command(self) -> Sequence[str]:
        program = find_program(self.name) or self.name
        settings = {"port": self.port, "bind": LOOPBACK, "dir": self.folder, "save": "", "appendonly": "no"}
        return [
            program,
            *(str(part) for key, value in settings.items() for part in (f"--{key}", value)),
            *self._options,
        ]

    def _is_ready(self) -> bool:
        return _answer(self.port, b"PING\r\n").startswith(b"+PONG")


class RabbitServer(Server):
    """A RabbitMQ node with an Erlang port mapper (epmd), ports, cookie, settings and data of its own."""

    name = "rabbitmq-server"
    start_timeout_s = 60.0

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.url = f"amqp://guest:guest@{LOOPBACK}:{self.port}/"
        self.node = f"sws-{random.randrange(16**8):08x}@localhost"
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._epmd: Process | None = None

    def spawn(self) -> None:
        """Start epmd, then RabbitMQ, without waiting for the latter."""
        self._write_settings()
        self._start_epmd()
        super().spawn()

    def stop(self, *, keep_data: bool = False) -> int | None:
        """Stop RabbitMQ, then its epmd."""
        code = self._end(signal.SIGTERM)
        if self._epmd is not None:
            self._end_process(self._epmd, signal.SIGTERM)
            self._epmd = None
        if not keep_data:
            self._remove_folder()
        return code

    def ctl(self, *arguments: str, timeout_s: float = 30) -> str:
        """Run rabbitmqctl against this node and return its output.

        Raises:
            ServerError: it failed; with what it wrote.
        """
        dist_port = str(free_port())
        ports = {"RABBITMQ_CTL_DIST_PORT_MIN": dist_port, "RABBITMQ_CTL_DIST_PORT_MAX": dist_port}
        result = subprocess.run(
            [_rabbit_program("rabbitmqctl"), "--quiet", "--node", self.node, *arguments],
            env={**self._environment(), **ports},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if result.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)}: {result.stderr or result.stdout}")
        return result.stdout

    def _write_settings(self) -> None:
        settings = [
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
            f"distribution.listener.interface = {LOOPBACK}",
            "log.console = true",
            "log.file = false",
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join([*settings, ""]))
        for empty in ("enabled_plugins", "advanced.config"):
            (self.folder / empty).write_text("[].\n")

    def _start_epmd(self) -> None:
        if self._epmd is None:
            command = [find_program("epmd") or "epmd", "-port", str(self._epmd_port), "-address", LOOPBACK]
            self._epmd = self._popen(command, self._environment())
            wait_until(lambda: not port_is_free(self._epmd_port), 10, "epmd to listen", log=self.log)

    def _command(self) -> Sequence[str]:
        return [_rabbit_program(self.name)]

    def _environment(self) -> Mapping[str, str]:
        folder = self.folder
        foreign = ("RABBITMQ_", "ERL_", "SYSTEMD_", "NOTIFY_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        erlang = f"-start_epmd false -kernel inet_dist_use_interface {{{LOOPBACK.replace('.', ',')}}}"
        return {
            **inherited,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_CRASH_DUMP": os.devnull,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
            "RABBITMQ_CTL_ERL_ARGS": erlang,
            # Makes the start script become the Erlang VM, so that our signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _is_ready(self) -> bool:
        # The broker opens with a method frame (type 1), Connection.Start.
        return _answer(self.port, b"AMQP\x00\x00\x09\x01").startswith(b"\x01")


class GatewayNode(Server):
    """A `sanic-ws dev` or `sanic-ws serve` process; `env` holds its settings, and nobody else's get through.

    `identify` is asked for the node's id once it is ready; a node that was told to wait for `livez` alone is
    ready before its brokers are.

    Attributes:
        nursery: forks the processes; None: each is started by the command of its own.
    """

    stop_timeout_s = 60.0
    nursery: ClassVar["Nursery | None"] = None

    def __init__(
        self,
        mode: Literal["dev", "serve"] = "dev",
        *arguments: str,
        name: str = "node",
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        ready: Literal["readyz", "livez"] = "readyz",
        identify: Callable[["GatewayNode"], str] | None = None,
        program: Sequence[str] = (),
    ) -> None:
        super().__init__(port)
        self.name = name
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.ws_url = f"ws://{LOOPBACK}:{self.port}/ws"
        self.node_id: str | None = None
        self._arguments = [mode, "--port", str(self.port), *arguments]
        self._env = dict(env or {})
        _leaks().note_settings(self._env)
        self._ready = ready
        self._identify = identify
        self._program = program

    def wait_ready(self) -> None:
        """Wait for 200 from `/readyz` (or `/livez`), then ask for the node's id."""
        super().wait_ready()
        if self._identify is not None:
            self.node_id = self._identify(self)

    def get_status(self, path: str, timeout_s: float = 2) -> int | None:
        """Return the HTTP status of a GET on this node, or None where nothing answered."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _end(self, number: signal.Signals) -> int | None:
        code = super()._end(number)
        if code is not None:
            said = self.log.read_text(errors="replace") if self.log.exists() else ""
            _leaks().look_through(said, f"{self.name}'s log")
        return code

    def _command(self) -> Sequence[str]:
        program = self._program or [str(Path(sys.executable).with_name("sanic-ws"))]
        return [*program, *self._arguments]

    def _popen(self, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        if self.nursery is None or self._program:
            return super()._popen(command, environment)
        process = self.nursery.fork(self._arguments, environment, self.folder, self.log)
        _guard.hold("process", process.pid)
        return process

    def _environment(self) -> Mapping[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SANIC_WS_")}
        return {**inherited, "SANIC_WS_NODE_NAME": self.name, **self._env}

    def _is_ready(self) -> bool:
        return self.get_status(f"/{self._ready}") == http.client.OK


def _leaks() -> ModuleType:
    # Not above: the guard runs this file alone.
    from tests import leaks

    return leaks


def _rabbit_program(name: str) -> str:
    return find_program(name) or name


def _answer(port: int, greeting: bytes, timeout_s: float = 2) -> bytes:
    """Return the first bytes that a server answers to a greeting, or none."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s) as connection:
            connection.sendall(greeting)
            return connection.recv(64)
    except OSError:
        return b""


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _guard_main(sys.stdin)
