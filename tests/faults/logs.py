"""What clients and publishers write down, for the invariants to read; times are `time.monotonic()`."""

from dataclasses import dataclass, field

ABNORMAL = 1006
"""Stands for a close code where there was none (RFC 6455, section 7.4.1)."""
REPLACED = 4409
SLOW = 4408


@dataclass(slots=True)
class Session:
    """One life of a connection as its client saw it.

    Attributes:
        address: where the client connected to.
        tried_at: when it began to.
        node: who answered, from the `connected` frame.
        opened_at: when the `connected` frame was read; None where it never was.
        bound_at: when the client knew that it was bound to its user.
        after_ms: how long the node asked it to stay away.
        closed_at: when the close frame or the loss was read; None while it is open.
        ended_at: when the socket was gone; frames are read until then.
        code: the node's close code, or `ABNORMAL`.
        by_client: whether the client itself cut it: what was under way to it is lost.
        stuck: whether the client stopped reading it for a while.
        unread_since: when it stopped, until it has caught up; it does not know when what it reads was sent.
    """

    address: str
    tried_at: float
    node: str = ""
    opened_at: float | None = None
    bound_at: float | None = None
    after_ms: int | None = None
    closed_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    reason: str = ""
    by_client: bool = False
    stuck: bool = False
    unread_since: float | None = None

    @property
    def open(self) -> bool:
        """Whether the client is connected, as far as it knows."""
        return self.opened_at is not None and self.closed_at is None


@dataclass(slots=True)
class Frame:
    """One push as it arrived; `session` is the number of the client's session that it came in."""

    push: str
    publisher: str
    sequence: int
    at: float
    session: int


@dataclass(slots=True)
class ClientLog:
    """What happened to one client; frames are in the order in which they were read."""

    sign: str
    sessions: list[Session] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


@dataclass(slots=True)
class PushLog:
    """One push as its publisher saw it.

    Attributes:
        id: the push's.
        conn: the client that it was for.
        by_user: whether it was for the client's user, and not for the connection.
        in_order: whether the publisher keeps the order of its calls, although they overlap.
        ended_at: when the receipt was there; None while it is not.
        outcome: the receipt's; None where there was none (cancelled, refused, HTTP broke down).
        detail: what is worth knowing of a push without a receipt.
    """

    id: str
    publisher: str
    sequence: int
    conn: str
    started_at: float
    by_user: bool = False
    in_order: bool = True
    ended_at: float | None = None
    outcome: str | None = None
    route: str | None = None
    node: str | None = None
    detail: str = ""


@dataclass(slots=True)
class Absence:
    """A node that could neither be asked nor renew its lease: paused, cut off from both backends, or killed.

    Attributes:
        node: its id.
        lease_s: its lease; nobody believes in it once that has run out. 0: it was killed.
        since, until: when it was away; None while it still is.
    """

    node: str
    lease_s: float
    since: float
    until: float | None = None
