"""What schemathesis has to know about the node besides its document."""

import json
from typing import Any

import schemathesis


def without_fractions(value: Any) -> Any:
    """Write whole numbers as integers: JSON Schema takes 1.0 for one, the node does not."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: without_fractions(one) for name, one in value.items()}
        case list():
            return [without_fractions(one) for one in value]
    return value


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    return without_fractions(body)


@schemathesis.serializer("application/x-ndjson")
def write_lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@schemathesis.deserializer("text/html")
def read_page(_: schemathesis.DeserializationContext, response: schemathesis.Response) -> str:
    return response.text
