"""JSON Schemas (2020-12) of what the HTTP side takes and answers, with the bounds that the code has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.identity import USER_FIELDS
from sanic_ws.core.outcomes import Outcome, Route
from sanic_ws.core.requests import MAX_BATCH
from sanic_ws.dispatch.following import STEPS
from sanic_ws.http.push_schemas import REQUESTS
from sanic_ws.http.shapes import (
    COUNT,
    MAYBE_COUNT,
    NAME,
    NO_TEXT,
    TEXT,
    TIME,
    YES_OR_NO,
    counts_,
    list_,
    object_,
    ref,
)

if TYPE_CHECKING:
    from sanic_ws.http.shapes import Schema

_NO_DELIVERIES = "left out for a push to a group or to all, and with wait: none"
_ANSWERS: dict[str, Schema] = {
    "Outcome": {"type": "string", "enum": [str(outcome) for outcome in Outcome]},
    "Route": {"type": "string", "enum": [str(route) for route in Route]},
    "Delivery": object_(
        ("reply",),
        "what became of a push at one connection",
        conn={**NO_TEXT, "description": "null where a silent node's connections are not known, or none is"},
        node={**NO_TEXT, "description": "the node that answered, or that was asked last"},
        route={"anyOf": [ref("Route"), {"type": "null"}], "description": "the way that it took, if any"},
        outcome=ref("Outcome"),
        latency_ms={"type": "number", "minimum": 0},
        reply={"description": "what the client replied (`wait: reply`), any JSON"},
    ),
    "Receipt": object_(
        ("deliveries",),
        "what became of a push",
        id=TEXT,
        outcome=ref("Outcome"),
        counts=counts_(Outcome, "how many connections had which outcome"),
        deliveries=list_(ref("Delivery"), description=_NO_DELIVERIES),
    ),
    "Receipts": object_((), "in the order of the pushes", receipts=list_(ref("Receipt"), maxItems=MAX_BATCH)),
    "User": object_(USER_FIELDS[1:], **dict.fromkeys(USER_FIELDS, NAME)),
    "Connection": object_(
        conn=ref("ConnId"),
        node=TEXT,
        session={**TEXT, "description": "one life of the id on one node"},
        user={"anyOf": [ref("User"), {"type": "null"}]},
        since=TIME,
    ),
    "Connections": object_(user=ref("User"), connections=list_(ref("Connection"))),
    "Mailbox": object_(
        (),
        "what is stored for a user",
        user=ref("User"),
        size={**COUNT, "description": "messages; expired ones that were not cleared away yet included"},
        bytes={**COUNT, "description": "of what clients would get"},
        first={**NO_TEXT, "description": "the id of the oldest"},
        last={**NO_TEXT, "description": "the id of the newest"},
    ),
    "Cleared": object_(user=ref("User"), cleared={**YES_OR_NO, "description": "whether anything was there"}),
    "Closed": object_(conn=ref("ConnId"), closed={"const": True}, node=TEXT),
    "Group": object_(
        group=ref("GroupName"),
        connections={**MAYBE_COUNT, "description": "null: a node did not answer, and may have some"},
        nodes=list_(ref("GroupNode"), description="those with connections that are in it"),
    ),
    "GroupNode": object_(
        node=TEXT, connections={**MAYBE_COUNT, "description": "null: it did not answer in time"}
    ),
    "Member": object_(group=ref("GroupName"), conn=ref("ConnId"), member=YES_OR_NO),
    "Node": object_(
        node={**TEXT, "description": "its id, new at each start"},
        name=TEXT,
        connections=COUNT,
        started=TIME,
        state={"enum": ["ready", "deaf", "draining"], "description": "deaf: its queue is away"},
        version=TEXT,
        self={**YES_OR_NO, "description": "whether it is the one that answers"},
    ),
    "NodeId": {"type": "string", "minLength": 1, "description": "as GET /api/v1/nodes says it"},
    "Drained": object_(node=TEXT, draining={"const": True}),
    "Step": object_(
        ("to",),
        "what happened to a push, by the clock of the node that it was made on",
        at_ms={"type": "number", "minimum": 0, "description": "since it was accepted"},
        what={
            "enum": list(STEPS),
            "description": "`written`, and what else a node says, is known when its answer comes: the way to "
            "it, the writing and the way back are one time",
        },
        where={**TEXT, "description": "a node, an exchange, `registry`, `mailbox` or `client`"},
        to={**TEXT, "description": "the node that it is about, if one"},
    ),
    "Journey": object_((), "a push's receipt and its way", receipt=ref("Receipt"), steps=list_(ref("Step"))),
    "Ticket": object_(
        (),
        "what lets a page open `/console/ws`",
        ticket=TEXT,
        expires_in_s={**COUNT, "description": "for how long it does"},
    ),
    "Nodes": object_(nodes=list_(ref("Node"))),
    "Stats": object_(
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
        calls=object_(
            (),
            "of back ends, over AMQP",
            taken=COUNT,
            failed={**COUNT, "description": "of these, answered with an error, or set aside"},
            set_aside={**COUNT, "description": "of these, set aside: nobody waited for the error"},
        ),
        inbound=object_(
            (),
            "messages of clients for back ends",
            published=COUNT,
            refused={**COUNT, "description": "the client got an error"},
        ),
        answers=object_((), "that clients have sent", acks=COUNT, replies=COUNT),
        broker=object_(connected=YES_OR_NO, blocked=YES_OR_NO),
        events=object_(published=COUNT, dropped=COUNT, waiting=COUNT),
        process=object_(tasks=COUNT, open_files=COUNT, memory_bytes=COUNT),
        routes=counts_(Route, "how many deliveries took which way"),
        outcomes=counts_(Outcome, "how many deliveries had which outcome"),
    ),
    "Alive": object_(live={"const": True}),
    "Ready": object_(ready=YES_OR_NO, node=TEXT, registry=YES_OR_NO, broker=YES_OR_NO, draining=YES_OR_NO),
    "OpenApi": {"type": "object", "description": "OpenAPI 3.1", "required": ["openapi", "info", "paths"]},
    "AsyncApi": {
        "type": "object",
        "description": "AsyncAPI 3.0",
        "required": ["asyncapi", "info", "channels"],
    },
    "Page": TEXT,
    "Error": object_(
        error=object_(
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
SCHEMAS: dict[str, Schema] = REQUESTS | _ANSWERS
"""By name, as the document has them."""
