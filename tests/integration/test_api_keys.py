"""A production node: who may do what, and what it refuses to start with."""

import http.client

import pytest

from tests.integration.peers import call, eventually, push_body, run_command, unique
from tests.servers import GatewayNode, free_port

KEYS = (
    "all:key-of-all,pusher:key-of-pusher:push,reader:key-of-reader:read,boss:key-of-boss:admin,"
    "all:next-key-of-all,few:key-of-few::conn=few-*+user=eu-*+tenant=9"
)
CALLS = [
    ("push", "POST", "/api/v1/push", push_body({"conn": "nobody-at-all"})),
    ("push", "POST", "/api/v1/push/batch", {"pushes": []}),
    ("read", "GET", "/api/v1/connections/nobody-at-all", None),
    ("admin", "DELETE", "/api/v1/connections/nobody-at-all", None),
    ("read", "GET", "/api/v1/users?userId=1", None),
    ("read", "GET", "/api/v1/nodes", None),
    ("read", "GET", "/api/v1/stats", None),
]
each_call = pytest.mark.parametrize(
    ("scope", "method", "path", "body"), CALLS, ids=[f"{method} {path}" for _, method, path, _ in CALLS]
)
PASSED = (http.client.OK, http.client.NOT_FOUND)


@pytest.fixture(scope="module")
def node(cluster):
    env = cluster.env | {"SANIC_WS_PREFIX": unique("own"), "SANIC_WS_API_KEYS": KEYS}
    with GatewayNode("serve", name="serve", env=env | {"SANIC_WS_DRAIN_S": "0.1"}) as started:
        yield started


@each_call
async def test_without_a_key_is_401(node, scope, method, path, body):
    answer = await call(node, method, path, body)
    assert answer.status == 401
    assert answer.error["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@each_call
@pytest.mark.parametrize("key", ["wrong", "key-of-al", "key-of-all2", "all:key-of-all", "ä", " "])
async def test_with_a_key_that_is_not_known_is_401(node, scope, method, path, body, key):
    headers = {"Authorization": f"Bearer {key}".encode().decode("latin-1")}
    answer = await call(node, method, path, body, headers=headers)
    assert answer.status == 401
    assert answer.error["code"] == "unauthorized"


@each_call
async def test_with_the_scope_passes(node, scope, method, path, body):
    key = {"push": "key-of-pusher", "read": "key-of-reader", "admin": "key-of-boss"}[scope]
    assert (await call(node, method, path, body, key=key)).status in PASSED


@each_call
async def test_with_another_scope_is_403(node, scope, method, path, body):
    keys = {"push": "key-of-pusher", "read": "key-of-reader", "admin": "key-of-boss"}
    for key in (key for other, key in keys.items() if other != scope):
        answer = await call(node, method, path, body, key=key)
        assert answer.status == 403
        assert answer.error["code"] == "forbidden"


@each_call
async def test_without_named_scopes_a_key_may_do_all(node, scope, method, path, body):
    assert (await call(node, method, path, body, key="key-of-all")).status in PASSED


@pytest.mark.parametrize("header", ["key-of-all", "Basic key-of-all", "Bearer", ""])
async def test_other_forms_of_authorization_are_401(node, header):
    answer = await call(node, "GET", "/api/v1/stats", headers={"Authorization": header})
    assert answer.status == 401


async def test_key_in_the_query_is_not_taken(node):
    assert (await call(node, "GET", "/api/v1/stats?key=key-of-all&token=key-of-all")).status == 401


async def test_bad_input_without_a_key_is_401_not_400(node):
    assert (await call(node, "POST", "/api/v1/push", b"{")).status == 401


async def test_health_needs_no_key(node):
    for path in ("/livez", "/readyz"):
        assert (await call(node, "GET", path)).status == 200


async def test_identity_is_not_trusted_unless_chosen(node, connect):
    client = await connect(node, unique())
    await client.send("user_info", {"userId": 1, "fromType": "web"}, id="m-1")
    error = await client.next("error")
    assert (error["data"]["code"], error["id"]) == ("identity_not_trusted", "m-1")
    assert await client.is_alive()


async def test_pages_of_other_origins_may_not_connect_unless_chosen(node, connect):
    with pytest.raises(Exception, match="403"):
        await connect(node, unique(), origin="https://elsewhere.example")
    assert await (await connect(node, unique())).is_alive()


async def test_two_keys_of_one_name_are_both_good(node):
    for key in ("key-of-all", "next-key-of-all"):
        assert (await call(node, "GET", "/api/v1/stats", key=key)).status == 200


@pytest.mark.parametrize(
    "to",
    [
        {"conn": "few-1"},
        {"conns": ["few-1", "few-2"]},
        {"user": {"userId": "eu-1", "tenantId": 7}},
        {"user": {"userId": 1, "tenantId": 9, "fromType": "web"}},
        {"users": [{"userId": "eu-1"}, {"userId": 2, "tenantId": 9}]},
    ],
)
async def test_limited_key_reaches_its_targets(node, to):
    answer = await call(node, "POST", "/api/v1/push", push_body(to), key="key-of-few")
    assert (answer.status, answer.json["outcome"]) == (200, "offline")


BEYOND = [
    ({"conn": "other-1"}, "to.conn"),
    ({"conns": ["few-1", "other-1"]}, "to.conns[1]"),
    ({"conns": ["other-1"]}, "to.conns[0]"),
    ({"user": {"userId": 1}}, "to.user"),
    ({"user": {"userId": 1, "tenantId": 90}}, "to.user"),
    ({"users": [{"userId": "eu-1"}, {"userId": "us-1"}]}, "to.users[1]"),
    ({"all": True}, "to.all"),
]


@pytest.mark.parametrize(("to", "field"), BEYOND)
async def test_limited_key_reaches_nothing_else(node, to, field):
    answer = await call(node, "POST", "/api/v1/push", push_body(to), key="key-of-few")
    assert answer.status == 403
    assert (answer.error["code"], answer.error["field"]) == ("forbidden", field)
    pushes = {"pushes": [push_body({"conn": "few-1"}), push_body(to)]}
    answer = await call(node, "POST", "/api/v1/push/batch", pushes, key="key-of-few")
    assert answer.status == 403
    assert answer.error["field"] == f"pushes[1].{field}"


async def test_batch_beyond_a_keys_reach_sends_nothing(node, connect):
    client = await connect(node, unique("few"))
    pushes = {"pushes": [push_body({"conn": client.conn}), push_body({"conn": "other-1"})]}
    assert (await call(node, "POST", "/api/v1/push/batch", pushes, key="key-of-few")).status == 403
    assert await client.is_alive()


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/api/v1/connections/other-1", "conn"),
        ("DELETE", "/api/v1/connections/other-1", "conn"),
        ("GET", "/api/v1/users?userId=1", "userId"),
    ],
)
async def test_limited_key_sees_and_closes_nothing_else(node, method, path, field):
    answer = await call(node, method, path, key="key-of-few")
    assert (answer.status, answer.error["field"]) == (403, field)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/connections/few-1", 404),
        ("DELETE", "/api/v1/connections/few-1", 404),
        ("GET", "/api/v1/users?userId=eu-1", 200),
        ("GET", "/api/v1/nodes", 200),
    ],
)
async def test_limited_key_sees_and_closes_its_targets(node, method, path, status):
    assert (await call(node, method, path, key="key-of-few")).status == status


async def test_keys_are_not_logged(node):
    await call(node, "GET", "/api/v1/stats", key="key-of-all")
    await call(node, "GET", "/api/v1/stats", key="mistyped-key")
    logged = node.log.read_text()
    assert "key-of" not in logged
    assert "mistyped-key" not in logged


async def test_trust_and_open_origins_are_warned_about_by_name(cluster):
    env = cluster.env | {
        "SANIC_WS_PREFIX": unique("own"),
        "SANIC_WS_API_KEYS": "a:b",
        "SANIC_WS_TRUST_CLIENT_IDENTITY": "true",
        "SANIC_WS_ALLOWED_ORIGINS": "*",
        "SANIC_WS_DRAIN_S": "0.1",
    }
    with GatewayNode("serve", name="open", env=env) as node:
        logged = node.log.read_text()
        await eventually(lambda: node.get_status("/readyz") == 200, "ready")
    assert "unsafe setting setting=SANIC_WS_TRUST_CLIENT_IDENTITY" in logged
    assert "setting=SANIC_WS_ALLOWED_ORIGINS" in logged
    assert 'setting=SANIC_WS_API_KEYS reason="the key of a is shorter than 16 characters"' in logged


@pytest.mark.parametrize("keys", [None, "", " ", ","])
async def test_refuses_to_start_without_a_key(cluster, keys):
    env = cluster.env | {"SANIC_WS_PORT": str(free_port())}
    ended = await run_command("serve", env=env if keys is None else env | {"SANIC_WS_API_KEYS": keys})
    assert ended.code == 2
    assert "SANIC_WS_API_KEYS" in ended.err
