"""The load client, seen from the benchmark."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .processes import Program, python

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from pathlib import Path

SOURCES = [f"127.0.0.{last}" for last in range(2, 10)]  # 28,000 ports each
MOST_CONNECTIONS = 19_000  # under the limit of 20,000 open files
WAIT_S = 60.0


def stamp() -> str:
    """Return the monotonic clock as a text that the load client finds in a frame."""
    return f"@ns{time.monotonic_ns():020d}"


class LoadError(Exception):
    """The clients did not see what they should have seen."""


@dataclass(frozen=True)
class Endpoint:
    """How a client connects to a system: `{i}` in a URL or an answer stands for the client's number.

    `steps` are pairs of what a frame must contain and what the client answers; after the last one the client
    is ready. From then on frames that contain `marker` count.
    """

    urls: Sequence[str]
    steps: Sequence[tuple[str, str | None]] = ()
    marker: str = ""
    engine_io: bool = False


class LoadClient(Program):
    """A process full of WebSocket clients."""

    def __init__(self, log: Path) -> None:
        super().__init__(python("load_client"), log)

    def open(
        self, endpoint: Endpoint, count: int, *, first: int = 1, concurrency: int = 100, strict: bool = True
    ) -> dict[str, Any]:
        """Open connections numbered from `first`; with `strict` a failed one is an error."""
        if count > MOST_CONNECTIONS:
            raise LoadError(f"{count} connections are more than one process may open")
        result = self.call(
            "open",
            urls=list(endpoint.urls),
            steps=[list(step) for step in endpoint.steps],
            marker=endpoint.marker,
            engine_io=endpoint.engine_io,
            count=count,
            first=first,
            concurrency=concurrency,
            sources=SOURCES,
            within_s=180.0,
        )
        if strict and result["failed"]:
            raise LoadError(f"{result['failed']} of {count} connections failed: {result['errors']}")
        return result

    def mark(self, goal: int, *, latency: bool = False) -> None:
        """Count from zero towards `goal` frames; with `latency` time those that hold `stamp()`."""
        self.call("mark", goal=goal, latency=latency)

    def wait(self, goal: int, *, timeout_s: float = WAIT_S) -> int:
        """Wait for the goal and return the monotonic nanosecond at which it was reached."""
        result = self.call("wait", timeout_s=timeout_s, within_s=timeout_s + 10)
        if result["frames"] != goal:
            raise LoadError(f"{result['frames']} of {goal} frames arrived, {result['lost']} connections lost")
        return int(result["reached_ns"])

    def check(self, expected: Counter[int]) -> None:
        """Raise unless every connection received exactly what was sent to it."""
        seen = {int(index): int(count) for index, count in self.call("counts")["counts"]}
        if seen != dict(expected):
            wrong = sum(1 for index in expected | seen if seen.get(index) != expected.get(index))
            raise LoadError(f"{wrong} connections received another number of frames than was sent to them")

    def latencies_ms(self) -> list[float]:
        """Return how long the stamped frames took that arrived since a mark with `latency`."""
        return list(self.call("counts")["latencies_ms"])

    def echo(self, message: str, *, count: int, in_flight: int) -> None:
        """Let the connections send messages in turn and wait for each echo."""
        result = self.call(
            "echo", message=message, count=count, in_flight=in_flight, timeout_s=WAIT_S, within_s=WAIT_S + 10
        )
        if result["frames"] != count:
            raise LoadError(f"{result['frames']} of {count} echoes arrived")

    def drop(self) -> None:
        """Cut every connection; one that had ended by itself is an error."""
        result = self.call("drop")
        if result["lost"]:
            raise LoadError(f"{result['lost']} connections were lost")
