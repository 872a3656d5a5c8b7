"""What nodes say in the tests, checked against the AsyncAPI document as it is heard."""

from functools import cache
from typing import Any

from jsonschema import Draft7Validator

from sanic_ws.http.asyncapi import document


@cache
def _messages() -> dict[str, Any]:
    made = document(prefix="p", host="h", secure=False, takes_tokens=True)
    schemas = {"components": {"schemas": made["components"]["schemas"]}}
    return {
        name: Draft7Validator({"allOf": [message["payload"]], **schemas})
        for name, message in made["components"]["messages"].items()
    }


def check_spoken(message: Any, name: str, other: str = "") -> str:
    """Check a message, as it was read, against its schema; return the name that the document has for it.

    Args:
        message: it.
        name: what it is in the document.
        other: what it is if that is none: a message of an application's type.
    """
    messages = _messages()
    found = name if name in messages else other
    messages[found].validate(message)
    return found
