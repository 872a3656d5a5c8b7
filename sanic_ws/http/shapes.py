"""What JSON Schemas (2020-12) are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic_ws.core.identity import MAX_ID_CHARS
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS

if TYPE_CHECKING:
    from collections.abc import Collection

    from sanic_ws.core.outcomes import Outcome, Route

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Refer to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_(optional: Collection[str] = (), about: str = "", /, **properties: Schema) -> Schema:
    """Describe an object that has these properties and no others."""
    required = [name for name in properties if name not in optional]
    described = {"description": about} if about else {}
    return {
        "type": "object",
        **described,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def list_(items: Schema, **more: Any) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": items, **more}


def counts_(names: type[Outcome | Route], about: str) -> Schema:
    """Describe how many there are of some names."""
    return {
        "type": "object",
        "description": about,
        "propertyNames": {"enum": [str(name) for name in names]},
        "additionalProperties": COUNT,
    }


TEXT: Schema = {"type": "string"}
YES_OR_NO: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
NO_TEXT: Schema = {"type": ["string", "null"]}
NAME: Schema = {"type": "string", "minLength": 1}
SINCE: Schema = {"type": "string", "maxLength": MAX_PUSH_ID_CHARS}
OPTIONAL_ID_TEXT: Schema = {"type": "string", "maxLength": MAX_ID_CHARS}
ID_TEXT: Schema = {**OPTIONAL_ID_TEXT, "minLength": 1, "not": {"const": "0"}}
