"""What became of a push: outcomes, deliveries and receipts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Outcome(StrEnum):
    """What a receipt promises."""

    DELIVERED = "delivered"
    """The owner wrote the whole frame to the open socket."""
    ACKED = "acked"
    """The client confirmed it."""
    STORED = "stored"
    """It is in the durable mailbox."""
    OFFLINE = "offline"
    """Every live node said that it has no such connection."""
    OVERLOADED = "overloaded"
    """The connection's or the node's queue is full; it was not sent."""
    PARTIAL = "partial"
    """Several targets, several outcomes."""
    UNAVAILABLE = "unavailable"
    """Registry or broker out of reach; certainly not sent, safe to retry."""
    UNKNOWN = "unknown"
    """No answer in time; it may have been delivered."""


class Route(StrEnum):
    """The way that a delivery took."""

    LOCAL = "local"
    DIRECT = "direct"
    FALLBACK = "fallback"


class Cause(StrEnum):
    """Why a push went the way of the fallback."""

    MISS = "miss"
    """The registry knows nobody."""
    STALE = "stale"
    """Whom it knows is not where it says."""
    REGISTRY = "registry"
    """It could not be asked."""


class Answer(IntEnum):
    """What a node says of one item of a batch; one byte on the wire."""

    DELIVERED = 1
    OVERLOADED = 2
    NOT_MINE = 3
    NOT_YET = 4
    """The connection is being registered here at this moment: ask again."""
    EXPIRED = 5
    """The batch was read after its deadline and was not delivered."""
    SEVERAL = 6
    """The item was for several connections; the reply's details hold an answer for each."""
    WAITING = 7
    """The frame waits for a slow client; a report says what becomes of it, if the sender follows it."""
    LEFT_OUT = 8
    """The connection is bound to a user who is to get nothing."""


ANSWERED = {
    Answer.DELIVERED: Outcome.DELIVERED,
    Answer.OVERLOADED: Outcome.OVERLOADED,
    Answer.EXPIRED: Outcome.UNAVAILABLE,
    Answer.WAITING: Outcome.UNKNOWN,
}
"""The answers that settle a delivery, with its outcome."""


@dataclass(slots=True)
class Delivery:
    """Say what became of a push at one connection.

    Attributes:
        conn: the connection, or `None` where a silent node's connections are not known.
        node: the node that answered, or that was asked last.
        route: the way that it took, if it was sent.
        outcome: what became of it.
        latency_ms: from the call to the answer, in milliseconds.
        reply: what the client replied, any JSON.
        replied: whether it did.
    """

    conn: str | None
    node: str | None
    route: Route | None
    outcome: Outcome
    latency_ms: float
    reply: Any = None
    replied: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the delivery as the contract writes it."""
        delivery = {
            "conn": self.conn,
            "node": self.node,
            "route": self.route,
            "outcome": self.outcome,
            "latency_ms": round(self.latency_ms, 3),
        }
        if self.replied:
            delivery["reply"] = self.reply
        return delivery


@dataclass(slots=True)
class Receipt:
    """Say what became of a push.

    Attributes:
        id: the push's id.
        deliveries: one for each connection; empty for a push to everyone.
        totals: for a push to everyone: how many connections had which outcome.
    """

    id: str
    deliveries: Sequence[Delivery] = ()
    totals: Mapping[Outcome, int] | None = None

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many connections had which outcome."""
        if self.totals is not None:
            return self.totals
        if len(self.deliveries) == 1:
            return {self.deliveries[0].outcome: 1}
        return Counter(delivery.outcome for delivery in self.deliveries)

    @property
    def outcome(self) -> Outcome:
        """The one outcome of all deliveries, or `Outcome.PARTIAL`; `Outcome.OFFLINE` if there are none."""
        if len(self.deliveries) == 1:
            return self.deliveries[0].outcome
        counts = self.counts
        if not counts:
            return Outcome.OFFLINE
        return next(iter(counts)) if len(counts) == 1 else Outcome.PARTIAL

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as the contract writes it."""
        counts = self.counts
        outcome = next(iter(counts)) if len(counts) == 1 else self.outcome
        receipt: dict[str, Any] = {"id": self.id, "outcome": outcome, "counts": dict(counts)}
        if self.totals is None:
            receipt["deliveries"] = [delivery.to_json() for delivery in self.deliveries]
        return receipt
