"""Queries that name a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic_ws.core.identity import USER_FIELDS, User
from sanic_ws.errors import InvalidField
from sanic_ws.http.shapes import ID_TEXT, OPTIONAL_ID_TEXT

if TYPE_CHECKING:
    from collections.abc import Collection

    from sanic import Request

    from sanic_ws.http.shapes import Schema


def user_query(names: Collection[str]) -> dict[str, Schema]:
    """Describe the parameters of a query that names a user."""
    return {name: ID_TEXT if name == "userId" else OPTIONAL_ID_TEXT for name in names}


def read_user(request: Request[Any, Any], names: Collection[str] = USER_FIELDS) -> User:
    """Read whom a query names.

    Args:
        request: whose query.
        names: the parameters that it may have.

    Raises:
        InvalidField: it has others, or one twice, or does not name a user.
    """
    given = request.get_args(keep_blank_values=True)
    for name in given:
        if name not in names:
            raise InvalidField(name, "is not part of a user" if names == USER_FIELDS else "is not taken here")
        if len(given.getlist(name)) > 1:
            raise InvalidField(name, "must be given once")
    user_id, *rest = (given.get(name) for name in USER_FIELDS)
    return User(user_id or "", *rest)
