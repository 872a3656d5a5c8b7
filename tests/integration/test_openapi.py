"""The OpenAPI document is valid, and the node answers as it says."""

import re
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from sanic_ws.http.static import LIBRARY
from tests.integration.peers import Answer, call, push_body, unique
from tests.integration.secured import KEY, bearer, refusal, secured, signer

FEW = "key-of-somebody-limited"
PUSHER = "key-of-somebody-who-pushes"
MAX_MESSAGE = 1 << 14
CONN = "/api/v1/connections/{conn}"
PUSH = "/api/v1/push"
BATCH = "/api/v1/push/batch"
NOBODY = push_body({"conn": "nobody-at-all"})
LARGE = NOBODY | {"data": "x" * MAX_MESSAGE}


@pytest.fixture(scope="module")
def node():
    keys = f"all:{KEY},few:{FEW}::conn=few-*,pusher:{PUSHER}:push"
    with secured(api_keys=keys, max_message_bytes=MAX_MESSAGE) as started:
        yield started


@pytest.fixture
async def document(node) -> dict[str, Any]:
    answer = await call(node, "GET", "/docs/openapi.json", key=KEY)
    assert answer.status == 200
    return answer.json


def check(document: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    """Check that the document has an answer, with its headers and the form of its body."""
    responses = document["paths"][path][method.lower()]["responses"]
    assert str(answer.status) in responses, answer
    response = responses[str(answer.status)]
    assert response.get("headers", {}).keys() <= {
        name.title().replace("Www", "WWW") for name in answer.headers
    }
    schema = response["content"][answer.headers["content-type"]]["schema"]
    value = answer.json if answer.headers["content-type"] == "application/json" else answer.body.decode()
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


async def test_document_is_valid(document):
    validate(document)


async def test_document_of_a_node_without_keys_is_valid_and_asks_for_none(nodes):
    answer = await call(nodes[0], "GET", "/docs/openapi.json")
    assert answer.status == 200
    validate(answer.json)
    assert "security" not in answer.body.decode()
    assert '"401"' not in str(answer.json["paths"]["/docs"])


class Call(NamedTuple):
    """A request, and how it is answered."""

    status: int
    method: str
    path: str
    at: str = ""
    body: Any = None
    key: str | None = KEY
    headers: dict[str, str] | None = None


USERS = "/api/v1/users"
MAILBOX = f"{USERS}/mailbox"
GROUP = "/api/v1/groups/{group}"
MEMBER = f"{GROUP}/connections/{{conn}}"
TICKET = "/api/v1/console/ticket"
FOLLOWED = "/api/v1/console/push"
DRAIN = "/api/v1/nodes/{node}/drain"
CALLS = [
    Call(200, "GET", CONN, "/api/v1/connections/{client}"),
    Call(200, "GET", CONN, "/api/v1/connections/{user}"),
    Call(400, "GET", CONN, "/api/v1/connections/a*b"),
    Call(401, "GET", CONN, "/api/v1/connections/a", key=None),
    Call(403, "GET", CONN, "/api/v1/connections/a", key=PUSHER),
    Call(403, "GET", CONN, "/api/v1/connections/a", key=FEW),
    Call(404, "GET", CONN, "/api/v1/connections/nobody-at-all"),
    Call(200, "DELETE", CONN, "/api/v1/connections/{client}"),
    Call(400, "DELETE", CONN, "/api/v1/connections/a*b"),
    Call(401, "DELETE", CONN, "/api/v1/connections/a", key="wrong-key-that-nobody-has"),
    Call(403, "DELETE", CONN, "/api/v1/connections/a", key=FEW),
    Call(404, "DELETE", CONN, "/api/v1/connections/nobody-at-all"),
    Call(200, "GET", GROUP, "/api/v1/groups/nobodys"),
    Call(400, "GET", GROUP, f"/api/v1/groups/{'g' * 129}"),
    Call(401, "GET", GROUP, "/api/v1/groups/g", key=None),
    Call(403, "GET", GROUP, "/api/v1/groups/g", key=FEW),
    *(
        call
        for method in ("PUT", "DELETE")
        for call in (
            Call(200, method, MEMBER, "/api/v1/groups/%C3%A4%2F%20g/connections/{client}"),
            Call(400, method, MEMBER, "/api/v1/groups/g/connections/a*b"),
            Call(401, method, MEMBER, "/api/v1/groups/g/connections/a", key=None),
            Call(403, method, MEMBER, "/api/v1/groups/g/connections/few-a", key=FEW),
            Call(404, method, MEMBER, "/api/v1/groups/g/connections/nobody-at-all"),
        )
    ),
    Call(200, "GET", USERS, f"{USERS}?userId={{id}}&tenantId=7"),
    Call(200, "GET", USERS, f"{USERS}?userId=nobody&tenantId=&fromType=web"),
    Call(400, "GET", USERS),
    Call(400, "GET", USERS, f"{USERS}?userId=1&more=2"),
    Call(401, "GET", USERS, f"{USERS}?userId=1", key=None),
    Call(403, "GET", USERS, f"{USERS}?userId=1", key=FEW),
    *(
        call
        for method in ("GET", "DELETE")
        for call in (
            Call(200, method, MAILBOX, f"{MAILBOX}?userId={{id}}&tenantId=7"),
            Call(400, method, MAILBOX, f"{MAILBOX}?userId=1&fromType=web"),
            Call(401, method, MAILBOX, f"{MAILBOX}?userId=1", key=None),
            Call(403, method, MAILBOX, f"{MAILBOX}?userId=1", key=FEW),
        )
    ),
    *(
        call
        for path, schema in (("nodes", "nodes"), ("stats", "stats"))
        for call in (
            Call(200, "GET", f"/api/v1/{path}"),
            Call(401, "GET", f"/api/v1/{path}", key=None),
            Call(403, "GET", f"/api/v1/{path}", key=PUSHER),
        )
    ),
    *(
        Call(200, "POST", PUSH, body=push_body(to, **content))
        for to in (
            {"conn": "{client}"},
            {"conns": ["{client}", "{user}", "nobody-at-all"]},
            {"user": {"userId": "{id}", "tenantId": 7}},
            {"users": [{"userId": "{id}", "tenantId": "7", "fromType": None}]},
            {"group": "g"},
            {"all": True},
        )
        for content in ({}, {"raw": "x"}, {"raw_base64": "eA=="})
    ),
    Call(202, "POST", PUSH, body=NOBODY | {"wait": "none"}),
    Call(400, "POST", PUSH, body=NOBODY | {"to": {"conn": "a b"}}),
    Call(400, "POST", PUSH, body=b"{"),
    Call(401, "POST", PUSH, body=NOBODY, key=None),
    Call(403, "POST", PUSH, body=NOBODY, key=FEW),
    Call(413, "POST", PUSH, body=LARGE),
    Call(200, "POST", BATCH, body={"pushes": []}),
    Call(200, "POST", BATCH, body={"pushes": [NOBODY, NOBODY | {"wait": "none"}]}),
    Call(
        200,
        "POST",
        BATCH,
        body=b'{"to":{"all":true},"raw":"x"}\n',
        headers={"Content-Type": "application/x-ndjson"},
    ),
    Call(400, "POST", BATCH, body={"pushes": [NOBODY, {}]}),
    Call(401, "POST", BATCH, body={"pushes": []}, key=None),
    Call(403, "POST", BATCH, body={"pushes": [NOBODY]}, key=FEW),
    Call(413, "POST", BATCH, body={"pushes": [NOBODY, LARGE]}),
    *(
        call
        for path in ("/docs", "/docs/openapi.json", "/docs/asyncapi.json", "/metrics")
        for call in (
            Call(200, "GET", path),
            Call(401, "GET", path, key=None),
            Call(403, "GET", path, key=PUSHER),
        )
    ),
    Call(200, "GET", "/console"),
    Call(401, "GET", "/console", key=None),
    Call(403, "GET", "/console", key=PUSHER),
    Call(400, "GET", "/console/ws", key=None),
    Call(200, "POST", TICKET),
    Call(401, "POST", TICKET, key=None),
    Call(403, "POST", TICKET, key=PUSHER),
    *(
        Call(200, "POST", FOLLOWED, body=push_body(to, **content))
        for to in ({"conn": "{client}"}, {"user": {"userId": "{id}", "tenantId": 7}}, {"all": True})
        for content in ({}, {"raw": "x"})
    ),
    Call(202, "POST", FOLLOWED, body=NOBODY | {"wait": "none"}),
    Call(400, "POST", FOLLOWED, body=NOBODY | {"to": {"group": ""}}),
    Call(401, "POST", FOLLOWED, body=NOBODY, key=None),
    Call(403, "POST", FOLLOWED, body=NOBODY, key=FEW),
    Call(413, "POST", FOLLOWED, body=LARGE),
    Call(401, "POST", DRAIN, "/api/v1/nodes/nobody/drain", key=None),
    Call(403, "POST", DRAIN, "/api/v1/nodes/nobody/drain", key=FEW),
    Call(404, "POST", DRAIN, "/api/v1/nodes/nobody/drain"),
    Call(200, "GET", "/livez", key=None),
    Call(200, "GET", "/readyz", key=None),
    *(Call(200, "GET", f"/static/{name}", key=None) for name in LIBRARY),
    Call(400, "GET", "/ws", key=None),
    Call(400, "GET", "/ws", "/ws?sign=a*b", key=None),
]
ELSEWHERE = (
    {("GET", path, status) for path in ("/ws", "/console/ws") for status in ("101", "401", "403", "429")}
    | {("GET", f"/static/{name}", "304") for name in LIBRARY}
    | {("PUT", MEMBER, "429")}
    | {("POST", DRAIN, "200")}
)
"""Tested beside, or where a node is in trouble."""


@pytest.mark.parametrize(
    "made", CALLS, ids=lambda made: f"{made.status} {made.method} {made.at or made.path}"
)
async def test_answer_is_as_documented(node, connect, document, made):
    conn, user = unique("one"), unique("two")
    await connect(node, conn, **bearer(signer.token()))
    await connect(node, user, **bearer(signer.token(user, tenantId=7)))
    names = {"client": conn, "user": user, "id": user}
    answer = await call(
        node,
        made.method,
        fill(made.at or made.path, names),
        fill(made.body, names),
        key=made.key,
        headers=made.headers,
    )
    assert answer.status == made.status, answer
    check(document, made.method, made.path, answer)


def fill(value: Any, names: dict[str, str]) -> Any:
    """Put names in their places."""
    match value:
        case str():
            return re.sub(r"{(\w+)}", lambda found: names[found[1]], value)
        case dict():
            return {name: fill(one, names) for name, one in value.items()}
        case list():
            return [fill(one, names) for one in value]
    return value


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (401, bearer("no-token-at-all")),
        (403, {"origin": "https://elsewhere.example"}),
        (400, {"sign": "a*b"}),
    ],
)
async def test_refused_handshake_is_as_documented(node, document, status, options):
    answer = await refusal(node, **options)
    assert answer.status == status
    check(document, "GET", "/ws", answer)


async def test_every_answer_that_is_documented_is_tested(document):
    documented = {
        (method.upper(), path, status)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status in operation["responses"]
        if status not in ("503", "504")
    }
    tested = {(made.method, made.path, str(made.status)) for made in CALLS}
    assert documented - tested == ELSEWHERE
    assert tested <= documented


async def test_whoever_may_not_read_gets_no_document(node):
    for path in ("/docs", "/docs/openapi.json", "/docs/asyncapi.json"):
        assert (await call(node, "GET", path)).status == 401
        assert (await call(node, "GET", path, key=PUSHER)).status == 403


async def test_page_names_every_call_and_schema_and_fetches_nothing(node, document):
    answer = await call(node, "GET", "/docs", key=KEY)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    page = answer.body.decode()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in page
    for name in document["components"]["schemas"]:
        assert f'<h3 id="{name}">' in page
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    documents = {"/docs/openapi.json", "/docs/asyncapi.json"}
    assert set(links) - documents == {f"#{name}" for name in re.findall(r'<h3 id="(\w+)"', page)}
    assert documents <= set(links)
    assert not re.search(r"<(script|img|link|iframe)|style=|\bon\w+=|https?:|url\(|@import", page)


async def test_id_in_an_address_may_be_percent_encoded(node, connect):
    client = await connect(node, unique("a:b~c"), **bearer(signer.token()))
    encoded = client.conn.replace(":", "%3A").replace("~", "%7e")
    answer = await call(node, "GET", f"/api/v1/connections/{encoded}", key=KEY)
    assert (answer.status, answer.json["conn"]) == (200, client.conn)
    assert (await call(node, "DELETE", f"/api/v1/connections/{encoded}", key=KEY)).json["closed"]
    assert (await client.closed())[0] == 4403


@pytest.mark.parametrize("path", [CONN.format(conn="a"), PUSH, "/livez", "/docs"])
async def test_405_says_which_methods_there_are(node, document, path):
    answer = await call(node, "PATCH", path, key=KEY)
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    template = path.replace("connections/a", "connections/{conn}")
    allowed = {method.upper() for method in document["paths"][template]}
    assert set(answer.headers["allow"].split(", ")) == allowed
