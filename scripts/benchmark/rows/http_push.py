"""Row 8: the server's CPU for a push over HTTP, single and in batches, each to one subscriber."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.benchmark.load import LoadError
from scripts.benchmark.processes import Meter
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, nchan, push, single
from scripts.benchmark.systems.gateway import Gateway
from scripts.benchmark.systems.http import CONNECTIONS, post

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.benchmark.bench import Bench
    from scripts.benchmark.load import LoadClient
    from scripts.benchmark.processes import Program

    Requests = Sequence[tuple[str, str]]

SINGLE, BATCHED = "CPU for an HTTP push, single", "CPU for an HTTP push, in batches of 1,000"
CLIENTS = 400
BATCH = 1_000
BATCH_CONNECTIONS = 2
PUSH = "/api/v1/push"
DELIVERED = '"counts":{"delivered":1}'  # once in each receipt
BODY = "x" * 128
MOST_TIMES_NCHAN, MOST_OF_NCHAN_BATCHED = 8, 1.0


def row_08(bench: Bench) -> None:
    """Post to random subscribers over kept-alive connections."""
    with ExitStack() as stack:
        servers = bench.start_all(8, stack, single.makers(bench, 8, gateway.TITLE, nchan.TITLE))
        sender = stack.enter_context(bench.program("http_publisher"))
        measures = {}
        for title, server in servers.items():
            load = stack.enter_context(bench.load_client())
            load.open(server.endpoint, CLIENTS)
            measures[title] = HttpPush(bench, server, load, sender).measure
        bench.alternate(8, bench.pick(3, 7), measures)
    report = bench.report
    nchan_cost, batched = report.median(8, SINGLE, nchan.TITLE), report.median(8, BATCHED, gateway.TITLE)
    report.at_most(
        8, "single: times Nchan", report.ratio(8, SINGLE, (gateway.TITLE, nchan.TITLE)), MOST_TIMES_NCHAN
    )
    report.at_most(
        8,
        "batched: of Nchan's single",
        batched / nchan_cost if batched and nchan_cost else None,
        MOST_OF_NCHAN_BATCHED,
    )


def _push(target: int) -> dict[str, object]:
    return {"to": {"user": {"userId": target}}, "type": push.MARKER, "data": push.DATA}


def _batches(targets: Sequence[int]) -> Requests:
    parts = [targets[at : at + BATCH] for at in range(0, len(targets), BATCH)]
    return [
        ("/api/v1/push/batch", json.dumps({"pushes": [_push(target) for target in part]})) for part in parts
    ]


@dataclass(frozen=True)
class HttpPush:
    """One system, its subscribers and what posts to it."""

    bench: Bench
    server: single.Single
    load: LoadClient
    sender: Program

    def measure(self) -> None:
        """Post once over, in each way that the system has."""
        targets = random.choices(range(1, CLIENTS + 1), k=self.bench.pick(5_000, 20_000))
        if isinstance(self.server, Gateway):
            singles = [(PUSH, json.dumps(_push(target))) for target in targets]
            self._post(SINGLE, len(targets), singles, self.server.headers)
            self._post(BATCHED, len(targets), _batches(targets), self.server.headers)
        else:
            singles = [(f"/publish/c{target}", BODY) for target in targets]
            self._post(SINGLE, len(targets), singles, {})

    def _post(self, what: str, count: int, requests: Requests, headers: Mapping[str, str]) -> None:
        self.load.mark(count)
        meter = Meter([self.server.pid])
        connections = CONNECTIONS if what == SINGLE else BATCH_CONNECTIONS
        answer = post(
            self.sender,
            self.server.port,
            requests,
            headers=headers,
            expected=DELIVERED if isinstance(self.server, Gateway) else "",
            connections=connections,
        )
        end_ns = max(answer["end_ns"], self.load.wait(count))
        if answer["expected"] < count:
            raise LoadError(f"{answer['expected']} of {count} pushes were answered as delivered")
        rate = count / (end_ns - answer["start_ns"]) * 1e9
        title = self.server.title
        self.bench.report.add(Measure(8, what, title, "µs"), meter.used_s() / count * 1e6)
        self.bench.report.add(Measure(8, f"{what}: rate", title, "/s", detail=True), rate)
