"""The messages between nodes: a batch of items, and the reply with an answer for each.

An item has a target and a frame. The target is a connection id, or one of these, told apart by a first
character that no connection id has::

    @key fromType except,except     the user's connections    (only in a fallback)
    *except,except                  every connection
    =conn key                       the connection, if it is bound to this user
    ^conn except,except             the connection, unless it is bound to one of these users
    !conn code                      close the connection
    !conn code session              close it if this is still its session
    #group except,except            every connection that is in the group
    >conn group                     have the connection join the group
    <conn group                     have it leave the group
    %group                          count the connections that are in the group
    &                               those who watch the console on the node
    /leave                          have the node leave, as if it was told to end
    ?flags ticket ms id target      any of these with an order, see `sanic_ws.core.orders`

What is in ``except`` gets nothing: a connection by its id, a user by ``@`` and the user's token.

Layout of a batch, little-endian::

    "SWB1"  id u64  sent_at f64  ttl_ms u32  seek u32  items u32  targets u32
    targets joined by newlines, UTF-8 | a u32 for each frame's length | the frames, one after the other

A length of 0xFFFFFFFF stands for 'the frame before, once more'. Layout of a reply::

    "SWR1"  id u64  node u32  details u32 | the node's id | details (JSON) | one answer byte an item

Bodies are data: nothing in them is ever evaluated.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sanic_ws.core import json
from sanic_ws.core.groups import Change
from sanic_ws.core.identity import Group, User
from sanic_ws.core.outcomes import Answer
from sanic_ws.errors import InvalidField, InvalidJSON, MalformedBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH = struct.Struct("<4sQdIIII")
_REPLY = struct.Struct("<4sQII")
_BATCH_MAGIC, _REPLY_MAGIC = b"SWB1", b"SWR1"
_SAME = 0xFFFFFFFF
_MARKS = "@*=^!#<>?%&/"
WATCHERS_TARGET = "&"
LEAVE_TARGET = "/leave"
_ANSWERS = bytes(Answer)
_CODE_DIGITS = 4


@dataclass(slots=True)
class Batch:
    """Carry items to a node.

    Attributes:
        id: the sender's number for it.
        sent_at: the sender's clock, seconds since the epoch.
        ttl_ms: how long after that it may still be delivered.
        targets: one for each item.
        frames: one for each item; WebSocket frames ready to be written.
        seek: whether it goes to every node, as a fallback.
    """

    id: int
    sent_at: float
    ttl_ms: int
    targets: list[str]
    frames: Sequence[bytes]
    seek: bool = False

    @property
    def plain(self) -> bool:
        """Whether every target is a connection's id and nothing else."""
        text = "".join(self.targets)
        return not any(mark in text for mark in _MARKS)


@dataclass(slots=True)
class Reply:
    """Carry a node's answers back.

    Attributes:
        id: the batch's.
        node: who answers.
        answers: one byte for each item, see `Answer`.
        details: for items that were for several connections: ``[conn, answer]`` for each connection of a
            user, ``[answer, count]`` for each kind of answer of a push to many, or of a count.
        changes: changes of groups that the registry has to know before their answers are sent; not sent
            themselves.
        leaves: whether the node is to leave once its answers are sent; not sent itself.
    """

    id: int
    node: str
    answers: bytes
    details: dict[int, list[tuple[Any, int]]] = field(default_factory=dict)
    changes: dict[int, Change] = field(default_factory=dict)
    leaves: bool = False


def encode_batch(batch: Batch) -> bytes:
    """Write a batch."""
    targets = "\n".join(batch.targets).encode()
    lengths = array("I")
    frames: list[bytes] = []
    before = None
    for frame in batch.frames:
        if frame is before:
            lengths.append(_SAME)
        else:
            lengths.append(len(frame))
            frames.append(frame)
            before = frame
    head = _BATCH.pack(
        _BATCH_MAGIC, batch.id, batch.sent_at, batch.ttl_ms, batch.seek, len(lengths), len(targets)
    )
    return b"".join((head, targets, lengths.tobytes(), *frames))


def decode_batch(body: bytes) -> Batch:
    """Read a batch.

    Raises:
        MalformedBatch: it is not one.
    """
    try:
        magic, batch_id, sent_at, ttl_ms, seek, items, targets_size = _BATCH.unpack_from(body)
        start = _BATCH.size + targets_size
        position = start + 4 * items
        if magic != _BATCH_MAGIC or position > len(body):
            raise MalformedBatch("not a batch")
        targets = body[_BATCH.size : start].decode().split("\n") if items else []
    except (struct.error, UnicodeDecodeError) as exc:
        raise MalformedBatch(str(exc)) from None
    if len(targets) != items:
        raise MalformedBatch("as many targets as items are needed")
    lengths = array("I", body[start:position])
    if items and lengths[0] == _SAME:
        raise MalformedBatch("the first frame cannot be 'the one before'")
    if position + sum(lengths) - _SAME * lengths.count(_SAME) != len(body):
        raise MalformedBatch("the frames' lengths do not add up")
    return Batch(batch_id, sent_at, ttl_ms, targets, _Frames(body, lengths, position), bool(seek))


class _Frames(Sequence[bytes]):
    """Cut the frames out only when they are wanted: most of what is sought is not here."""

    def __init__(self, body: bytes, lengths: array[int], position: int) -> None:
        self._body = body
        self._lengths = lengths
        self._position = position

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[bytes]:
        body, position, frame = self._body, self._position, b""
        for length in self._lengths:
            if length != _SAME:
                frame = body[position : position + length]
                position += length
            yield frame

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # a sequence that can be compared


def encode_reply(reply: Reply) -> bytes:
    """Write a reply."""
    node = reply.node.encode()
    details = json.dumps(reply.details) if reply.details else b""
    head = _REPLY.pack(_REPLY_MAGIC, reply.id, len(node), len(details))
    return b"".join((head, node, details, reply.answers))


def decode_reply(body: bytes) -> Reply:
    """Read a reply.

    Raises:
        MalformedBatch: it is not one.
    """
    try:
        magic, batch_id, node_size, details_size = _REPLY.unpack_from(body)
        middle = _REPLY.size + node_size
        if magic != _REPLY_MAGIC or middle + details_size > len(body):
            raise MalformedBatch("not a reply")
        node = body[_REPLY.size : middle].decode()
        details = {}
        if details_size:
            raw = json.loads(body[middle : middle + details_size])
            details = {int(item): [(one, int(other)) for one, other in found] for item, found in raw.items()}
    except (struct.error, ValueError, TypeError, AttributeError, InvalidJSON) as exc:
        raise MalformedBatch(str(exc)) from None
    answers = body[middle + details_size :]
    if answers.translate(None, _ANSWERS):
        raise MalformedBatch("an answer that is none")
    return Reply(batch_id, node, answers, details)


def user_target(user: User, exclude: frozenset[str]) -> str:
    """Address a user's connections, less some."""
    return f"@{user.token} {','.join(sorted(exclude))}"


def read_user_target(target: str) -> tuple[User, frozenset[str]]:
    """Read what `user_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    token, _, exclude = target[1:].partition(" ")
    return _read_user(token), _read_exclude(exclude)


def _read_user(token: str) -> User:
    try:
        user = User.from_token(token)
    except (ValueError, InvalidField) as exc:
        raise MalformedBatch(str(exc)) from None
    if user.token != token:
        raise MalformedBatch("not a user as it is written here")
    return user


def bound_target(conn: str, user: User) -> str:
    """Address a connection only while it is bound to a user."""
    return f"={conn} {user.key}"


def read_bound_target(target: str) -> tuple[str, str]:
    """Read what `bound_target` wrote: the connection and the user's key."""
    conn, _, key = target[1:].partition(" ")
    return conn, key


def unless_target(conn: str, exclude: frozenset[str]) -> str:
    """Address a connection, unless it is bound to users among these."""
    users = sorted(name for name in exclude if name[0] == "@")
    return f"^{conn} {','.join(users)}" if users else conn


def read_unless_target(target: str) -> tuple[str, frozenset[str]]:
    """Read what `unless_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    conn, _, exclude = target[1:].partition(" ")
    return conn, _read_exclude(exclude)


def everyone_target(exclude: frozenset[str]) -> str:
    """Address every connection, less some."""
    return f"*{','.join(sorted(exclude))}"


def read_everyone_target(target: str) -> frozenset[str]:
    """Read what `everyone_target` wrote."""
    return _read_exclude(target[1:])


def group_target(group: str, exclude: frozenset[str]) -> str:
    """Address every connection of a group, less some."""
    return f"#{Group(group).token} {','.join(sorted(exclude))}"


def read_group_target(target: str) -> tuple[str, frozenset[str]]:
    """Read what `group_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    token, _, exclude = target[1:].partition(" ")
    return _read_group(token), _read_exclude(exclude)


def count_target(group: str) -> str:
    """Ask how many connections are in a group."""
    return f"%{Group(group).token}"


def read_count_target(target: str) -> str:
    """Read what `count_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    return _read_group(target[1:])


def read_count(reply: Reply) -> int | None:
    """Return what a node says to the one question of a batch; None: it does not know such questions."""
    counted = reply.details.get(0)
    return counted[0][1] if counted and reply.answers == bytes([Answer.SEVERAL]) else None


def change_target(change: Change) -> str:
    """Ask for a connection to join a group, or to leave it."""
    return f"{'>' if change.joins else '<'}{change.conn} {Group(change.group).token}"


def read_change_target(target: str) -> Change:
    """Read what `change_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    conn, _, token = target[1:].partition(" ")
    return Change(conn, _read_group(token), target[0] == ">")


def _read_group(token: str) -> str:
    try:
        group = Group.from_token(token)
    except InvalidField as exc:
        raise MalformedBatch(str(exc)) from None
    if group.token != token:
        raise MalformedBatch("not a group as it is written here")
    return group.name


def _read_exclude(text: str) -> frozenset[str]:
    names = frozenset(text.split(",")) if text else frozenset()
    for name in names:
        if name[:1] == "@":
            _read_user(name[1:])
    return names


def close_target(conn: str, code: int, session: str = "") -> str:
    """Ask for a connection to be closed, whichever its session is or only this one."""
    return f"!{conn} {code} {session}".rstrip()


def read_close_target(target: str) -> tuple[str, int, str | None]:
    """Read what `close_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    conn, *rest = target[1:].split(" ")
    if not rest or not (rest[0].isdecimal() and len(rest[0]) == _CODE_DIGITS):
        raise MalformedBatch("a close names a code")
    return conn, int(rest[0]), rest[1] if len(rest) > 1 else None
