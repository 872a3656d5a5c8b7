"""The hub: this node's connections, found in constant time by id, by user and by group."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sanic_ws.core.groups import Members
from sanic_ws.core.identity import User
from sanic_ws.core.outcomes import Answer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sanic_ws.core.groups import Change, Groups
    from sanic_ws.core.waiting import Late

EVERYONE = "*"
"""What stands for all connections where the name of a group could."""
_NONE: frozenset[str] = frozenset()
_MOST_CORKED, _LONG_FRAME = 64, 16_384


class Socket(Protocol):
    """What the hub needs of a connection.

    Attributes:
        conn: its id.
        session: this life of the id on this node.
        user: who it is bound to.
        groups: what it is in.
        opened: whether the client has been told that it is connected.
        generation: what the registry gave for this session; 0 until then.
        began: when the session did, monotonic seconds.
    """

    conn: str
    session: str
    user: User | None
    groups: Groups
    opened: bool
    generation: int
    began: float

    @property
    def writable(self) -> bool:
        """Whether `write` would write."""

    @property
    def left(self) -> bool:
        """Whether nothing more can be written."""

    def write(self, frame: bytes) -> bool:
        """Write a whole frame, or nothing and say `False` if the connection's queue is full."""

    def offer(self, frame: bytes, late: Late) -> Answer:
        """Write a whole frame, or have it wait for a slow client; `Answer.OVERLOADED`: neither."""

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake."""


class Hub:
    """Hold this node's connections.

    Every operation on one connection or one user takes constant time. Not thread-safe: it belongs to
    one event loop.
    """

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        self._users: dict[str, dict[str, Socket]] = {}
        self._groups: Members[Socket] = Members()
        self._corked: dict[Socket, list[bytes]] | None = None

    def __len__(self) -> int:
        return len(self._sockets)

    def __iter__(self) -> Iterator[Socket]:
        return iter(self._sockets.values())

    def get(self, conn: str) -> Socket | None:
        """Return the connection with this id."""
        return self._sockets.get(conn)

    def has_none_of(self, conns: Collection[str]) -> bool:
        """Say whether none of these connections is here."""
        return self._sockets.keys().isdisjoint(conns)

    def others(self, exclude: Collection[str]) -> Iterator[Socket]:
        """Iterate over all connections but these, and but those of these users (`@` and their tokens)."""
        return self._others(self._sockets.values(), exclude)

    def add(self, socket: Socket) -> Socket | None:
        """Take a connection in; return the one that it replaces."""
        before = self._sockets.get(socket.conn)
        if before is not None:
            self._leave_user(before)
            self._groups.discard(before, before.groups.all)
        self._sockets[socket.conn] = socket
        if socket.user is not None:
            self._join_user(socket, socket.user)
        self._groups.add(socket, socket.groups.all)
        return before

    def remove(self, socket: Socket) -> bool:
        """Let a connection go; say `False` if it has been replaced or was never here."""
        if self._sockets.get(socket.conn) is not socket:
            return False
        del self._sockets[socket.conn]
        self._leave_user(socket)
        self._groups.discard(socket, socket.groups.all)
        return True

    def bind(self, socket: Socket, user: User | None) -> None:
        """Bind a connection to a user, instead of whom it was bound to."""
        if self._sockets.get(socket.conn) is socket:
            self._leave_user(socket)
            if user is not None:
                self._join_user(socket, user)
        socket.user = user

    @property
    def users(self) -> int:
        """How many users have connections here."""
        return len(self._users)

    @property
    def groups(self) -> Members[Socket]:
        """The connections here by group."""
        return self._groups

    def regroup(self, socket: Socket, groups: Groups) -> None:
        """Have a connection be in these groups, instead of those that it was in."""
        if self._sockets.get(socket.conn) is socket:
            before, after = socket.groups.all, groups.all
            self._groups.discard(socket, before - after)
            self._groups.add(socket, after - before)
        socket.groups = groups

    def change(self, change: Change) -> Answer:
        """Have one connection join a group, unless it is in too many, or leave it."""
        socket = self._sockets.get(change.conn)
        if socket is None:
            return Answer.NOT_MINE
        if not socket.opened:
            return Answer.NOT_YET
        groups = socket.groups.join([change.group]) if change.joins else socket.groups.leave(change.group)
        if change.joins and change.group not in groups.joined:
            return Answer.OVERLOADED
        self.regroup(socket, groups)
        return Answer.DELIVERED

    def of_user(self, user: User) -> list[Socket]:
        """Return the user's connections here; only those of ``user.from_type`` if it is given."""
        found = self._users.get(user.key)
        if not found:
            return []
        kind = user.from_type
        return [
            s for s in found.values() if kind is None or (s.user is not None and s.user.from_type == kind)
        ]

    def number_of(self, user_key: str, besides: str) -> int:
        """Count a user's connections here, without the one that has this id."""
        found = self._users.get(user_key, {})
        return len(found) - (besides in found)

    def number_in(self, group: str) -> int:
        """Count the connections of a group that are open."""
        return sum(socket.opened for socket in self._groups.of(group))

    def of_user_but(self, user: User, exclude: Collection[str]) -> Iterator[Socket]:
        """Iterate over the user's connections but these, and those of these users."""
        return self._others(self.of_user(user), exclude)

    def is_left_out(self, conn: str, exclude: Collection[str]) -> bool:
        """Say whether a connection is bound to one of these users (`@` and their tokens)."""
        socket = self._sockets.get(conn)
        if socket is None or socket.user is None:
            return False
        return f"@{socket.user.key}" in exclude or f"@{socket.user.token}" in exclude

    def deliver(self, conn: str, frame: bytes, user_key: str | None = None) -> Answer:
        """Write a frame to one connection; with a user's key only if it is bound to that user."""
        socket = self._sockets.get(conn)
        if socket is None:
            return Answer.NOT_MINE
        if not socket.opened:
            return Answer.NOT_YET
        if user_key is not None and (socket.user is None or socket.user.key != user_key):
            return Answer.NOT_MINE
        if self._corked is None:
            return Answer.DELIVERED if socket.write(frame) else Answer.OVERLOADED
        if not socket.writable:
            return Answer.OVERLOADED
        frames = self._corked.get(socket)
        if frames is None:
            self._corked[socket] = frames = []
        frames.append(frame)
        if len(frame) > _LONG_FRAME or len(frames) == _MOST_CORKED:
            socket.write(b"".join(self._corked.pop(socket)))
        return Answer.DELIVERED

    def refusal(self, socket: Socket, user_key: str | None) -> Answer | None:
        """Say why a connection of this node gets nothing, if it does not."""
        if not socket.opened:
            return Answer.NOT_YET
        if user_key is not None and (socket.user is None or socket.user.key != user_key):
            return Answer.NOT_MINE
        return None

    def offer(self, conn: str, frame: bytes, late: Late, user_key: str | None = None) -> Answer:
        """Write a frame as `deliver` does, or have it wait for a slow client: `Answer.WAITING`."""
        socket = self._sockets.get(conn)
        if socket is None:
            return Answer.NOT_MINE
        refusal = self.refusal(socket, user_key)
        if refusal is not None:
            return refusal
        frames = self._corked.pop(socket, None) if self._corked else None
        if frames:
            socket.write(b"".join(frames))
        return socket.offer(frame, late)

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Write what is delivered within to each connection with one system call, at the end.

        Nothing else may happen meanwhile: not for use across an await.
        """
        if self._corked is not None:
            yield
            return
        self._corked = {}
        try:
            yield
        finally:
            self._flush()
            self._corked = None

    def _flush(self) -> None:
        if self._corked:
            corked, self._corked = self._corked, {}
            for socket, frames in corked.items():
                socket.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def close(self, conn: str, code: int, session: str | None = None) -> Answer:
        """Close one connection, behind what was delivered to it; with a session only if it is still that."""
        socket = self._sockets.get(conn)
        if socket is None or (session is not None and socket.session != session):
            return Answer.NOT_MINE
        self._flush()
        socket.close(code)
        return Answer.DELIVERED

    def deliver_to_user(
        self, user: User, frame: bytes, exclude: Collection[str] = _NONE
    ) -> list[tuple[str, Answer]]:
        """Write a frame to the user's connections."""
        return [(socket.conn, self.deliver(socket.conn, frame)) for socket in self.of_user_but(user, exclude)]

    def deliver_to_many(
        self, target: str, frame: bytes, exclude: Collection[str] = _NONE, late: Late | None = None
    ) -> Counter[Answer]:
        """Write a frame to every open connection of a group; return how many had which answer.

        Args:
            target: the group's name behind ``#``, or `EVERYONE`.
            frame: it.
            exclude: who gets nothing: connections by their ids, users by `@` and their tokens.
            late: how it waits for clients that are slow; None: it does not.
        """
        sockets = self._groups.of(target[1:]) if target[0] == "#" else self._sockets.values()
        if late is None:
            return self._deliver_to(sockets, frame, exclude)
        self._flush()
        return Counter(s.offer(frame, late) for s in self._others(sockets, exclude) if s.opened)

    def _deliver_to(
        self, sockets: Iterable[Socket], frame: bytes, exclude: Collection[str]
    ) -> Counter[Answer]:
        self._flush()
        if exclude:
            sockets = self._others(sockets, exclude)
        written = full = 0
        for socket in sockets:
            if socket.opened:
                if socket.write(frame):
                    written += 1
                else:
                    full += 1
        return +Counter({Answer.DELIVERED: written, Answer.OVERLOADED: full})

    def _others(self, sockets: Iterable[Socket], exclude: Collection[str]) -> Iterator[Socket]:
        users = [User.from_token(name[1:]) for name in exclude if name[:1] == "@"]
        if users:
            exclude = {*exclude, *(socket.conn for user in users for socket in self.of_user(user))}
        return (socket for socket in sockets if socket.conn not in exclude)

    def _join_user(self, socket: Socket, user: User) -> None:
        self._users.setdefault(user.key, {})[socket.conn] = socket

    def _leave_user(self, socket: Socket) -> None:
        if socket.user is None:
            return
        found = self._users.get(socket.user.key)
        if found is not None and found.get(socket.conn) is socket:
            del found[socket.conn]
            if not found:
                del self._users[socket.user.key]
