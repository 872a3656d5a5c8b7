"""Publishers' keys: what each may do, and to whom.

::

    name:key                                  everything
    name:key:push+read                        pushes and look-ups
    name:key:push:conn=web-*+tenant=7         pushes to some connections, and to the users of a tenant

A target is written ``kind=text``, exactly that one, or ``kind=text*``, all that begin so: ``conn`` is a
connection's id, ``user`` a user's key (``7``; of tenant 9: ``7:9``; of bank 3 in it: ``7:9:3``), ``tenant``
a tenant's id with all its users, ``group`` a group's name. Of ids of users and tenants all but
``A-Z a-z 0-9 - . _ ~`` is percent-encoded (RFC 3986), so that no separator is part of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from sanic_ws.core.identity import Conn, Group, User

if TYPE_CHECKING:
    from sanic_ws.core.requests import Target

SCOPES = frozenset({"push", "read", "admin"})
KINDS = ("conn", "user", "tenant", "group")
MIN_KEY_CHARS = 16
"""What `serve` warns below."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Allow targets of a kind: one, or all that begin with a text."""

    kind: str
    text: str
    is_prefix: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind=text`` or ``kind=text*``.

        Raises:
            ValueError: it is neither.
        """
        kind, _, rest = text.partition("=")
        stem = rest.removesuffix("*")
        if kind not in KINDS or not rest or "*" in stem:
            raise ValueError(
                f"a target is one of {', '.join(KINDS)}, then = and an id, or its beginning and *"
            )
        return cls(kind, stem, rest != stem)

    def covers(self, kind: str, text: str) -> bool:
        """Say whether a target is among those that it allows."""
        return kind == self.kind and (text.startswith(self.text) if self.is_prefix else text == self.text)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Hold a publisher's key: its hash only.

    Attributes:
        name: whose it is; two keys of one name are both good, so that one can take the other's place.
        digest: SHA-256 of the key.
        scopes: what it may be used for.
        allowed: whom it reaches; None: everybody.
        is_short: whether it has too few characters to be hard to guess.
    """

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[str]
    allowed: tuple[Allowance, ...] | None = None
    is_short: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name:key``, ``name:key:scopes`` or ``name:key:scopes:targets``.

        Raises:
            ValueError: it is none of these; does not show the key.
        """
        name, key, scopes, targets = [*text.strip().split(":", 3), "", "", ""][:4]
        if not (name and key):
            raise ValueError(
                "a key is written name:key, name:key:scope+scope or name:key:scope+scope:targets"
            )
        wanted = frozenset(scopes.split("+")) if scopes else SCOPES
        if not wanted <= SCOPES:
            raise ValueError(f"the scopes of {name!r} must be of push, read, admin")
        allowed = None
        # A colon with nothing behind it is a mistake, and must not open the door to all.
        if text.count(":") > 2:  # noqa: PLR2004
            try:
                allowed = tuple(Allowance.parse(part) for part in targets.split("+"))
            except ValueError as exc:
                raise ValueError(f"the targets of {name!r}: {exc}") from None
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return cls(name, digest, wanted, allowed, len(key) < MIN_KEY_CHARS)

    def reaches(self, target: Target) -> bool:
        """Say whether it may push to a target; to everyone only if it is limited to nothing."""
        if self.allowed is None:
            return True
        return any(allowance.covers(*name) for name in _names(target) for allowance in self.allowed)


def _names(target: Target) -> list[tuple[str, str]]:
    """Return as what a target may be allowed."""
    match target:
        case Conn(id=conn):
            return [("conn", conn)]
        case User(key=key):
            _, *rest = key.split(":")
            return [("user", key), *(("tenant", tenant) for tenant in rest[:1] if tenant)]
        case Group(name=name):
            return [("group", name)]
    return []


def parse_api_keys(text: str) -> tuple[ApiKey, ...]:
    """Read a comma-separated list of keys.

    Raises:
        ValueError: one is not written as it should be, or is there twice.
    """
    keys = tuple(ApiKey.parse(part) for part in text.split(",") if part.strip())
    seen: dict[bytes, str] = {}
    for key in keys:
        if key.digest in seen:
            raise ValueError(f"{seen[key.digest]!r} and {key.name!r} have the same key")
        seen[key.digest] = key.name
    return keys
