"""A random schedule of faults; it follows from its seed and nothing else."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

NODES = 3
"""The first node is never killed and never told to leave: it is to live through everything else."""
MORTAL = range(1, NODES)

LONG = (0.5, 6.0)
"""Shorter and longer than the nodes' lease and the beats of all heartbeats, in seconds."""
BRIEF = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One fault.

    Attributes:
        at_s: when it begins, or as soon after that as the one before on its track is over.
        track: what goes one after the other: nodes, redis, rabbit, or clients.
        name: what happens.
        node: the number of the node that it happens to; None for all, or none in particular.
        for_s: for how long; then all of the track is well again.
        seed: of what is random in it.
    """

    at_s: float
    track: str
    name: str
    node: int | None
    for_s: float
    seed: int

    def __str__(self) -> str:
        node = "" if self.node is None else f" of n{self.node + 1}"
        return f"{self.at_s:6.1f} s  {self.track:7} {self.name}{node} for {self.for_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: how long it lasts, which nodes it may hit, and how often it comes."""

    name: str
    for_s: tuple[float, float]
    nodes: Sequence[int] | None = None
    weight: int = 1


TRACKS = {
    "nodes": [
        Fault("kill", BRIEF, MORTAL, 2),
        Fault("leave", BRIEF, MORTAL),
        Fault("pause", LONG, range(NODES), 2),
        Fault("cut off", LONG, range(NODES), 2),
    ],
    "redis": [
        Fault("flush", (0, 0), None, 2),
        Fault("kill", BRIEF),
        Fault("black hole", LONG),
        Fault("black hole", LONG, range(NODES)),
        Fault("refuse and cut", LONG, range(NODES)),
        Fault("cut", (0, 0), None, 2),
        Fault("delay", BRIEF),
        Fault("kill connections", (0, 0)),
    ],
    "rabbit": [
        Fault("close connections", (0, 0)),
        Fault("cut", (0, 0), None, 2),
        Fault("cut", (0, 0), range(NODES)),
        Fault("black hole", LONG),
        Fault("black hole", LONG, range(NODES)),
        Fault("half open", (0, 0), range(NODES)),
        Fault("refuse and cut", BRIEF),
        Fault("delay", BRIEF),
    ],
    "clients": [
        Fault("storm", (0, 0), None, 2),
        Fault("move", (0, 0), None, 2),
        Fault("stop reading", LONG),
    ],
}
PAUSES_S = {"nodes": (1.0, 5.0), "redis": (2.0, 8.0), "rabbit": (3.0, 10.0), "clients": (0.5, 3.0)}


def make_schedule(seed: int, seconds: float) -> list[Step]:
    """Return the steps of all tracks, in the order of their times."""
    steps = [step for track in TRACKS for step in _make_track(f"{seed} {track}", track, seconds)]
    return sorted(steps, key=lambda step: step.at_s)


def _make_track(seed: str, track: str, seconds: float) -> Iterator[Step]:
    chance = random.Random(seed)
    faults = TRACKS[track]
    at_s = chance.uniform(0, PAUSES_S[track][1])
    while at_s < seconds:
        (fault,) = chance.choices(faults, [fault.weight for fault in faults])
        for_s = _round(chance.uniform, fault.for_s)
        node = None if fault.nodes is None else chance.choice(fault.nodes)
        yield Step(round(at_s, 1), track, fault.name, node, for_s, chance.randrange(1 << 30))
        at_s += for_s + chance.uniform(*PAUSES_S[track])


def _round(uniform: Callable[[float, float], float], bounds: tuple[float, float]) -> float:
    return round(uniform(*bounds), 1)
