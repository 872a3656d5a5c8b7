"""Strict JSON (RFC 8259): what it cannot say exactly is refused, not guessed.

Reading refuses ``NaN``, ``Infinity``, ``01``, lone surrogates, trailing text and nesting deeper than
200; writing refuses ``NaN`` and infinities (``1e999`` reads as one) and lone surrogates.
"""

from __future__ import annotations

from typing import Any

import ujson
from pydantic_core import from_json

from sanic_ws.errors import InvalidJSON


def loads(text: str | bytes | bytearray) -> Any:
    """Read one JSON value.

    Raises:
        InvalidJSON: the text is not strict JSON, or nests deeper than 200.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except (ValueError, UnicodeEncodeError) as exc:
        raise InvalidJSON(str(exc)) from None


def dumps(value: Any) -> bytes:
    """Write one value as compact UTF-8 JSON.

    Raises:
        InvalidJSON: the value has no exact JSON form.
    """
    try:
        return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False).encode()
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidJSON(str(exc)) from None
