"""JSON Schemas of what asks for pushes, with the bounds that the code has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.identity import CONN_PATTERN, MAX_ID_CHARS, USER_FIELDS
from sanic_ws.core.mail import DEFAULT_TTL_S
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS, MAX_TYPE_CHARS, RESERVED_TYPES
from sanic_ws.core.requests import (
    ASKING,
    DEFAULT_TIMEOUT_S,
    MAX_BATCH,
    MAX_KEY_CHARS,
    MAX_TARGETS,
    MAX_TIMEOUT_S,
    MAX_TTL_S,
    OVERFLOWS,
    WAIT_FORS,
    WAITS,
)
from sanic_ws.http.shapes import ID_TEXT, OPTIONAL_ID_TEXT, TEXT, list_, object_, ref

if TYPE_CHECKING:
    from collections.abc import Collection

    from sanic_ws.http.shapes import Schema

_ID: Schema = {
    "description": f"compared as text of 1 to {MAX_ID_CHARS} characters",
    "anyOf": [ID_TEXT, {"type": "integer", "not": {"const": 0}}],
}
_OPTIONAL_ID: Schema = {
    "description": "as userId; 0, empty and null are none",
    "anyOf": [OPTIONAL_ID_TEXT, {"type": "integer"}, {"type": "null"}],
}
USER_IDS: dict[str, Schema] = dict.fromkeys(USER_FIELDS, _OPTIONAL_ID) | {USER_FIELDS[0]: _ID}

_KEY_WITH_COALESCE: Schema = {
    "if": {"properties": {"overflow": {"const": "coalesce"}}, "required": ["overflow"]},
    "then": {"properties": {"coalesce_key": TEXT}, "required": ["coalesce_key"]},
    "else": {"properties": {"coalesce_key": {"type": "null"}}},
}


def _push(about: str, optional: Collection[str] = (), **content: Schema) -> Schema:
    """Describe a push with some content that asks nothing of clients; all else is the same for every push."""
    wait: Schema = {
        "enum": ["written", "none"],
        "default": "written",
        "description": "none: answer at once with 202, whatever becomes of it",
    }
    wait_for: Schema = {"const": "all"}
    return _any_push(about, ("wait", *optional), to=ref("Target"), wait=wait, wait_for=wait_for, **content)


def _any_push(about: str, optional: Collection[str], /, **own: Schema) -> Schema:
    names = ("id", "wait_for", "timeout_ms", "except", "offline", "ttl_s", "overflow", "coalesce_key")
    return object_((*names, *optional), about, **(_OF_ANY_PUSH | own)) | _KEY_WITH_COALESCE


_OF_ANY_PUSH: dict[str, Schema] = {
    "id": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": MAX_PUSH_ID_CHARS,
        "description": "made if left out; copies of a push under the same id are delivered once "
        "within 60 s, and get the first one's receipt",
    },
    "timeout_ms": {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": int(MAX_TIMEOUT_S * 1000),
        "default": int(DEFAULT_TIMEOUT_S * 1000),
        "description": "when it ends as unknown, or as unavailable if it was certainly not sent; "
        "what was written and not confirmed is delivered then",
    },
    "except": list_(
        ref("Excluded"),
        maxItems=MAX_TARGETS,
        description="who gets nothing: connections, and users wherever they are connected",
    ),
    "offline": {"const": "fail", "description": "who is away gets nothing"},
    "ttl_s": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": MAX_TTL_S,
        "description": "seconds after which what has not been written is not sent any more",
    },
    "overflow": {
        "enum": list(OVERFLOWS),
        "default": "drop",
        "description": "if a client is slow: drop: it waits unless too much does; drop_oldest: "
        "the oldest that wait make room; coalesce: only the newest of its key waits",
    },
    "coalesce_key": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_KEY_CHARS},
}


_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
"""Each content in one way: the bits that are left over are 0."""
PUSH_TYPE: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TYPE_CHARS,
    "not": {"enum": sorted(RESERVED_TYPES)},
    "description": "none of the gateway's own",
}
_DATA: Schema = {"default": None, "description": "what clients get"}


def _stored_push(about: str, *optional: str, **own: Schema) -> Schema:
    """Describe a push that is stored: with nothing that is given up, and nobody who is left out."""
    kept: dict[str, Schema] = {
        "type": PUSH_TYPE,
        "data": _DATA,
        "except": {"type": "array", "maxItems": 0},
        "offline": {"const": "store"},
        "ttl_s": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "maximum": MAX_TTL_S,
            "default": DEFAULT_TTL_S,
            "description": "for how long it is stored, seconds",
        },
        "overflow": {"const": "drop"},
        "coalesce_key": {"type": "null"},
    }
    left = ("id", "timeout_ms", "except", "ttl_s", "overflow", "coalesce_key", "data", *optional)
    left += ("wait_for",) if own["wait_for"]["const"] == "all" else ()
    return object_(left, about, **(_OF_ANY_PUSH | kept | own))


_DEVICE_TARGETS: list[Schema] = [
    object_(conn=ref("ConnId")),
    object_(conns=list_(ref("ConnId"), minItems=1, maxItems=MAX_TARGETS)),
    object_(user=ref("UserTarget")),
    object_(users=list_(ref("UserTarget"), minItems=1, maxItems=MAX_TARGETS)),
]

_PUSHES = ("MessagePush", "AskingPush", "StoredPush", "StoredAskingPush", "TextPush", "BinaryPush")

REQUESTS: dict[str, Schema] = {
    "ConnId": {
        "type": "string",
        "pattern": f"^{CONN_PATTERN}$",
        "description": "a connection's id, its sign",
    },
    "GroupName": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_ID_CHARS,
        "description": "a group's name",
    },
    "Excluded": {"oneOf": [ref("ConnId"), object_(user=ref("UserTarget"))]},
    "UserTarget": object_(
        USER_FIELDS[1:],
        "a user's connections, with fromType those of one kind of device",
        **USER_IDS,
    ),
    "Target": {
        "description": "whom a push is for",
        "oneOf": [*_DEVICE_TARGETS, object_(group=ref("GroupName")), object_(all={"const": True})],
    },
    "DeviceTarget": {"description": "whose clients may be asked", "oneOf": _DEVICE_TARGETS},
    "MessagePush": _push("a message of an application's type", ("data",), type=PUSH_TYPE, data=_DATA),
    "AskingPush": _any_push(
        "a message that clients are to confirm or to answer",
        ("data",),
        to=ref("DeviceTarget"),
        type=PUSH_TYPE,
        data=_DATA,
        wait={"enum": list(ASKING), "description": "for what"},
        wait_for={
            "enum": list(WAIT_FORS),
            "default": "all",
            "description": "first: the first device that answers ends it, and the others get `cancelled`",
        },
    ),
    "StoredPush": _stored_push(
        "a message that is stored before it is sent, and that who has missed it gets later",
        "wait",
        to=ref("DeviceTarget"),
        wait={"enum": list(WAITS), "default": "written", "description": "for what"},
        wait_for={"const": "all"},
    ),
    "StoredAskingPush": _stored_push(
        "a message that is stored, and that one device is to confirm or to answer",
        to={"oneOf": [object_(conn=ref("ConnId")), object_(user=ref("UserTarget"))]},
        wait={"enum": list(ASKING), "description": "for what"},
        wait_for={"const": "first", "description": "the first device that answers ends it"},
    ),
    "TextPush": _push("text that is sent as it is", raw=TEXT),
    "BinaryPush": _push(
        "bytes that are sent as a binary frame",
        raw_base64={
            "type": "string",
            "pattern": _BASE64,
            "description": "RFC 4648, section 4",
        },
    ),
    "Push": {"oneOf": [ref(name) for name in _PUSHES]},
    "Batch": object_(pushes=list_(ref("Push"), maxItems=MAX_BATCH)),
    "BatchLines": list_(ref("Push"), maxItems=MAX_BATCH, description="one push a line"),
}
