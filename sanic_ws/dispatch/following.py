"""Following pushes: when a push got where, by the clock of whoever sends it.

What happens elsewhere is known when its answer comes: from `sent` to `written` a batch goes through the
broker to the owner, is written to the sockets, and is answered through the broker. No one clock tells these
apart.

While nobody follows a push, none pays for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sanic_ws.core.outcomes import Answer, Outcome, Route
from sanic_ws.core.seeking import Seek
from sanic_ws.errors import Unroutable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sanic_ws.core.batch import Reply
    from sanic_ws.core.flights import Flight, LookUp
    from sanic_ws.core.outcomes import Receipt
    from sanic_ws.core.push import Item, Push
    from sanic_ws.core.requests import PushRequest

STEPS = (
    "accepted",
    "stored",
    "looked_up",
    "registry_away",
    "sent",
    "fallback",
    "confirmed",
    "returned",
    "failed",
    "written",
    "waits",
    "overloaded",
    "not_here",
    "expired",
    "left_out",
    "acked",
    "replied",
    "receipt",
)
REGISTRY, MAILBOX, CLIENT = "registry", "mailbox", "client"
_NOT_HERE = "not_here"
_ANSWERS: dict[int, str] = {
    Answer.DELIVERED: "written",
    Answer.WAITING: "waits",
    Answer.OVERLOADED: "overloaded",
    Answer.NOT_MINE: _NOT_HERE,
    Answer.NOT_YET: _NOT_HERE,
    Answer.EXPIRED: "expired",
    Answer.LEFT_OUT: "left_out",
}


T = TypeVar("T")


class Step(NamedTuple):
    """Say what happened to a push.

    Attributes:
        at_s: when, monotonic seconds.
        what: one of `STEPS`.
        where: a node, an exchange without its prefix, `REGISTRY`, `MAILBOX`, or `CLIENT`.
        to: the node that it is about, if one.
    """

    at_s: float
    what: str
    where: str
    to: str | None = None


class Journey:
    """Record what happens to one push.

    Args:
        here: where it was made.
    """

    def __init__(self, here: str) -> None:
        self._here = here
        self._started = monotonic()
        self._steps = [Step(self._started, "accepted", here)]

    def add(self, what: str, where: str, to: str | None = None, at_s: float | None = None) -> None:
        """Note that something has happened, now or at some time."""
        self._steps.append(Step(monotonic() if at_s is None else at_s, what, where, to))

    def note(self, requests: Sequence[PushRequest], receipts: Sequence[Receipt]) -> None:  # noqa: ARG002
        """Note what only the receipt tells: what was written here, and what clients said."""
        for delivery in (delivery for receipt in receipts for delivery in receipt.deliveries):
            at_s = self._started + delivery.latency_ms / 1000
            if delivery.outcome is Outcome.ACKED:
                self.add("replied" if delivery.replied else "acked", CLIENT, delivery.node, at_s)
            elif delivery.outcome is Outcome.DELIVERED and delivery.route is Route.LOCAL:
                self.add("written", self._here, at_s=at_s)
        self.add("receipt", self._here)

    def to_json(self, prefix: str) -> list[dict[str, Any]]:
        """Return what has happened, in order, with milliseconds from the beginning.

        Args:
            prefix: of the exchanges.
        """
        return [self._write(step, prefix) for step in sorted(self._steps)]

    def _write(self, step: Step, prefix: str) -> dict[str, Any]:
        where = f"{prefix}.{step.where}" if step.where in ("direct", "fanout") else step.where
        written = {"at_ms": round((step.at_s - self._started) * 1000, 3), "what": step.what, "where": where}
        return written if step.to is None else written | {"to": step.to}


class _Sent(NamedTuple):
    """Hold which items of a batch are of which journey, and whether it asks all nodes."""

    journeys: dict[Journey, list[int]]
    seeks: bool


class Followed:
    """Know which pushes are followed, and which batches they are in."""

    def __init__(self) -> None:
        self._open: set[Journey] = set()
        self._sent: dict[int, _Sent] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    @contextmanager
    def follow(self, here: str) -> Iterator[Journey]:
        """Follow the pushes that carry a journey as their trace."""
        journey = Journey(here)
        self._open.add(journey)
        try:
            yield journey
        finally:
            self._open.discard(journey)
            for sent in self._sent.values():
                sent.journeys.pop(journey, None)
            self._sent = {number: sent for number, sent in self._sent.items() if sent.journeys}

    def stored(self, pushes: Sequence[Push]) -> None:
        """Note of pushes that go on their way whether they have been stored just before."""
        for push in pushes:
            journey, order = push.trace, push.order
            if isinstance(journey, Journey) and order is not None and order.posted is not None:
                journey.add("stored", MAILBOX)

    def among(self, look_up: LookUp) -> dict[Journey, list[Item]]:
        """Return which items of a look-up are followed; to be asked before it is taken in."""
        again = [item for gate in look_up.gates for item in (*(gate.retry or ()), *(gate.waiting or ()))]
        return self._journeys_of([*look_up.items, *again])

    @staticmethod
    def looked_up(journeys: Mapping[Journey, Sequence[Item]], now: float, *, found: bool) -> None:
        """Note when the registry has answered, or has not; to be told once that is taken in."""
        for journey, items in journeys.items():
            nodes = {item.node for item in items} - {None}
            owner = nodes.pop() if len(nodes) == 1 else None
            journey.add("looked_up" if found else "registry_away", REGISTRY, owner, now)

    @contextmanager
    def send(self, flight: Flight, spans: AbstractContextManager[T]) -> Iterator[T]:
        """Note that a batch is sent, within its spans, and how that ends."""
        with spans as headers, self._note_sent(flight):
            yield headers

    @contextmanager
    def _note_sent(self, flight: Flight) -> Iterator[None]:
        journeys = self._journeys_of(flight.items)
        if not journeys:
            yield
            return
        seeks = isinstance(flight, Seek)
        what, where = ("fallback", "fanout") if seeks else ("sent", "direct")
        to = None if seeks else flight.node
        numbers = {item: number for number, item in enumerate(flight.items)}
        sent = {journey: [numbers[item] for item in items] for journey, items in journeys.items()}
        self._sent[flight.id] = _Sent(sent, seeks)
        for journey in journeys:
            journey.add(what, where, to)
        ended = "failed"
        try:
            yield
            ended = "confirmed"
        except Unroutable:
            ended = "returned"
            raise
        finally:
            for journey in journeys:
                journey.add(ended, where, to)

    def answered(self, reply: Reply) -> None:
        """Note what a node says of a batch, but not who else does not have what all are asked for."""
        sent = self._sent.get(reply.id)
        if sent is None:
            return
        for journey, numbers in sent.journeys.items():
            said = {_ANSWERS.get(answer, "") for number in numbers for answer in _answers(reply, number)}
            for what in sorted(said - {"", _NOT_HERE if sent.seeks else ""}):
                journey.add(what, reply.node)

    def _journeys_of(self, items: Sequence[Item]) -> dict[Journey, list[Item]]:
        found: dict[Journey, list[Item]] = {}
        for item in items:
            trace = item.push.trace
            if isinstance(trace, Journey) and trace in self._open:
                found.setdefault(trace, []).append(item)
        return found


def _answers(reply: Reply, number: int) -> list[int]:
    """Return what a node says of an item: of a user's connections, or of a group's, each kind of answer."""
    if number >= len(reply.answers):
        return []
    if reply.answers[number] != Answer.SEVERAL:
        return [reply.answers[number]]
    # A user's name the connection first, those of many the answer.
    return [
        second if isinstance(first, str) else int(first) for first, second in reply.details.get(number, ())
    ]
