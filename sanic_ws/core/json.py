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

# Numbers so large may read as an infinity, which has no JSON form.
_HUGE = re.compile(rb"[eE]\+?\d{3}|\d{300}")
_HUGE_TEXT = re.compile(_HUGE.pattern.decode())


def loads(text: str | bytes | bytearray) -> Any:
    """Read one JSON value.

    Raises:
        InvalidJSON: the text is not strict JSON, or nests deeper than 200.
    """
    try:
        value = from_json(text, allow_inf_nan=False)
    except (ValueError, UnicodeEncodeError) as exc:
        raise InvalidJSON(str(exc)) from None
    if _HUGE_TEXT.search(text) if isinstance(text, str) else _HUGE.search(text):
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
