"""Why a connection is closed: the close codes, each with whether to come back."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class CloseCode(IntEnum):
    """The codes with which a node closes (RFC 6455, section 7.4; 4000 to 4999 are the application's).

    Attributes:
        why: what has happened, for people.
        reconnect: whether a client should come back by itself.
    """

    PROTOCOL_ERROR = 1002, "protocol error"
    INVALID_DATA = 1007, "text that is not UTF-8"
    POLICY = 1008, "the id is bound to another user, or the client goes on sending too much"
    TOO_BIG = 1009, "message larger than `max_message_bytes`"
    RESTART = 1012, "the node is leaving; the reason holds `retry_after_ms=N`", True
    UNAUTHENTICATED = 4401, "not authenticated, or the token has expired", True
    KICKED = 4403, "closed through the API"
    SLOW_CONSUMER = 4408, "reads too slowly", True
    REPLACED = 4409, "a newer connection has the same id"
    TOO_MANY = 4429, "the node is full, or the user has too many connections", True

    why: str
    reconnect: bool

    def __new__(cls, code: int, why: str, reconnect: bool = False) -> Self:
        """Make a code of its number and of what it says."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.why, member.reconnect = why, reconnect
        return member


_CODES = {int(code): code for code in CloseCode}


def describe_close(code: int, reason: str) -> str:
    """Return for people why a connection was closed.

    Args:
        code: the close code.
        reason: what came with it.
    """
    known = _CODES.get(code)
    why = "" if known is None else known.why.partition(";")[0]
    # With a restart comes when to come back, which is no reason.
    said = "" if code == CloseCode.RESTART else reason
    return said or why or "closed by the other side"
