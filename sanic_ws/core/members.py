"""What the router knows of the cluster's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sanic_ws.core.flights import Listing

FORGET_S = 60.0
"""How long a node is thought of whose queue is missing and that is not listed: it may come back."""


class Members:
    """Know which nodes there are, by the registry's list and by what was heard of them.

    Attributes:
        listed: the nodes whose lease runs.
        known: these, and those that were listed or heard and are not known to have left.
        gone: nodes whose queues are missing, and since when.
        complete: whether a whole list was ever read; until then there may be nodes that nobody knows here.
    """

    def __init__(self) -> None:
        self.listed: set[str] = set()
        self.known: set[str] = set()
        self.gone: dict[str, float] = {}
        self.complete = False

    def learn(self, listing: Listing, now: float) -> None:
        """Take in the registry's list. One that is not in it any more has left, or the list was lost."""
        self.listed = set(listing.live)
        self.known |= self.listed.union(listing.lapsed)
        if listing.whole:
            left = {node for node, since in self.gone.items() if now - since > FORGET_S}
            self.known -= left - self.listed
            self.complete = self.complete or bool(self.listed)
        self.gone = {
            node: since for node, since in self.gone.items() if node in self.known or node in listing.lapsed
        }

    def heard(self, node: str) -> None:
        """Take in that a node has answered."""
        self.gone.pop(node, None)
        self.known.add(node)

    def found(self, node: str) -> None:
        """Take in that a node's queue is there."""
        self.gone.pop(node, None)

    def lost(self, node: str, now: float) -> None:
        """Take in that a node's queue is missing."""
        self.gone.setdefault(node, now)

    @property
    def suspects(self) -> set[str]:
        """The known nodes that may well not be there."""
        return self.known & self.gone.keys() | (self.known - self.listed)
