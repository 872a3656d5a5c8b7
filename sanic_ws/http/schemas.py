"""JSON Schemas (2020-12) of what the HTTP side takes and answers, with the bounds that the code has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic_ws.core.identity import CONN_PATTERN, MAX_ID_CHARS, USER_FIELDS
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS, MAX_TYPE_CHARS, RESERVED_TYPES
from sanic_ws.core.outcomes import Outcome, Route
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
)

if TYPE_CHECKING:
    from collections.abc import Collection

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Refer to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(optional: Collection[str] = (), about: str = "", /, **properties: Schema) -> Schema:
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


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _counts(names: type[Outcome | Route], about: str) -> Schema:
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
_ID: Schema = {
    "description": f"compared as text of 1 to {MAX_ID_CHARS} characters",
    "anyOf": [ID_TEXT, {"type": "integer", "not": {"const": 0}}],
}
_OPTIONAL_ID: Schema = {
    "description": "as userId; 0, empty and null are none",
    "anyOf": [OPTIONAL_ID_TEXT, {"type": "integer"}, {"type": "null"}],
}


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
    described = _object(
        (
            "id",
            "wait_for",
            "timeout_ms",
            "except",
            "offline",
            "ttl_s",
            "overflow",
            "coalesce_key",
            *optional,
        ),
        about,
        **own,
        id={
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": MAX_PUSH_ID_CHARS,
            "description": "made if left out; copies of a push under the same id are delivered once "
            "within 60 s, and get the first one's receipt",
        },
        timeout_ms={
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": int(MAX_TIMEOUT_S * 1000),
            "default": int(DEFAULT_TIMEOUT_S * 1000),
            "description": "when it ends as unknown, or as unavailable if it was certainly not sent; "
            "what was written and not confirmed is delivered then",
        },
        **{
            "except": _list(
                ref("Excluded"),
                maxItems=MAX_TARGETS,
                description="who gets nothing: connections, and users wherever they are connected",
            )
        },
        offline={"const": "fail"},
        ttl_s={
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "maximum": MAX_TTL_S,
            "description": "seconds after which what has not been written is not sent any more",
        },
        overflow={
            "enum": list(OVERFLOWS),
            "default": "drop",
            "description": "if a client is slow: drop: it waits unless too much does; drop_oldest: "
            "the oldest that wait make room; coalesce: only the newest of its key waits",
        },
        coalesce_key={"type": ["string", "null"], "minLength": 1, "maxLength": MAX_KEY_CHARS},
    )
    return described | _KEY_WITH_COALESCE


_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
"""Each content in one way: the bits that are left over are 0."""
_TYPE: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TYPE_CHARS,
    "not": {"enum": sorted(RESERVED_TYPES)},
    "description": "none of the gateway's own",
}
_DATA: Schema = {"default": None, "description": "what clients get"}
_DEVICE_TARGETS: list[Schema] = [
    _object(conn=ref("ConnId")),
    _object(conns=_list(ref("ConnId"), minItems=1, maxItems=MAX_TARGETS)),
    _object(user=ref("UserTarget")),
    _object(users=_list(ref("UserTarget"), minItems=1, maxItems=MAX_TARGETS)),
]

_REQUESTS: dict[str, Schema] = {
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
    "Excluded": {"oneOf": [ref("ConnId"), _object(user=ref("UserTarget"))]},
    "UserTarget": _object(
        USER_FIELDS[1:],
        "a user's connections, with fromType those of one kind of device",
        userId=_ID,
        tenantId=_OPTIONAL_ID,
        bankId=_OPTIONAL_ID,
        fromType=_OPTIONAL_ID,
    ),
    "Target": {
        "description": "whom a push is for",
        "oneOf": [*_DEVICE_TARGETS, _object(group=ref("GroupName")), _object(all={"const": True})],
    },
    "DeviceTarget": {"description": "whose clients may be asked", "oneOf": _DEVICE_TARGETS},
    "MessagePush": _push("a message of an application's type", ("data",), type=_TYPE, data=_DATA),
    "AskingPush": _any_push(
        "a message that clients are to confirm or to answer",
        ("data",),
        to=ref("DeviceTarget"),
        type=_TYPE,
        data=_DATA,
        wait={"enum": list(ASKING), "description": "for what"},
        wait_for={
            "enum": list(WAIT_FORS),
            "default": "all",
            "description": "first: the first device that answers ends it, and the others get `cancelled`",
        },
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
    "Push": {"oneOf": [ref("MessagePush"), ref("AskingPush"), ref("TextPush"), ref("BinaryPush")]},
    "Batch": _object(pushes=_list(ref("Push"), maxItems=MAX_BATCH)),
    "BatchLines": _list(ref("Push"), maxItems=MAX_BATCH, description="one push a line"),
}
_NO_DELIVERIES = "left out for a push to a group or to all, and with wait: none"
_ANSWERS: dict[str, Schema] = {
    "Outcome": {"type": "string", "enum": [str(outcome) for outcome in Outcome]},
    "Route": {"type": "string", "enum": [str(route) for route in Route]},
    "Delivery": _object(
        ("reply",),
        "what became of a push at one connection",
        conn={**NO_TEXT, "description": "null where a silent node's connections are not known"},
        node={**NO_TEXT, "description": "the node that answered, or that was asked last"},
        route={"anyOf": [ref("Route"), {"type": "null"}], "description": "the way that it took, if any"},
        outcome=ref("Outcome"),
        latency_ms={"type": "number", "minimum": 0},
        reply={"description": "what the client replied (`wait: reply`), any JSON"},
    ),
    "Receipt": _object(
        ("deliveries",),
        "what became of a push",
        id=TEXT,
        outcome=ref("Outcome"),
        counts=_counts(Outcome, "how many connections had which outcome"),
        deliveries=_list(ref("Delivery"), description=_NO_DELIVERIES),
    ),
    "Receipts": _object((), "in the order of the pushes", receipts=_list(ref("Receipt"), maxItems=MAX_BATCH)),
    "User": _object(USER_FIELDS[1:], **dict.fromkeys(USER_FIELDS, NAME)),
    "Connection": _object(
        conn=ref("ConnId"),
        node=TEXT,
        session={**TEXT, "description": "one life of the id on one node"},
        user={"anyOf": [ref("User"), {"type": "null"}]},
        since=TIME,
    ),
    "Connections": _object(user=ref("User"), connections=_list(ref("Connection"))),
    "Closed": _object(conn=ref("ConnId"), closed={"const": True}, node=TEXT),
    "Group": _object(
        group=ref("GroupName"),
        connections={**MAYBE_COUNT, "description": "null: a node did not answer, and may have some"},
        nodes=_list(ref("GroupNode"), description="those with connections that are in it"),
    ),
    "GroupNode": _object(
        node=TEXT, connections={**MAYBE_COUNT, "description": "null: it did not answer in time"}
    ),
    "Member": _object(group=ref("GroupName"), conn=ref("ConnId"), member=YES_OR_NO),
    "Node": _object(
        node={**TEXT, "description": "its id, new at each start"},
        name=TEXT,
        connections=COUNT,
        started=TIME,
        state={"enum": ["ready", "deaf", "draining"], "description": "deaf: its queue is away"},
        version=TEXT,
        self={**YES_OR_NO, "description": "whether it is the one that answers"},
    ),
    "Nodes": _object(nodes=_list(ref("Node"))),
    "Stats": _object(
        (),
        "since the node's start",
        node=TEXT,
        state=TEXT,
        ready=YES_OR_NO,
        started=TIME,
        connections=COUNT,
        batches={**COUNT, "description": "that other nodes and publishers sent"},
        open_deliveries=COUNT,
        reasserted={**COUNT, "description": "connections that were registered again"},
        set_aside={**COUNT, "description": "messages that nobody could read"},
        calls=_object(
            (),
            "of back ends, over AMQP",
            taken=COUNT,
            failed={**COUNT, "description": "of these, answered with an error, or set aside"},
            set_aside={**COUNT, "description": "of these, set aside: nobody waited for the error"},
        ),
        inbound=_object(
            (),
            "messages of clients for back ends",
            published=COUNT,
            refused={**COUNT, "description": "the client got an error"},
        ),
        answers=_object((), "that clients have sent", acks=COUNT, replies=COUNT),
        broker=_object(connected=YES_OR_NO, blocked=YES_OR_NO),
        events=_object(published=COUNT, dropped=COUNT, waiting=COUNT),
        process=_object(tasks=COUNT, open_files=COUNT, memory_bytes=COUNT),
        routes=_counts(Route, "how many deliveries took which way"),
        outcomes=_counts(Outcome, "how many deliveries had which outcome"),
    ),
    "Alive": _object(live={"const": True}),
    "Ready": _object(ready=YES_OR_NO, node=TEXT, registry=YES_OR_NO, broker=YES_OR_NO, draining=YES_OR_NO),
    "Document": {"type": "object", "description": "OpenAPI 3.1", "required": ["openapi", "info", "paths"]},
    "Page": TEXT,
    "Error": _object(
        error=_object(
            ("field",),
            code={"type": "string", "pattern": "^[a-z_]+$", "description": "for programs"},
            message={"type": "string", "minLength": 1, "description": "for people"},
            field={
                "type": "string",
                "minLength": 1,
                "description": "what is at fault, such as to.user.userId",
            },
        )
    ),
}
SCHEMAS: dict[str, Schema] = _REQUESTS | _ANSWERS
"""By name, as the document has them."""
