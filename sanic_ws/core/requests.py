"""What a publisher asks for: `PushRequest`, in Python and as JSON."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, get_args

from sanic_ws.core import json
from sanic_ws.core.frames import binary_frame, text_frame
from sanic_ws.core.identity import (
    USER_FIELDS,
    Conn,
    Everyone,
    Group,
    User,
    check_conn,
    check_group,
    user_from_json,
)
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS, check_push_type, timestamp
from sanic_ws.errors import InvalidField, InvalidJSON

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

Target = Conn | User | Group | Everyone
Excluded = str | Conn | User
Wait = Literal["none", "written", "ack", "reply"]
"""What a publisher waits for: nothing, the frame to be written, the client to confirm it, or to answer it."""
WaitFor = Literal["first", "all"]
"""Whether one device's answer is enough."""

Overflow = Literal["drop", "drop_oldest", "coalesce"]
"""What gives way if a client is slow: the push itself once too much waits, the oldest, those of its key."""

Offline = Literal["fail", "store"]
"""What becomes of a push for who is away."""

OFFLINES: tuple[Offline, ...] = get_args(Offline)
OVERFLOWS: tuple[Overflow, ...] = get_args(Overflow)
WAITS: tuple[Wait, ...] = get_args(Wait)
WAIT_FORS: tuple[WaitFor, ...] = get_args(WaitFor)
ASKING = ("ack", "reply")
"""What a client has to do something for."""

DEFAULT_TIMEOUT_S = 2.0
MAX_TIMEOUT_S = 60.0
MAX_TARGETS = 1000
MAX_BATCH = 1000
MAX_TTL_S = 30 * 24 * 3600
MAX_KEY_CHARS = 128
MAX_BODY_BYTES = 16 << 20
"""Of the JSON that asks for pushes."""
_FIELDS = frozenset(
    {
        "to",
        "type",
        "data",
        "raw",
        "raw_base64",
        "id",
        "wait",
        "wait_for",
        "timeout_ms",
        "except",
        "offline",
        "ttl_s",
        "overflow",
        "coalesce_key",
    }
)
_USER_FIELDS = frozenset(USER_FIELDS)
_new_id = count(1).__next__
_id_prefix = secrets.token_hex(8)


def new_push_id() -> str:
    """Return an id that no other push has: random for the process, then counted."""
    return f"{_id_prefix}-{_new_id():x}"


def _begin_ids() -> None:
    """Begin anew in a process that was forked: pushes with one id would pass for copies of one push."""
    global _id_prefix  # noqa: PLW0603 - of the process, as the fork is
    _id_prefix = secrets.token_hex(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_ids)


@dataclass(slots=True)
class PushRequest:
    """Ask for one push.

    Args:
        to: a `Conn`, a `User`, a `Group`, `Everyone`, or several connections or users.
        type: the application's type of the message, 1 to 128 characters, none of the gateway's own.
        data: any JSON.
        raw: in place of type and data: text sent as it is, or bytes sent as a binary frame.
        id: at most 64 characters; made if left out. Copies of a push under the same id are delivered once.
        wait: ``written``: the receipt says what became of it; ``none``: do not wait; ``ack``, ``reply``: it
            says which clients have confirmed it, and what they replied.
        timeout_s: when it ends as ``unknown``, or as ``unavailable`` if it was certainly not sent; what was
            written and not confirmed is ``delivered`` then.
        exclude: who gets nothing: connections, as `Conn` or by their ids, and users.
        wait_for: ``all``, or ``first``: the first device that answers ends it, and the others are told.
        ttl_s: what has not been written after so many seconds is not sent any more; at most 30 days.
        overflow: if a client is slow: ``drop``: it waits, unless too much does already; ``drop_oldest``: it
            waits, and the oldest that do make room; ``coalesce``: only the newest of its key waits.
        coalesce_key: of ``coalesce``: 1 to 128 characters.
        offline: ``fail``: who is away gets nothing; ``store``: it is stored before it is sent, for ``ttl_s``
            or else 24 hours, and who has missed it gets it later. For connections and users.
        has_own_id: whether the id was given.
    """

    to: Target | Sequence[Target]
    type: str | None = None
    data: Any = None
    raw: str | bytes | None = None
    id: str | None = None
    wait: Wait = "written"
    timeout_s: float = DEFAULT_TIMEOUT_S
    exclude: Collection[Excluded] = ()
    wait_for: WaitFor = "all"
    ttl_s: float | None = None
    overflow: Overflow = "drop"
    coalesce_key: str | None = None
    offline: Offline = "fail"
    has_own_id: bool = field(init=False)

    def __post_init__(self) -> None:
        self.has_own_id = self.id is not None
        if self.id is None:
            self.id = new_push_id()
        else:
            _check_push_id(self.id)
        if self.wait != "written" or self.wait_for != "all":
            self._check_wait()
        if self.ttl_s is not None:
            _check_ttl(self.ttl_s)
        if self.overflow != "drop" or self.coalesce_key is not None:
            self._check_overflow()
        if self.offline != "fail":
            self._check_offline()
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise InvalidField("timeout_s", f"must be more than 0 and at most {MAX_TIMEOUT_S:.0f}")
        if isinstance(self.exclude, str):
            raise InvalidField("except", "must be a list of connections and users")
        if (self.type is None) == (self.raw is None):
            raise InvalidField("type", "is required, or else raw or raw_base64")
        if self.type is not None:
            check_push_type(self.type)

    def _check_wait(self) -> None:
        if self.wait not in WAITS:
            raise InvalidField("wait", f"must be one of {', '.join(WAITS)}")
        if self.wait_for not in WAIT_FORS:
            raise InvalidField("wait_for", f"must be one of {', '.join(WAIT_FORS)}")
        if not self.asks:
            if self.wait_for != "all":
                raise InvalidField("wait_for", "goes with wait: ack or reply")
        elif isinstance(self.to, (Group, Everyone)):
            raise InvalidField("wait", f"{self.wait} is for connections and users only")
        elif self.raw is not None:
            raise InvalidField("wait", f"{self.wait} needs type and data: raw content has no id to answer to")

    def _check_overflow(self) -> None:
        if self.overflow not in OVERFLOWS:
            raise InvalidField("overflow", f"must be one of {', '.join(OVERFLOWS)}")
        key = self.coalesce_key
        if self.overflow != "coalesce":
            if key is not None:
                raise InvalidField("coalesce_key", "goes with overflow: coalesce")
        elif key is None:
            raise InvalidField("coalesce_key", "is required with overflow: coalesce")
        elif not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARS:
            raise InvalidField("coalesce_key", f"must be a string of 1 to {MAX_KEY_CHARS} characters")
        elif not is_unicode(key):
            raise InvalidField("coalesce_key", "must be valid Unicode")

    def _check_offline(self) -> None:
        if self.offline not in OFFLINES:
            raise InvalidField("offline", f"must be one of {', '.join(OFFLINES)}")
        if isinstance(self.to, (Group, Everyone)):
            raise InvalidField("offline", "store is for connections and users only")
        if self.raw is not None:
            raise InvalidField("offline", "store needs type and data: raw content has no id to go on from")
        if self.exclude:
            raise InvalidField("except", "does not go with offline: store")
        if self.overflow != "drop":
            raise InvalidField("overflow", "must be drop with offline: store, which loses nothing")
        if self.wait_for != "all" and not isinstance(self.to, (Conn, User)):
            raise InvalidField("wait_for", "must be all for several targets with offline: store")

    @property
    def asks(self) -> bool:
        """Whether clients are asked to answer."""
        return self.wait in ASKING

    @property
    def targets(self) -> Sequence[Target]:
        """What it is for, as a list.

        Raises:
            InvalidField: it is for nothing, for too much, or for what is no target.
        """
        if isinstance(self.to, (Conn, User, Group, Everyone)):
            return (self.to,)
        several = self.to if isinstance(self.to, Sequence) else [None]
        targets = [target for target in several if isinstance(target, (Conn, User))]
        if len(targets) != len(several):
            raise InvalidField("to", "must be a Conn, a User, Everyone(), or several Conns or Users")
        if not 0 < len(targets) <= MAX_TARGETS:
            raise InvalidField("to", f"must name 1 to {MAX_TARGETS} targets")
        return targets

    @property
    def left_out(self) -> frozenset[str]:
        """Who gets nothing: connections by their ids, users by `@` and their tokens.

        Raises:
            InvalidField: one is neither, or they are too many.
        """
        if len(self.exclude) > MAX_TARGETS:
            raise InvalidField("except", f"must be at most {MAX_TARGETS}")
        return frozenset(_exclusion(one, f"except[{n}]") for n, one in enumerate(self.exclude))

    @property
    def content_field(self) -> str:
        """The name of the field that holds what is sent."""
        if self.raw is None:
            return "data"
        return "raw" if isinstance(self.raw, str) else "raw_base64"

    def frame(self) -> bytes:
        """Return the WebSocket frame that clients get.

        Raises:
            InvalidField: the data have no exact JSON form.
        """
        if isinstance(self.raw, bytes):
            return binary_frame(self.raw)
        try:
            if self.raw is not None:
                return text_frame(self.raw.encode())
            message = {"type": self.type, "data": self.data, "id": self.id, "time": timestamp()}
            return text_frame(json.dumps(message))
        except (InvalidJSON, UnicodeEncodeError) as exc:
            raise InvalidField(self.content_field, str(exc)) from None


def read_push_request(value: Any) -> PushRequest:
    """Read a push from its JSON form.

    Raises:
        InvalidField: something in it breaks the contract; names the field.
    """
    if not isinstance(value, dict):
        raise InvalidField("", "a push must be a JSON object")
    if not value.keys() <= _FIELDS:
        unknown = next(name for name in value if name not in _FIELDS)
        raise InvalidField(unknown, "is not a field of a push")
    if "to" not in value:
        raise InvalidField("to", "is required")
    raw = _read_raw(value)
    if raw is not None and ("type" in value or "data" in value):
        raise InvalidField("raw" if "raw" in value else "raw_base64", "stands in place of type and data")
    if raw is None:
        check_push_type(value.get("type"))
    return PushRequest(
        _read_to(value["to"]),
        value.get("type"),
        value.get("data"),
        raw,
        value.get("id"),
        value.get("wait", "written"),
        _read_timeout(value.get("timeout_ms")),
        _read_except(value["except"]) if "except" in value else (),
        value.get("wait_for", "all"),
        value.get("ttl_s"),
        value.get("overflow", "drop"),
        value.get("coalesce_key"),
        value.get("offline", "fail"),
    )


def _check_push_id(value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PUSH_ID_CHARS:
        raise InvalidField("id", f"must be a string of 1 to {MAX_PUSH_ID_CHARS} characters")
    if not is_unicode(value):
        raise InvalidField("id", "must be valid Unicode")


def is_unicode(text: str) -> bool:
    """Say whether a text is free of lone surrogates, which cannot be encoded."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _check_ttl(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_TTL_S:
        raise InvalidField("ttl_s", f"must be a number of more than 0 and at most {MAX_TTL_S}")


def read_push_requests(values: Any) -> list[PushRequest]:
    """Read the pushes of a batch from their JSON forms.

    Raises:
        InvalidField: something breaks the contract; names the push and the field.
    """
    if not isinstance(values, list):
        raise InvalidField("pushes", "must be a list")
    if len(values) > MAX_BATCH:
        raise InvalidField("pushes", f"must be at most {MAX_BATCH}")
    return [_read_one_of_many(value, f"pushes[{number}]") for number, value in enumerate(values)]


def _read_one_of_many(value: Any, where: str) -> PushRequest:
    try:
        return read_push_request(value)
    except InvalidField as exc:
        raise InvalidField(".".join(part for part in (where, exc.field) if part), exc.reason) from None


def _read_raw(value: dict[str, Any]) -> str | bytes | None:
    if "raw" in value and "raw_base64" in value:
        raise InvalidField("raw", "must not stand beside raw_base64")
    if "raw" in value:
        if not isinstance(value["raw"], str):
            raise InvalidField("raw", "must be a string")
        return str(value["raw"])
    if "raw_base64" in value:
        return read_base64(value["raw_base64"], "raw_base64")
    return None


def read_base64(value: Any, field: str) -> bytes:
    """Read base64 that is written in the one way that its content has (RFC 4648, sections 3.5 and 4).

    Raises:
        InvalidField: it is not.
    """
    try:
        content = base64.b64decode(value, validate=True)
        if base64.b64encode(content).decode() == value:
            return content
    except (binascii.Error, TypeError, ValueError):
        pass
    raise InvalidField(field, "must be base64 (RFC 4648, section 4)")


def _read_timeout(value: Any) -> float:
    if value is None:
        return DEFAULT_TIMEOUT_S
    return _read_whole(value, "timeout_ms", int(MAX_TIMEOUT_S * 1000)) / 1000


def _read_whole(value: Any, field: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise InvalidField(field, f"must be an integer from 1 to {most}")
    return value


def _exclusion(one: Excluded, field: str) -> str:
    if isinstance(one, User):
        return f"@{one.token}"
    return one.id if isinstance(one, Conn) else check_conn(one, field)


def _read_except(value: Any) -> list[Excluded]:
    if not isinstance(value, list):
        raise InvalidField("except", "must be a list of connection ids and users")
    return [_read_excluded(one, f"except[{number}]") for number, one in enumerate(value)]


def _read_excluded(value: Any, field: str) -> Excluded:
    if not isinstance(value, dict):
        return check_conn(value, field)
    if value.keys() != {"user"}:
        raise InvalidField(field, 'must be a connection id or {"user": {…}}')
    return _read_user(value["user"], f"{field}.user")


def _read_to(value: Any) -> Target | list[Target]:
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidField("to", f"must be an object with one of {', '.join(_TARGETS)}")
    ((kind, target),) = value.items()
    read = _TARGETS.get(kind)
    if read is None:
        raise InvalidField(f"to.{kind}", f"is not a target; use one of {', '.join(_TARGETS)}")
    return read(target)


def _read_many(read: Callable[[Any, str], Target], value: Any, field: str) -> list[Target]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TARGETS:
        raise InvalidField(field, f"must be a list of 1 to {MAX_TARGETS}")
    return [read(one, f"{field}[{number}]") for number, one in enumerate(value)]


def _read_conn(value: Any, field: str) -> Target:
    return Conn(check_conn(value, field))


def _read_user(value: Any, field: str) -> User:
    if isinstance(value, dict) and not value.keys() <= _USER_FIELDS:
        unknown = next(name for name in value if name not in _USER_FIELDS)
        raise InvalidField(f"{field}.{unknown}", "is not part of a user")
    return user_from_json(value, field)


def _read_all(value: Any) -> Target:
    if value is not True:
        raise InvalidField("to.all", "must be true")
    return Everyone()


_TARGETS: dict[str, Callable[[Any], Target | list[Target]]] = {
    "conn": lambda value: _read_conn(value, "to.conn"),
    "conns": lambda value: _read_many(_read_conn, value, "to.conns"),
    "user": lambda value: _read_user(value, "to.user"),
    "users": lambda value: _read_many(_read_user, value, "to.users"),
    "group": lambda value: Group(check_group(value, "to.group")),
    "all": _read_all,
}
