"""Groups: what they may be called, who is in which, and which ones clients may join by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from sanic_ws.core.identity import Group
from sanic_ws.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

MAX_GROUPS = 100
"""How many groups a connection may be in."""
MAX_GROUPS_CHARS = 4096
"""How long the names of a connection's groups may be together, escaped: they are read with its entry."""

WATCHERS = ""
"""The group of those who watch the console. No `Group` may be called so: nobody can join it or push to it."""

T = TypeVar("T")


class Groups(NamedTuple):
    """Hold the groups of one connection.

    Attributes:
        joined: those that it, or the API, has chosen: they are its own across a reconnect.
        granted: those that its proof of identity names: they come and go with that.
    """

    joined: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return self.joined | self.granted

    def join(self, groups: Iterable[str]) -> Groups:
        """Return these and others that are joined, as many as there is room for."""
        names, joined = set(self.all), set(self.joined)
        size = _size(names)
        for group in groups:
            if group not in names:
                size += len(Group(group).token)
                if len(names) == MAX_GROUPS or size > MAX_GROUPS_CHARS:
                    break
                names.add(group)
            joined.add(group)
        return self._replace(joined=frozenset(joined))

    def leave(self, group: str) -> Groups:
        """Return these without one."""
        return Groups(self.joined - {group}, self.granted - {group})


NO_GROUPS = Groups()


class Change(NamedTuple):
    """Have a connection join a group, or leave it."""

    conn: str
    group: str
    joins: bool


def _size(groups: Iterable[str]) -> int:
    return sum(len(Group(name).token) for name in groups)


def check_groups(groups: Iterable[str], field: str) -> None:
    """Check groups that a connection is to be in.

    Raises:
        InvalidField: one is not called as a group may be, or they are too many.
    """
    names = {Group(group).name for group in groups}
    if _size(names) > MAX_GROUPS_CHARS or len(names) > MAX_GROUPS:
        raise InvalidField(
            field, f"must be at most {MAX_GROUPS}, of at most {MAX_GROUPS_CHARS} characters in all"
        )


def check_pattern(pattern: str) -> str:
    """Return a pattern if it is one.

    Raises:
        ValueError: it is not.
    """
    if "*" in pattern[:-1]:
        raise ValueError("must be names of groups, or their beginnings and *")
    return pattern


def is_allowed(group: str, patterns: Iterable[str]) -> bool:
    """Say whether a group is one of those that patterns allow: names, or beginnings of names and ``*``."""
    return any(
        group.startswith(pattern[:-1]) if pattern.endswith("*") else group == pattern for pattern in patterns
    )


class Members(Generic[T]):
    """Find members by group in constant time."""

    def __init__(self) -> None:
        self._members: dict[str, set[T]] = {}
        self._emptied: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, group: str) -> bool:
        return group in self._members

    def of(self, group: str) -> Collection[T]:
        """Return a group's members."""
        return self._members.get(group, ())

    def add(self, member: T, groups: Iterable[str]) -> None:
        """Take a member into groups."""
        for group in groups:
            self._members.setdefault(group, set()).add(member)

    def discard(self, member: T, groups: Iterable[str]) -> None:
        """Take a member out of groups."""
        for group in groups:
            found = self._members.get(group)
            if found is not None:
                found.discard(member)
                if not found:
                    del self._members[group]
                    self._emptied.add(group)

    def take_emptied(self) -> set[str]:
        """Return the groups that have been without a member since the last call; some may have others now."""
        emptied, self._emptied = self._emptied, set()
        return emptied
