"""JSON Schemas of what nodes, clients and back ends say to each other, with the bounds that the code has."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from sanic_ws.core.identity import USER_FIELDS
from sanic_ws.core.messages import (
    MAX_PUSH_ID_CHARS,
    MAX_TYPE_CHARS,
    OWN_TYPES,
    RESERVED_TYPES,
    ErrorCode,
)
from sanic_ws.http.push_schemas import PUSH_TYPE, USER_IDS
from sanic_ws.http.shapes import COUNT, NAME, NO_TEXT, SINCE, TEXT, TIME, YES_OR_NO, object_, ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sanic_ws.core.messages import ClientType, EventType, NodeType
    from sanic_ws.http.shapes import Schema

_ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_PUSH_ID_CHARS}
_PUSH_ID: Schema = {**TEXT, "description": "the push's"}
_ANY: Schema = {"description": "any JSON"}
_NO_USER: Schema = {"anyOf": [ref("User"), {"type": "null"}]}
_SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0}
_GROUP = object_(group=ref("GroupName"))
_CLIENTS_TYPE: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TYPE_CHARS,
    "not": {"enum": sorted(OWN_TYPES | RESERVED_TYPES)},
    "description": "none of the gateway's own",
}


def _from_node(kind: str, about: str, data: Schema) -> Schema:
    return object_(("id",), about, type={"const": kind}, data=data, id=_ID, time=TIME)


def _from_client(kind: str, about: str, data: Schema) -> Schema:
    optional = ("id", "time", *(() if "type" in data else ("data",)))
    return object_(optional, about, type={"const": kind}, data=data, id=_ID, time=TIME)


_NODE_DATA: Mapping[NodeType, tuple[str, Schema]] = {
    "connected": (
        "the first frame on every connection",
        object_(
            conn=ref("ConnId"),
            node=TEXT,
            session={**TEXT, "description": "one life of the id on one node"},
            user=_NO_USER,
            heartbeat_s=_SECONDS,
            max_message_bytes=COUNT,
        ),
    ),
    "user_bound": ("the answer to `user_info` and `auth`", object_(user=_NO_USER)),
    "joined": ("the answer to `join`", _GROUP),
    "left": ("the answer to `leave`", _GROUP),
    "error": (
        "a message could not be handled; its `id` comes back, the connection lives",
        object_(
            ("field",),
            code={"enum": list(get_args(ErrorCode)), "description": "for programs"},
            message={**NAME, "description": "for people"},
            field={**NAME, "description": "what is at fault, such as data.room"},
        ),
    ),
    "reconnect": (
        "the node is leaving: come back after so long; close 1012 follows",
        object_(after_ms=COUNT),
    ),
    "resumed": (
        "all that was stored has been sent",
        object_(
            recovered={**YES_OR_NO, "description": "false: something is missing, fetch your state anew"},
            count={**COUNT, "description": "messages that were sent"},
            last_id=NO_TEXT,
        ),
    ),
    "pong": ("the answer to `ping`, with the same data", _ANY),
    "cancelled": ("another device was quicker to answer a push", object_(id=_PUSH_ID)),
}

_CLIENT_DATA: Mapping[ClientType, tuple[str, Schema]] = {
    "ping": ("is answered by `pong`", _ANY),
    "user_info": (
        "binds the connection to a user, where the node trusts clients",
        object_(USER_FIELDS[1:], **USER_IDS),
    ),
    "auth": ("says who the client is, or prolongs the session", object_(token=TEXT)),
    "join": ("takes the connection into a group, where clients may", _GROUP),
    "leave": ("takes it out of one", _GROUP),
    "ack": ("confirms a push that asked for it", object_(id=_PUSH_ID)),
    "reply": ("answers a push that asked for it", object_(("data",), id=_PUSH_ID, data=_ANY)),
    "resume": ("asks for what was stored after an id; empty: for all", object_(since=SINCE)),
}


def _event(kind: EventType, about: str) -> Schema:
    user = ref("UserIds") if kind.startswith("user_") else _NO_USER
    return object_((), about, type={"const": kind}, conn=ref("ConnId"), user=user, node=TEXT, time=TIME)


_EVENTS: Mapping[EventType, str] = {
    "connection_opened": "an id is connected that was nowhere",
    "connection_closed": "an id was away for longer than the grace",
    "user_online": "the user's first connection",
    "user_offline": "the user's last connection is gone",
}

FROM_NODE: dict[str, Schema] = {
    kind: _from_node(kind, *described) for kind, described in _NODE_DATA.items()
} | {
    "push": object_(
        ("id", "prev"),
        "a message of an application's type",
        type=PUSH_TYPE,
        data=_ANY,
        id={**_ID, "description": "what `ack` and `reply` name"},
        time=TIME,
        prev={
            **_ID,
            "type": ["string", "null"],
            "description": "of durable ones: the id of the one before; null: there was none",
        },
    ),
    "text": {**TEXT, "description": "a push of `raw` text, sent as it is"},
    "binary": {**TEXT, "format": "binary", "description": "a push of `raw_base64`, a binary frame"},
}
"""What a client hears, by the message's type; those of applications are `push`, `text` and `binary`."""

FROM_CLIENT: dict[str, Schema] = {
    kind: _from_client(kind, *described) for kind, described in _CLIENT_DATA.items()
} | {
    "message": object_(
        ("data", "id", "time"),
        "goes to the application's handler of its type, or else to back ends",
        type=_CLIENTS_TYPE,
        data=_ANY,
        id=_ID,
        time=TIME,
    )
}
"""What a client says, by the message's type; those of applications are `message`."""

EVENTS: dict[str, Schema] = {kind: _event(kind, about) for kind, about in _EVENTS.items()}
"""What back ends are told of connections and users, by the event's type."""

INBOUND = object_(
    (),
    "what a client sent that no handler of the application takes",
    conn=ref("ConnId"),
    user=_NO_USER,
    type=_CLIENTS_TYPE,
    data=_ANY,
    id={**_ID, "type": ["string", "null"]},
    time=TIME,
)
"""What clients say to back ends."""

USER_OF_EVENT = object_(USER_FIELDS[1:-1], **dict.fromkeys(USER_FIELDS[:-1], NAME))
