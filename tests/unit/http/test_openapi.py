from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from sanic import HTTPResponse, Sanic

from sanic_ws.app import Gateway
from sanic_ws.core import requests
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS, RESERVED_TYPES
from sanic_ws.core.outcomes import Outcome, Route
from sanic_ws.errors import InvalidField
from sanic_ws.http.openapi import document
from sanic_ws.http.page import CONTENT_SECURITY_POLICY, render
from sanic_ws.http.schemas import SCHEMAS
from sanic_ws.http.static import LIBRARY
from sanic_ws.settings import read_settings


@pytest.fixture
def app():
    made = Sanic("openapi", configure_logging=False)
    Gateway(read_settings("dev", api_keys="somebody:some-key-of-theirs")).attach(made)
    yield made
    Sanic.unregister_app(made)


def test_every_route_is_in_the_document_and_the_reverse(app):
    routes = {
        (re.sub(r"<(\w+):str>", r"{\1}", f"/{route.path}"), method)
        for route in app.router.routes
        # What pages of ours consist of is no call.
        if not route.path.startswith("static/") or route.path.removeprefix("static/") in LIBRARY
        for method in (route.methods if route.path != "ws" else ["GET"])
    }
    described = {
        (path, method.upper()) for path, methods in document(app)["paths"].items() for method in methods
    }
    assert described == routes
    assert len(routes) > 10


def test_document_is_valid_json_and_valid_openapi(app):
    validate(json.loads(json.dumps(document(app))))


def test_every_operation_says_what_it_does_and_what_key_it_needs(app):
    for path, methods in document(app)["paths"].items():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            needs_key = path.startswith(("/api", "/docs", "/metrics"))
            assert ("security" in operation) == needs_key, path
            assert ("401" in operation["responses"]) == (
                needs_key or path == "/console" or path.endswith("/ws")
            )


def test_routes_of_an_application_are_left_out(app):
    @app.get("/own")
    async def own(_: object) -> HTTPResponse: ...

    assert "/own" not in document(app)["paths"]


def test_bounds_are_those_of_the_code():
    assert SCHEMAS["Outcome"]["enum"] == [str(outcome) for outcome in Outcome]
    assert SCHEMAS["Route"]["enum"] == [str(route) for route in Route]
    message = SCHEMAS["MessagePush"]["properties"]
    assert message["id"]["maxLength"] == MAX_PUSH_ID_CHARS
    assert set(message["type"]["not"]["enum"]) == RESERVED_TYPES
    assert message["timeout_ms"]["maximum"] == requests.MAX_TIMEOUT_S * 1000
    kinds = ("Message", "Asking", "Text", "Binary")
    fields = {name for kind in kinds for name in SCHEMAS[f"{kind}Push"]["properties"]}
    assert fields == requests._FIELDS
    asking = SCHEMAS["AskingPush"]["properties"]
    assert (asking["wait"]["enum"], asking["wait_for"]["enum"]) == (["ack", "reply"], ["first", "all"])
    assert {*message["wait"]["enum"], *asking["wait"]["enum"]} == set(requests.WAITS)
    targets = {name for one in SCHEMAS["Target"]["oneOf"] for name in one["properties"]}
    assert targets == set(requests._TARGETS)


@pytest.mark.parametrize("text", ["", "/w==", "/x==", "/wA=", "/wB=", "AAAA", "A", "AA", "AA=", "AA-_", "=="])
def test_base64_is_what_the_code_takes(text):
    try:
        requests.read_base64(text, "raw_base64")
    except InvalidField:
        taken = False
    else:
        taken = True
    pattern = SCHEMAS["BinaryPush"]["properties"]["raw_base64"]["pattern"]
    assert bool(re.search(pattern, text)) is taken


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name):
    Draft202012Validator.check_schema(SCHEMAS[name])


def test_page_shows_what_is_in_the_document_as_text(app):
    page = render(document(app) | {"info": {"title": "<script>", "version": "&", "summary": '"x"'}})
    assert "<script" not in page
    assert "&lt;script&gt; &amp;" in page


def test_page_allows_its_style_and_nothing_else():
    parts = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert parts.pop("style-src").startswith("'sha256-")
    assert set(parts.values()) == {"'none'"}
