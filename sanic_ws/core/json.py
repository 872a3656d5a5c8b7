"""Strict JSON (RFC 8259): what it cannot say exactly is refused, not guessed.

Reading refuses ``NaN``, ``Infinity``, ``01``, lone surrogates, trailing text and nesting deeper than
200; writing refuses ``NaN`` and infinities (``1e999`` reads as one) and lone surrogates.
"""

from __future__ import annotations

import re
from typing import Any

import ujson
from pydantic_core import from_json

from sanic_ws.errors import InvalidJSON

# Only numbers written like these may read as an infinity.
_HUGE = re.compile(r"[eE]\+?\d{3}|\d{300}")


def loads(text: str | bytes | bytearray) -> Any:
    """Read one JSON value.

    Raises:
        InvalidJSON: the text is not strict JSON, or nests deeper than 200.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except (ValueError, UnicodeEncodeError) as exc:
        raise InvalidJSON(str(exc)) from None


def loads_finite(text: str) -> Any:
    """Read one JSON value that can be written again: no number in it is too large for a float.

    Raises:
        InvalidJSON: see `loads`; or a number reads as an infinity, as ``1e999`` does.
    """
    value = loads(text)
    if _HUGE.search(text):
        dumps(value)
    return value


def dumps(value: Any) -> bytes:
    """Write one value as compact UTF-8 JSON.

    Raises:
        InvalidJSON: the value has no exact JSON form.
    """
    try:
        return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False).encode()
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidJSON(str(exc)) from None
