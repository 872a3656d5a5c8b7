"""The JSON messages of the WebSocket side: ``{"type", "data", "id"?, "time"?}``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sanic_ws.core import json
from sanic_ws.core.frames import text_frame
from sanic_ws.errors import InvalidField, InvalidJSON, SanicWsError

MAX_TYPE_CHARS = 128
MAX_PUSH_ID_CHARS = 64

NodeType = Literal[
    "connected", "user_bound", "joined", "left", "error", "reconnect", "resumed", "pong", "cancelled"
]
ClientType = Literal["ping", "user_info", "auth", "join", "leave", "ack", "reply", "resume"]
EventType = Literal["connection_opened", "connection_closed", "user_online", "user_offline"]
"""What back ends are told of connections and users."""

RESERVED_TYPES = frozenset(get_args(NodeType))
"""Types that only the node itself sends."""
OWN_TYPES = frozenset(get_args(ClientType))
"""Types of client messages that are the gateway's own."""

ErrorCode = Literal[
    "already_resuming",
    "binary_not_supported",
    "busy",
    "draining",
    "identity_mismatch",
    "identity_not_trusted",
    "identity_taken",
    "internal_error",
    "invalid_data",
    "invalid_group",
    "invalid_json",
    "invalid_message",
    "invalid_token",
    "invalid_user",
    "mailbox_unavailable",
    "not_allowed",
    "not_authenticated",
    "overloaded",
    "rate_limited",
    "replaced",
    "too_large",
    "too_many_connections",
    "too_many_groups",
    "unavailable",
    "unhandled_type",
    "unknown",
]
"""What may be wrong with a client's message."""


class BadMessage(SanicWsError):  # noqa: N818 - what it is, not how it is caught
    """Report a client's message that cannot be handled; the connection stays open.

    Args:
        code: for programs.
        message: for people.
        message_id: the id of the message at fault, if it had one.
        field: dotted path of the value at fault, where there is one.
    """

    def __init__(
        self, code: ErrorCode, message: str, message_id: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message_id = message_id
        self.field = field


@dataclass(slots=True)
class ClientMessage:
    """Hold one message from a client."""

    type: str
    data: Any = None
    id: str | None = None


def read_client_message(text: str) -> ClientMessage:
    """Read one client message.

    Raises:
        BadMessage: it is not a JSON object with a ``type``.
    """
    try:
        value = json.loads(text)
    except InvalidJSON as exc:
        raise BadMessage("invalid_json", f"not JSON: {exc}") from None
    if not isinstance(value, dict):
        raise BadMessage("invalid_message", "a message must be a JSON object")
    message_id = value.get("id")
    if message_id is not None and not (
        isinstance(message_id, str) and 0 < len(message_id) <= MAX_PUSH_ID_CHARS
    ):
        raise BadMessage("invalid_message", f"id: must be a string of 1 to {MAX_PUSH_ID_CHARS} characters")
    kind = value.get("type")
    if not (isinstance(kind, str) and 0 < len(kind) <= MAX_TYPE_CHARS):
        reason = f"type: must be a string of 1 to {MAX_TYPE_CHARS} characters"
        raise BadMessage("invalid_message", reason, message_id)
    return ClientMessage(kind, value.get("data"), message_id)


def read_answered_id(message: ClientMessage) -> str:
    """Return the id of the push that a client confirms or answers.

    Raises:
        BadMessage: it names none.
    """
    push_id = message.data.get("id") if isinstance(message.data, dict) else None
    if not isinstance(push_id, str):
        raise BadMessage("invalid_message", "data.id: must be the id of a push", message.id)
    return push_id


def read_since(message: ClientMessage) -> str:
    """Return the id of the push behind which a client wants to go on; empty: from the first.

    Raises:
        BadMessage: it names none.
    """
    since = message.data.get("since") if isinstance(message.data, dict) else None
    if not isinstance(since, str) or len(since) > MAX_PUSH_ID_CHARS:
        reason = f"data.since: must be a string of at most {MAX_PUSH_ID_CHARS} characters"
        raise BadMessage("invalid_message", reason, message.id)
    return since


def check_push_type(value: Any, field: str = "type") -> str:
    """Return the type of an application's push if it may be one.

    Raises:
        InvalidField: not a string of 1 to 128 characters, or reserved for the node.
    """
    if not (isinstance(value, str) and 0 < len(value) <= MAX_TYPE_CHARS):
        raise InvalidField(field, f"must be a string of 1 to {MAX_TYPE_CHARS} characters")
    if value in RESERVED_TYPES:
        raise InvalidField(field, f"{value!r} is reserved for the gateway itself")
    return value


_latest = (0, "")


def timestamp() -> str:
    """Return the time as RFC 3339 in UTC with milliseconds."""
    global _latest  # noqa: PLW0603 - many messages share a millisecond
    milliseconds = time.time_ns() // 1_000_000
    if milliseconds != _latest[0]:
        seconds, rest = divmod(milliseconds, 1000)
        date = datetime.fromtimestamp(seconds, UTC)
        _latest = (milliseconds, f"{date:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z")
    return _latest[1]


def message_frame(kind: str, data: Any, message_id: str | None = None) -> bytes:
    """Return the text frame of one message from the node.

    Raises:
        InvalidJSON: the data have no exact JSON form.
    """
    message: dict[str, Any] = {"type": kind, "data": data}
    if message_id is not None:
        message["id"] = message_id
    message["time"] = timestamp()
    return text_frame(json.dumps(message))


def error_frame(error: BadMessage) -> bytes:
    """Return the text frame that tells a client what was wrong with its message."""
    data = {"code": error.code, "message": str(error)}
    if error.field:
        data["field"] = error.field
    return message_frame("error", data, error.message_id)
