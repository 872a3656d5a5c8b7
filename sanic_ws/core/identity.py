"""Who and what a push is for: connections, users, groups, everyone.

A user's key is injective: two users are the same exactly if their user, tenant and bank ids are the
same texts, each of the three having its own place in the key: ``user``, ``user:tenant``,
``user:tenant:bank``, ``user::bank``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from sanic_ws.errors import InvalidField

MAX_ID_CHARS = 128
USER_FIELDS = ("userId", "tenantId", "bankId", "fromType")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
CONN_PATTERN = r"[A-Za-z0-9._~:-]{1,128}"
_CONN = re.compile(CONN_PATTERN)


def check_conn(value: Any, field: str = "conn") -> str:
    """Return the connection id if it is one: 1 to 128 of ``A-Z a-z 0-9 . _ ~ : -``.

    Raises:
        InvalidField: it is not.
    """
    if isinstance(value, str) and _CONN.fullmatch(value):
        return value
    raise InvalidField(field, "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : -")


def check_id(value: Any, field: str) -> str | None:
    """Return the id of a user, tenant, bank or device kind as text; `None` for ``None``, ``0`` and ``""``.

    Raises:
        InvalidField: it is neither an integer nor a string of at most 128 characters.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidField(field, "must be an integer or a string")
    if not value or value == "0":
        return None
    if isinstance(value, int) and abs(value) >= 10**MAX_ID_CHARS:
        raise InvalidField(field, f"must be at most {MAX_ID_CHARS} characters")
    text = str(value)
    if len(text) > MAX_ID_CHARS:
        raise InvalidField(field, f"must be at most {MAX_ID_CHARS} characters")
    return _check_unicode(text, field)


def check_group(value: Any, field: str = "group") -> str:
    """Return the name of a group if it is one.

    Raises:
        InvalidField: it is not a string of 1 to 128 characters.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        raise InvalidField(field, f"must be a string of 1 to {MAX_ID_CHARS} characters")
    return _check_unicode(value, field)


def _check_unicode(text: str, field: str) -> str:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidField(field, "must be valid Unicode")
    return text


def _escape(text: str | None) -> str:
    if text is None:
        return ""
    return text if text.isascii() and text.isalnum() else quote(text, safe="")


def base36(number: int) -> str:
    """Write a number that is not negative with ``0-9 a-z``."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


@dataclass(frozen=True, slots=True)
class Conn:
    """Address one connection by its id.

    Raises:
        InvalidField: the id is not 1 to 128 of ``A-Z a-z 0-9 . _ ~ : -``.
    """

    id: str

    def __post_init__(self) -> None:
        check_conn(self.id)


class User:
    """Name a user, and as a target address the user's devices.

    Args:
        user_id: integer or text of 1 to 128 characters, compared as text.
        tenant_id: the tenant, if any.
        bank_id: the bank, if any.
        from_type: the kind of device or client; as a target: only these devices, all when left out.

    Raises:
        InvalidField: an id is neither an integer nor such a text, or ``user_id`` is ``0`` or empty.
    """

    __slots__ = ("bank_id", "from_type", "key", "tenant_id", "user_id")

    def __init__(
        self,
        user_id: int | str,
        tenant_id: int | str | None = None,
        bank_id: int | str | None = None,
        from_type: int | str | None = None,
    ) -> None:
        user = check_id(user_id, "userId")
        if user is None:
            raise InvalidField("userId", "must name a user; 0 and empty do not")
        self.user_id: str = user
        self.tenant_id = None if tenant_id is None else check_id(tenant_id, "tenantId")
        self.bank_id = None if bank_id is None else check_id(bank_id, "bankId")
        self.from_type = None if from_type is None else check_id(from_type, "fromType")
        self.key = _escape(user)
        if self.tenant_id is not None or self.bank_id is not None:
            self.key = f"{self.key}:{_escape(self.tenant_id)}:{_escape(self.bank_id)}".rstrip(":")

    @classmethod
    def from_token(cls, token: str) -> User:
        """Read what `token` wrote."""
        key, _, from_type = token.partition(";")
        user, tenant, bank = (unquote(part) for part in f"{key}::".split(":")[:3])
        return cls(user, tenant, bank, unquote(from_type))

    @property
    def token(self) -> str:
        """The whole identity, ``fromType`` included, as one text without spaces or control characters."""
        return self.key if self.from_type is None else f"{self.key};{_escape(self.from_type)}"

    def to_json(self) -> dict[str, str]:
        """Return the identity as the contract writes it, absent ids left out."""
        ids = {
            "userId": self.user_id,
            "tenantId": self.tenant_id,
            "bankId": self.bank_id,
            "fromType": self.from_type,
        }
        return {name: text for name, text in ids.items() if text is not None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return f"User({', '.join(f'{name}={text!r}' for name, text in self.to_json().items())})"


def user_from_json(value: Any, field: str = "user") -> User:
    """Read ``{"userId", "tenantId"?, "bankId"?, "fromType"?}``.

    Raises:
        InvalidField: it is not an object, or an id in it is not one.
    """
    if not isinstance(value, dict):
        raise InvalidField(field, "must be an object")
    try:
        return User(
            value.get("userId", 0),
            value.get("tenantId"),
            value.get("bankId"),
            value.get("fromType"),
        )
    except InvalidField as exc:
        raise InvalidField(f"{field}.{exc.field}" if field else exc.field, exc.reason) from None


@dataclass(frozen=True, slots=True)
class Group:
    """Name a group of connections, and as a target address all that are in it.

    Raises:
        InvalidField: the name is not text of 1 to 128 characters.
    """

    name: str

    def __post_init__(self) -> None:
        check_group(self.name)

    @classmethod
    def from_token(cls, token: str) -> Group:
        """Read what `token` wrote."""
        return cls(unquote(token))

    @property
    def token(self) -> str:
        """The name without spaces or control characters."""
        return group_token(self.name)


def group_token(name: str) -> str:
    """Write a group's name without spaces or control characters."""
    return _escape(name)


@dataclass(frozen=True, slots=True)
class Everyone:
    """Address every connection of the cluster."""


def are_two(one: User | None, other: User | None) -> bool:
    """Say whether two users are known and are not the same."""
    return one is not None and other is not None and one.key != other.key
