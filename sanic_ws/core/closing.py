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


_COME_BACK = {CloseCode.RESTART, CloseCode.SLOW_CONSUMER, CloseCode.TOO_MANY, CloseCode.UNAUTHENTICATED}
