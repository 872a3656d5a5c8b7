"""What a client tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a client is doing."""

    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Tell that a client does something else now.

    Attributes:
        state: what it does.
        reason: why, for people; empty where that is plain.
        wait_s: while it is waiting, for how long, seconds.
    """

    state: State
    reason: str = ""
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """Tell that all has come that was stored while the client was away.

    Attributes:
        recovered: false: something is missing; fetch your state anew.
        count: how many messages that were.
        last_id: the id of the last durable message that the client has, if there is one.
    """

    recovered: bool
    count: int
    last_id: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Tell an error that the node has sent.

    Attributes:
        code: snake_case, for programs.
        message: for people.
        id: of the message at fault, if it had one.
    """

    code: str
    message: str
    id: str | None = None


Event = StateChanged | Resumed | Problem
