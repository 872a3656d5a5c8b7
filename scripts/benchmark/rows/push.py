"""Rows 1 and 2: pushes a second from one publisher and the nodes' CPU for each, by number of nodes."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmark.accounting import cpu_s, family
from scripts.benchmark.bench import servers_missing
from scripts.benchmark.load import LoadError
from scripts.benchmark.processes import Meter, start_together
from scripts.benchmark.report import Measure
from scripts.benchmark.systems import gateway, push

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.benchmark.bench import Bench
    from scripts.benchmark.systems.push import PushSystem
    from tests.servers import Server

RATE, COST = "pushes a second", "nodes' CPU for a push"
PUBLISHER_COST, BROKERS_COST = "publisher's CPU for a push", "Redis' and RabbitMQ's CPU for a push"
CLIENTS = 400
FEW = 100  # pushes to find out how fast a system is
HEARING = 40  # clients that must hear before it begins: at least one on each node
MOST_PUSHES = 200_000
WARM_UP_TRIES = 20
ANSWER_S = 120.0
PEERS = (push.PYTHON_AMQP, push.PYTHON_REDIS, push.NODE_REDIS)
# The targets at 8 nodes: how many times the peer's rate.
LARGEST, LEAST_RATIOS = 8, dict(zip(PEERS, (60, 8, 2.5), strict=True))
MOST_COST_US, MOST_GROWTH = 30, 1.5


class Cluster:
    """One system's nodes, clients and publisher."""

    def __init__(self, bench: Bench, system: PushSystem, stack: ExitStack) -> None:
        self.title = system.title
        self._bench = bench
        self._system = system
        self._stack = stack
        self._nodes: list[Server] = []
        self._load = stack.enter_context(bench.load_client())
        self._publisher = stack.enter_context(system.publisher(bench.log("publisher")))
        self._random = random.Random(system.title)
        self._count = FEW

    def grow(self, size: int) -> None:
        """Start nodes until there are `size`, and spread the clients anew over all of them."""
        self._load.drop()
        added = [self._system.node() for _ in range(size - len(self._nodes))]
        start_together(added, self._stack)
        self._nodes += added
        self._load.open(self._system.endpoint(self._nodes), CLIENTS)
        self._warm_up()
        self._find_count()

    def sample(self, *, keep: bool = True) -> float:
        """Push once over and return the seconds that it took."""
        targets = self._random.choices(range(1, CLIENTS + 1), k=self._count)
        self._load.mark(len(targets))
        nodes, publisher = (Meter([node.pid for node in self._nodes]), Meter([self._publisher.pid]))
        brokers = family([self._bench.redis.pid, self._bench.rabbit.pid])
        brokers_s = cpu_s(brokers)
        answer = self._publisher.call("push", targets=targets, data=push.DATA, within_s=ANSWER_S)
        end_ns = max(self._load.wait(len(targets), timeout_s=ANSWER_S), answer["end_ns"])
        brokers_s = cpu_s(brokers) - brokers_s
        self._load.check(Counter(targets))
        seconds: float = (end_ns - answer["start_ns"]) / 1e9
        if keep:
            self._keep(seconds, nodes.used_s(), publisher.used_s(), brokers_s)
        return seconds

    def _keep(self, seconds: float, nodes_s: float, publisher_s: float, brokers_s: float) -> None:
        size, count, add = len(self._nodes), self._count, self._bench.report.add
        add(Measure(1, RATE, self.title, "/s", size), count / seconds)
        add(Measure(2, COST, self.title, "µs", size), nodes_s / count * 1e6)
        add(Measure(2, PUBLISHER_COST, self.title, "µs", size, detail=True), publisher_s / count * 1e6)
        add(Measure(2, BROKERS_COST, self.title, "µs", size, detail=True), brokers_s / count * 1e6)

    def _warm_up(self) -> None:
        """Push until every node hears: peers' nodes subscribe some time after they are ready."""
        targets = list(range(1, HEARING + 1))
        for _ in range(WARM_UP_TRIES):
            self._load.mark(HEARING)
            self._publisher.call("push", targets=targets, data=push.DATA)
            if self._load.call("wait", timeout_s=2.0)["frames"] == HEARING:
                return
        raise LoadError("pushes do not reach every client")

    def _find_count(self) -> None:
        """Choose as many pushes as take about the wanted time."""
        wanted_s = self._bench.pick(0.5, 2.2)
        self._count = FEW
        seconds = self.sample(keep=False)
        while seconds < wanted_s / 4 and self._count * 4 < MOST_PUSHES:
            self._count *= 4
            seconds = self.sample(keep=False)
        self._count = max(FEW, min(MOST_PUSHES, int(self._count / seconds * wanted_s)))


def row_01(bench: Bench) -> None:
    """Measure rows 1 and 2 together: each sample gives a rate and a cost."""
    sizes = bench.pick((1, LARGEST), (1, 2, 4, LARGEST))
    if why := servers_missing():
        bench.report.gap(1, "all", why)
        return
    with ExitStack() as stack:
        clusters = _start(bench, stack)
        for size in sizes:
            bench.say(f"rows 1 and 2: {size} nodes")
            clusters = [each for each in clusters if bench.attempt(1, each.title, partial(each.grow, size))]
            bench.alternate(1, bench.pick(2, 4), {cluster.title: cluster.sample for cluster in clusters})
    _judge(bench, sizes)


def _start(bench: Bench, stack: ExitStack) -> list[Cluster]:
    builders = {
        gateway.TITLE: (gateway.missing(), lambda: gateway.push_system(bench)),
        push.PYTHON_AMQP: (None, lambda: push.python_socketio(push.PYTHON_AMQP, "amqp", bench.rabbit.url)),
        push.PYTHON_REDIS: (None, lambda: push.python_socketio(push.PYTHON_REDIS, "redis", bench.redis.url)),
        push.NODE_REDIS: (push.node_missing(), lambda: push.node_socketio(bench.redis.url)),
    }
    clusters: list[Cluster] = []

    def start(build: Callable[[], PushSystem]) -> None:
        clusters.append(Cluster(bench, build(), stack))

    for title, (why, build) in builders.items():
        if why:
            bench.report.gap(1, title, why)
        else:
            bench.attempt(1, title, partial(start, build))
    return clusters


def _judge(bench: Bench, sizes: Sequence[int]) -> None:
    report = bench.report
    for peer, least in LEAST_RATIOS.items():
        pair = (gateway.TITLE, peer)
        report.at_least(1, f"{LARGEST} nodes: times {peer}", report.ratio(1, RATE, pair, LARGEST), least)
        ratios = [report.ratio(1, RATE, pair, size) for size in sizes]
        known = [ratio for ratio in ratios if ratio is not None]
        report.at_least(1, f"any size: times {peer}", min(known) if known else None, 1)
    first, last = (report.median(2, COST, gateway.TITLE, size) for size in (sizes[0], LARGEST))
    report.at_most(2, f"{LARGEST} nodes: times 1 node", last / first if first and last else None, MOST_GROWTH)
    report.at_most(2, f"{LARGEST} nodes: µs", last, MOST_COST_US)
