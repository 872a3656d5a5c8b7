"""Why a connection is closed: the close codes, each with whether to come back."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """The codes with which a node closes (RFC 6455, section 7.4; 4000 to 4999 are the application's)."""

    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    RESTART = 1012
    UNAUTHENTICATED = 4401
    KICKED = 4403
    SLOW_CONSUMER = 4408
    REPLACED = 4409
    TOO_MANY = 4429

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back by itself."""
        return self in _COME_BACK


def describe_close(code: int, reason: str) -> str:
    """Return for people why a connection was closed.

    Args:
        code: the close code.
        reason: what came with it.
    """
    # With a restart comes when to come back, which is no reason.
    said = "" if code == CloseCode.RESTART else reason
    return ": ".join(part for part in (_MEANINGS.get(code, ""), said) if part) or "closed by the other side"


_COME_BACK = {CloseCode.RESTART, CloseCode.SLOW_CONSUMER, CloseCode.TOO_MANY, CloseCode.UNAUTHENTICATED}

_MEANINGS: dict[int, str] = {
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.INVALID_DATA: "text that is not UTF-8",
    CloseCode.POLICY: "refused by policy",
    CloseCode.TOO_BIG: "message too big",
    CloseCode.RESTART: "the node is leaving",
    CloseCode.UNAUTHENTICATED: "not authenticated",
    CloseCode.KICKED: "closed through the API",
    CloseCode.SLOW_CONSUMER: "too slow",
    CloseCode.REPLACED: "a newer connection has the same id",
    CloseCode.TOO_MANY: "too many connections",
}
