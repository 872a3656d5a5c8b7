"""What the broker's objects are called; what each is for says `sanic_ws.broker.link`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(slots=True)
class Names:
    """Name the objects of one broker.

    Attributes:
        prefix: of all of them.
        node: whose queue it is; None for a publisher, which has only replies.
        reply_queue: new for each broker.
        node_queue: the same.
    """

    prefix: str
    node: str | None
    reply_queue: str = ""
    node_queue: str = ""

    def renew(self) -> None:
        """Give the exclusive queues new names."""
        self.reply_queue = f"{self.prefix}.reply.{secrets.token_hex(8)}"
        self.node_queue = f"{self.prefix}.node.{self.node}.{secrets.token_hex(4)}"

    @property
    def direct(self) -> str:
        """The exchange that knows queues by key."""
        return f"{self.prefix}.direct"

    @property
    def fanout(self) -> str:
        """The exchange of all nodes."""
        return f"{self.prefix}.fanout"

    @property
    def rpc(self) -> str:
        """The queue of what back ends ask for."""
        return f"{self.prefix}.rpc"

    @property
    def inbound(self) -> str:
        """The exchange of what clients send to back ends."""
        return f"{self.prefix}.inbound"

    @property
    def events(self) -> str:
        """The exchange of what back ends are told of connections and users."""
        return f"{self.prefix}.events"

    @property
    def dead(self) -> str:
        """The queue of what nobody can read."""
        return f"{self.prefix}.dead"
