from __future__ import annotations

import json
import re
from typing import get_args

import pytest
from jsonschema import Draft7Validator

from sanic_ws.broker.names import Names
from sanic_ws.core.closing import CloseCode
from sanic_ws.core.messages import OWN_TYPES, RESERVED_TYPES, ErrorCode, EventType
from sanic_ws.http.asyncapi import document
from sanic_ws.http.message_schemas import EVENTS, FROM_CLIENT, FROM_NODE
from sanic_ws.websocket.conversation import Conversation


@pytest.fixture(scope="module")
def made():
    return document(prefix="own", host="push.example.com", secure=True, takes_tokens=True)


def at(made, reference):
    """Return what a reference within the document refers to."""
    value = made
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


def test_every_type_that_the_code_knows_is_there_and_nothing_else(made):
    assert set(FROM_NODE) - {"push", "text", "binary"} == RESERVED_TYPES
    assert set(FROM_CLIENT) - {"message"} == OWN_TYPES
    assert set(EVENTS) == set(get_args(EventType))
    assert set(made["components"]["messages"]) == {
        *(f"node.{kind}" for kind in FROM_NODE),
        *(f"client.{kind}" for kind in FROM_CLIENT),
        *(f"event.{kind}" for kind in EVENTS),
        "inbound",
        "call",
        "answer",
    }


def test_conversation_answers_every_type_of_the_clients():
    nothing: list[None] = [None] * 5
    assert set(Conversation(*nothing)._answers) == OWN_TYPES  # type: ignore[arg-type]


def test_every_message_is_in_a_channel_and_in_an_operation(made):
    for places in (made["channels"].values(), made["operations"].values()):
        found = [
            reference["$ref"].rpartition("/")[2]
            for place in places
            for reference in (
                place["messages"].values()
                if isinstance(place["messages"], dict)
                else [*place["messages"], *place.get("reply", {}).get("messages", [])]
            )
        ]
        assert sorted(found) == sorted(made["components"]["messages"])


def test_every_reference_leads_somewhere_and_every_shared_schema_is_used(made):
    text = json.dumps(made)
    references = set(re.findall(r'"\$ref": "([^"]+)"', text))
    assert all(at(made, reference) is not None for reference in references)
    schemas = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    assert schemas <= references


def test_every_payload_is_a_schema(made):
    for schema in made["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
    for message in made["components"]["messages"].values():
        Draft7Validator.check_schema(message["payload"])


def test_close_codes_are_the_codes(made):
    codes = made["channels"]["clients"]["x-close-codes"]
    assert {int(code): described["reconnect"] for code, described in codes.items()} == {
        code: code.reconnect for code in CloseCode
    }
    assert codes["4409"] == {"name": "replaced", "why": CloseCode.REPLACED.why, "reconnect": False}


def test_error_codes_are_the_codes(made):
    error = made["components"]["messages"]["node.error"]["payload"]["properties"]["data"]
    assert set(error["properties"]["code"]["enum"]) == set(get_args(ErrorCode))


def test_addresses_are_those_of_the_broker(made):
    names, channels = Names("own", None), made["channels"]
    assert channels["calls"]["address"] == names.rpc
    assert channels["inbound"]["bindings"]["amqp"]["exchange"]["name"] == names.inbound
    assert channels["events"]["bindings"]["amqp"]["exchange"]["name"] == names.events


@pytest.mark.parametrize("takes_tokens", [True, False])
def test_server_is_as_clients_reach_it(takes_tokens):
    made = document(prefix="p", host="h:1", secure=False, takes_tokens=takes_tokens)
    gateway = made["servers"]["gateway"]
    assert (gateway["host"], gateway["protocol"]) == ("h:1", "ws")
    assert ("security" in gateway, "securitySchemes" in made["components"]) == (takes_tokens, takes_tokens)
