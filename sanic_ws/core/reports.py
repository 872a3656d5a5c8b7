"""Reports: what a node tells a sender later than its answer.

That is what has become of pushes that waited for slow clients, and that clients have confirmed or answered
pushes. A message holds all of one turn of the event loop: ``SWA1``, then as JSON
``[node, [[ticket, conn, said, reply], …]]``. A reply is JSON within a string: it may nest as deeply as a
client's message, and is read only where it is wanted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from sanic_ws.core import json
from sanic_ws.errors import InvalidJSON, MalformedBatch

MAGIC = b"SWA1"


class Said(IntEnum):
    """What is known of a push at a client, from the least that it can be to the most."""

    NOTHING = 0
    DROPPED = 1
    """It has waited, and is certainly not sent."""
    WRITTEN = 2
    """It has waited, and has been written."""
    GONE = 3
    """Its session has ended, and nobody can answer any more."""
    ACK = 4
    REPLY = 5


class Report(NamedTuple):
    """Tell what became of a question to a client.

    Attributes:
        ticket: the sender's number for the push.
        conn: the connection.
        said: what it said.
        reply: what it replied, JSON.
    """

    ticket: int
    conn: str
    said: Said
    reply: str = ""


def encode_reports(node: str, reports: list[Report]) -> bytes:
    """Write what a node reports to one sender."""
    return MAGIC + json.dumps([node, reports])


def decode_reports(body: bytes) -> tuple[str, list[Report]]:
    """Read what `encode_reports` wrote: the node and what it reports.

    Raises:
        MalformedBatch: it is not that.
    """
    try:
        node, reports = json.loads(body[len(MAGIC) :])
        read = [Report(ticket, conn, Said(said), reply) for ticket, conn, said, reply in reports]
    except (InvalidJSON, ValueError, TypeError) as exc:
        raise MalformedBatch(str(exc)) from None
    texts = [node, *(report.conn for report in read), *(report.reply for report in read)]
    if not all(isinstance(text, str) for text in texts) or not all(type(r.ticket) is int for r in read):
        raise MalformedBatch("reports of another kind")
    return node, read
