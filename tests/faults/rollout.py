"""A Deployment's rolling update without Kubernetes: what kubelet and controller do to the chart's pods."""

import asyncio
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tests.deploy.chart import Object, only
from tests.deploy.image import BIN, Container
from tests.faults.cluster import check_logs
from tests.servers import ServerError, tail

READY_S = 60.0
"""How long a pod is waited for before the test gives up."""


class Probe:
    """One of a container's probes, asked as the kubelet does.

    Attributes:
        holds: set while it does.
        failed: whether it ever failed as often in a row as it may not.
    """

    def __init__(self, container: Container, spec: Mapping[str, Any]) -> None:
        self.holds = asyncio.Event()
        self.failed = False
        self._container = container
        self._spec = spec
        self._failures = 0

    async def run(self) -> None:
        """Ask for ever."""
        path, timeout_s = self._spec["httpGet"]["path"], self._spec["timeoutSeconds"]
        while True:
            status = await asyncio.to_thread(self._container.get_status, path, timeout_s)
            self._take(status is not None and 200 <= status < 400)
            await asyncio.sleep(self._spec["periodSeconds"])

    def _take(self, succeeded: bool) -> None:
        self._failures = 0 if succeeded else self._failures + 1
        if succeeded:
            self.holds.set()
        elif self._failures >= self._spec["failureThreshold"]:
            self.holds.clear()
            self.failed = True


@dataclass(frozen=True, slots=True)
class Ending:
    """How a pod went.

    Attributes:
        code: the process's exit code; negative: the signal that killed it.
        ready: whether it was until SIGTERM.
        took_s: from its deletion on, preStop included.
    """

    code: int
    ready: bool
    took_s: float


class Pod:
    """A container, and what the kubelet does to it.

    Attributes:
        ending: how it went; None while it has not.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.ending: Ending | None = None
        self._startup, self._liveness, self._readiness = (
            Probe(container, container.spec[f"{name}Probe"]) for name in ("startup", "liveness", "readiness")
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> bool:
        """Whether it never had to be restarted."""
        return not (self._startup.failed or self._liveness.failed)

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ServerError: it does not become so; with the tail of its log.
        """
        self.container.spawn()
        try:
            async with asyncio.timeout(READY_S):
                starting = asyncio.create_task(self._startup.run())
                self._tasks = [starting]
                await self._startup.holds.wait()
                starting.cancel()
                self._tasks += [asyncio.create_task(each.run()) for each in (self._liveness, self._readiness)]
                await self._readiness.holds.wait()
        except TimeoutError:
            raise ServerError(f"{self.container.name} is not ready\n{tail(self.container.log)}") from None

    async def delete(self) -> None:
        """Run preStop, then send SIGTERM; kill it where it is not gone after its time of grace."""
        began = time.monotonic()
        process = self.container._process
        assert process is not None
        await asyncio.to_thread(self._pre_stop)
        ready = self._readiness.holds.is_set()
        self.stop_probes()
        self.container.terminate()
        try:
            left_s = self.container.grace_s - (time.monotonic() - began)
            code = await asyncio.to_thread(process.wait, left_s)
        except subprocess.TimeoutExpired:
            process.kill()
            code = await asyncio.to_thread(process.wait)
        self.ending = Ending(code, ready, time.monotonic() - began)

    def stop_probes(self) -> None:
        """Ask nothing more."""
        for task in self._tasks:
            task.cancel()

    def _pre_stop(self) -> None:
        program, *arguments = self.container.spec["lifecycle"]["preStop"]["exec"]["command"]
        environment = self.container._environment()
        subprocess.run(
            [BIN / program, *arguments], env=environment, check=True, timeout=self.container.grace_s
        )


class Rollout:
    """A Deployment of the chart that becomes a newer one of itself.

    Args:
        objects: what helm would install, for a version of Kubernetes whose preStop is a command.
        secrets: what the pods' Secret holds.
    """

    def __init__(self, objects: list[Object], secrets: Mapping[str, str]) -> None:
        self._spec = only(objects, "Deployment")["spec"]

        def describe(revision: str) -> list[Pod]:
            names = [f"sanic-ws-{revision}-{number:05d}" for number in range(self._spec["replicas"])]
            return [Pod(Container(name, objects, secrets)) for name in names]

        self.old, self.new = describe("5d4f8c7b9"), describe("6c8b7d9f4")

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(pod.start() for pod in self.old))
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        started = [pod.container for pod in self._pods if pod.container._process is not None]
        logs = [container.log.read_text(errors="replace") for container in started]
        await self._end()
        check_logs(logs)

    @property
    def _pods(self) -> Sequence[Pod]:
        return [*self.old, *self.new]

    @property
    def ports(self) -> list[int]:
        """Where pods are, or will be."""
        return [pod.container.port for pod in self._pods]

    async def run(self) -> None:
        """Replace all pods: one more than wanted is there, and an old one goes when that is available."""
        assert self._spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        async with asyncio.TaskGroup() as leaving:
            for old, new in zip(self.old, self.new, strict=True):
                await new.start()
                await asyncio.sleep(self._spec["minReadySeconds"])
                # The next one starts meanwhile: what is being deleted does not count.
                leaving.create_task(old.delete())

    async def _end(self) -> None:
        for pod in self._pods:
            pod.stop_probes()
        await asyncio.gather(*(asyncio.to_thread(pod.container.stop) for pod in self._pods))
