"""What a node remembers of a push that it has written, or that waits to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sanic_ws.core.reports import Said

if TYPE_CHECKING:
    from collections import Counter

    from sanic_ws.core.outcomes import Answer


class Ask(NamedTuple):
    """Say who waits for a client's answer; an address of None is this node's own router."""

    address: str | None
    ticket: int
    reply: bool


class Written:
    """Hold a push that was written.

    Attributes:
        session: of the connection that got it.
        forgotten_at: when copies of it are not known any more; 0: they never were.
        over_at: when nobody waits for the client any more.
        first: whether the client is to be told if another one is quicker.
        asks: who waits for the client.
        said: what the client has said.
        reply: what it replied, JSON.
        counts: of a push to many connections: what became of it.
        followers: while it waits: who is told what becomes of it.
    """

    __slots__ = (
        "asks",
        "counts",
        "first",
        "followers",
        "forgotten_at",
        "over_at",
        "reply",
        "said",
        "session",
    )

    def __init__(self, session: str) -> None:
        self.session = session
        self.forgotten_at = 0.0
        self.over_at = 0.0
        self.first = False
        self.asks: list[Ask] = []
        self.said = Said.NOTHING
        self.reply = ""
        self.counts: Counter[Answer] | None = None
        self.followers: list[Ask] | None = None
