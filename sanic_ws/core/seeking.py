"""The fallback: what all nodes together say of targets that nobody is known to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sanic_ws.core.calls import Cancel
from sanic_ws.core.copies import Remember
from sanic_ws.core.flights import Flight, Forget
from sanic_ws.core.outcomes import Answer

if TYPE_CHECKING:
    from sanic_ws.core.batch import Reply

_NOT_MINE = bytes([Answer.NOT_MINE])
_WORTH = (
    Answer.DELIVERED,
    Answer.WAITING,
    Answer.LEFT_OUT,
    Answer.OVERLOADED,
    Answer.NOT_YET,
    Answer.EXPIRED,
)
"""Answers from the one that tells most to the one that tells least."""


K = TypeVar("K")


class Said(NamedTuple):
    """Hold what a node said."""

    answer: Answer
    node: str


@dataclass(slots=True)
class Seek(Flight):
    """Hand a batch to all nodes and gather what they say.

    A node counts as gone only if its queue was missing before the batch was sent and is missing after:
    one that went away in between may have written the frame.

    Attributes:
        broadcast_at: when it was sent.
        certain: whether the registry could be asked which nodes there are; otherwise there may be others.
        whole: whether its list surely holds all that are there.
        expect: the nodes that were ever listed and are not known to have left; None while, or if, none is
            known.
        listed: those of them that the registry lists now.
        suspects: those of them whose queues were missing before, whatever came of them since: one that leaves
            still answers others.
        answered: who has answered.
        gone: whose queues were missing before and after.
        vanished: whose queues were there before and are not now, and who have not answered.
        vanished_at: since when that is known of the last of them.
        said: the best answer for each item that somebody has.
        found: for an item that is for a user: the best answer for each connection.
        probed: whether silent nodes have been probed.
    """

    broadcast_at: float = inf
    certain: bool = True
    whole: bool = True
    expect: set[str] | None = None
    listed: set[str] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    vanished_at: float = -inf
    said: dict[int, Said] = field(default_factory=dict)
    found: dict[int, dict[str, Said]] = field(default_factory=dict)
    probed: bool = False

    @property
    def complete(self) -> bool:
        """Whether every live node has answered, or is not there to answer."""
        return self.expect is not None and self.expect <= self.answered | self.gone | self.vanished

    @property
    def silent(self) -> set[str]:
        """The live nodes that have not answered."""
        return (self.expect or set()) - self.answered

    def take(self, reply: Reply) -> None:
        """Take in a node's answers."""
        self.answered.add(reply.node)
        self.vanished.discard(reply.node)
        if reply.answers.count(_NOT_MINE) == len(reply.answers):
            return
        for number, code in enumerate(reply.answers):
            if code == Answer.SEVERAL and self.items[number].is_user:
                found = self.found.setdefault(number, {})
                for conn, answer in reply.details.get(number, []):
                    if isinstance(conn, str) and answer in _WORTH:
                        _keep_best(found, conn, Said(Answer(answer), reply.node))
            elif code in _WORTH:
                _keep_best(self.said, number, Said(Answer(code), reply.node))


class Probe(NamedTuple):
    """Send an empty batch to a node, to see whether its queue is there: after a fallback, or before it."""

    node: str
    seek: Seek


Action = Flight | Probe | Forget | Cancel | Remember
"""What the router wants to be done."""


def _keep_best(said: dict[K, Said], key: K, new: Said) -> None:
    before = said.get(key)
    if before is None or _WORTH.index(new.answer) < _WORTH.index(before.answer):
        said[key] = new
