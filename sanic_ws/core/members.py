"""What the router knows of the cluster's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Members:
    """Know which nodes there are, by the registry's list and by what was heard of them.

    Attributes:
        listed: the nodes that the registry lists.
        known: these, and those that were listed or heard and are not known to have left.
        gone: those of the known whose queues are missing.
    """

    def __init__(self) -> None:
        self.listed: set[str] = set()
        self.known: set[str] = set()
        self.gone: set[str] = set()

    def learn(self, nodes: Iterable[str]) -> None:
        """Take in the list of live nodes. One that is not in it any more has left, or the list was lost."""
        self.listed = set(nodes)
        self.known = (self.known | self.listed) - (self.gone - self.listed)
        self.gone &= self.known

    def heard(self, node: str) -> None:
        """Take in that a node has answered."""
        self.gone.discard(node)
        self.known.add(node)

    def lost(self, node: str) -> None:
        """Take in that a node's queue is missing."""
        self.gone.add(node)

    @property
    def suspects(self) -> set[str]:
        """The known nodes that may well not be there."""
        return self.gone | (self.known - self.listed)
