"""Attacks on who clients and publishers are; the numbers are those of the list of threats.

Whatever is sent, no token, key or connection id of these tests may be in a log or an error of the nodes.
"""

import base64
import http.client
import json
import time
from dataclasses import fields
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus

from sanic_ws.registry import Claimed
from tests.integration.peers import call, push_body, run_command, unique
from tests.integration.secured import (
    KEY,
    authenticate,
    bearer,
    error_code,
    push_to,
    raw_answer,
    refusal,
    registered,
    secured,
    signer,
)
from tests.servers import LOOPBACK, GatewayNode, free_port
from tests.tokens import SECRET, KeyServer, claims, ec_key, encode, rsa_key, shared_secret, unsigned

ORIGIN = "https://app.example"
OWN = {"SANIC_WS_REDIS_URL": "memory://", "SANIC_WS_AMQP_URL": "memory://", "SANIC_WS_DRAIN_S": "0.1"}


@pytest.fixture(scope="module")
def node():
    env = {"jwt_issuer": "https://issuer.example", "jwt_audience": "gateway", "allowed_origins": ORIGIN}
    with secured(**env) as started:
        yield started
        log = started.log.read_text()
    for secret in (SECRET, KEY, "eyJ", "wrong-key"):
        assert secret not in log
    assert "Traceback" not in log


def token(user="eve", **more) -> str:
    return signer.token(user, **{"iss": "https://issuer.example", "aud": "gateway", **more})


# 1: pages from elsewhere


@pytest.mark.parametrize(
    "origin",
    [
        "https://elsewhere.example",
        "null",
        "",
        "https://app.example.elsewhere.example",
        "https://elsewhere-app.example",
        "https://app.exampl",
        "https://app.example.",
        "https://app.example:8443",
        "https://app.example/",
        "http://app.example",
        "https://APP.example",
        "https://app.example, https://elsewhere.example",
        "https://user@app.example",
        "app.example",
        "*",
    ],
)
async def test_1_origin_from_elsewhere_is_403(node, origin):
    options = bearer(token())
    options["additional_headers"]["Origin"] = origin
    answer = await refusal(node, unique(), **options)
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")


async def test_1_origin_that_is_allowed_connects(node, connect):
    assert await (await connect(node, unique(), origin=ORIGIN, **bearer(token()))).is_alive()


# 2: tokens that prove nothing

other = shared_secret("another-secret-of-forty-characters-01234")
header, body, signature = token().split(".")
BAD_TOKENS = {
    "none": unsigned(),
    "None": unsigned(algorithm="None"),
    "no algorithm": unsigned(algorithm=None),
    "signature cut off": f"{header}.{body}.",
    "another's signature": other.token(iss="https://issuer.example", aud="gateway"),
    "another algorithm": signer.token(header={"alg": "HS512"}),
    "changed": f"{header}.{encode(json.dumps(claims('adam')).encode())}.{signature}",
    "expired": token(exp=int(time.time()) - 1),
    "not yet valid": token(nbf=int(time.time()) + 86_400),
    "no exp": token(exp=None),
    "endless": token(exp=float("inf")),
    "wrong issuer": token(iss="https://issuer.example.elsewhere.example"),
    "no issuer": token(iss=None),
    "wrong audience": token(aud="other"),
    "audience as a part": token(aud="gateway2"),
    "no audience": token(aud=None),
    "nobody": token(None),
    "user 0": token(0),
    "empty": "",
    "no token": "nonsense",
    "dots": "..",
    "long": token(more="x" * 7000),
    "critical": signer.token(header={"crit": ["b64"], "b64": False}),
}
bad_tokens = pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())


@bad_tokens
async def test_2_bad_token_is_401(node, bad):
    for options in (bearer(bad), {"query": {"token": bad}}):
        answer = await refusal(node, unique(), **options)
        assert (answer.status, answer.error["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        for part in bad.split("."):
            assert len(part) < 8 or part.encode() not in answer.body


@bad_tokens
async def test_2_bad_token_after_the_handshake_closes_with_4401(node, connect, bad):
    client = await connect(node, unique())
    await client.send("auth", {"token": bad})
    assert (await client.closed())[0] == 4401


async def test_2_nothing_that_a_token_names_is_fetched():
    owner, stranger = ec_key(), ec_key()
    with (
        KeyServer(stranger.jwk("s")) as elsewhere,
        KeyServer(owner.jwk("k")) as keys,
        secured(jwt_secret=None, jwt_jwks_url=keys.url) as node,
    ):
        for more in (
            {"kid": "s"},
            {"kid": "s", "jku": elsewhere.url},
            {"kid": "k", "jku": elsewhere.url},
            {"kid": "k", "x5u": elsewhere.url},
            {"kid": elsewhere.url},
            {"kid": "k", "jwk": stranger.jwk("k")},
            {"jku": elsewhere.url},
            {"kid": "../../../etc/passwd"},
            {"kid": "k' OR '1'='1"},
        ):
            assert (await refusal(node, **bearer(stranger.token(header=more)))).status == 401
        assert elsewhere.asked == []
        assert len(keys.asked) <= 2


@pytest.mark.parametrize("make", [rsa_key, ec_key])
async def test_2_public_key_is_not_taken_for_a_secret(make, tmp_path):
    owner, file = make(), tmp_path / "key.pem"
    file.write_text(owner.pem)
    with secured(jwt_secret=None, jwt_public_key=file) as node:
        for forged in (shared_secret(owner.pem), shared_secret(owner.pem.strip())):
            assert (await refusal(node, **bearer(forged.token()))).status == 401
        assert (await refusal(node, **bearer(unsigned()))).status == 401


# 3: a token that ends during the session


async def test_3_session_ends_with_its_token(node, connect):
    exp = time.time() + 3
    clients = [await connect(node, unique(), **bearer(token(exp=exp))), await connect(node, unique())]
    await authenticate(clients[1], token(exp=exp))
    for client in clients:
        assert (await client.closed())[0] == 4401
    assert exp <= time.time() <= exp + 5


async def test_3_session_goes_on_if_it_is_renewed(node, connect):
    exp = time.time() + 3
    ends = await connect(node, unique(), **bearer(token(exp=exp)))
    goes_on = await connect(node, unique(), **bearer(token(exp=exp)))
    assert await authenticate(goes_on, token()) == {"userId": "eve"}
    await ends.closed()
    assert await goes_on.is_alive()


async def test_3_old_token_renews_nothing(node, connect):
    old = token(exp=time.time() + 3)
    client = await connect(node, unique(), **bearer(old))
    await authenticate(client, old)
    assert (await client.closed())[0] == 4401
    assert (await refusal(node, **bearer(old))).status == 401


# 4: a client's own word


async def test_4_clients_word_is_not_taken(node, connect):
    client = await connect(node, unique(), **bearer(token()))
    assert await error_code(client, "user_info", {"userId": "adam"}) == "identity_not_trusted"
    assert await error_code(client, "user_info", {"userId": "eve"}) == "identity_not_trusted"
    assert (await registered(node, client.conn))["user"] == {"userId": "eve"}
    assert await push_to(node, {"user": {"userId": "adam"}}) == "offline"


async def test_4_token_wins_where_clients_are_trusted(connect):
    with secured(trust_client_identity=True) as node:
        trusted = await connect(node, unique(), user={"userId": "adam"})
        assert (await registered(node, trusted.conn))["user"] == {"userId": "adam"}
        proven = await connect(node, unique(), **bearer(signer.token("eve")))
        assert await error_code(proven, "user_info", {"userId": "adam"}) == "identity_not_trusted"
        assert (await registered(node, proven.conn))["user"] == {"userId": "eve"}
        assert await authenticate(trusted, signer.token("eve")) == {"userId": "eve"}
        assert await error_code(trusted, "user_info", {"userId": "adam"}) == "identity_not_trusted"
        assert (await refusal(node, **bearer(unsigned()))).status == 401


# 5: another's id


@pytest.mark.parametrize(
    "thief", [{"user": "adam"}, {"tenantId": 7}, {"bankId": 7}, {"user": "Eve"}, {"user": "eve "}]
)
async def test_5_id_of_a_live_connection_is_not_given_to_another(node, connect, thief):
    sign = unique("sign")
    victim = await connect(node, sign, **bearer(token("eve")))
    answer = await refusal(node, sign, **bearer(token(**{"user": "eve", **thief})))
    assert (answer.status, answer.error["code"]) == (403, "identity_taken")
    assert sign.encode() not in answer.body
    late = await connect(node, sign)
    await late.send("auth", {"token": token(**{"user": "eve", **thief})}, id="m-1")
    error = await late.next("error")
    assert (error["data"]["code"], error["id"]) == ("identity_taken", "m-1")
    assert (await late.closed())[0] == 1008
    assert await victim.is_alive()
    assert await push_to(node, {"conn": sign}) == "delivered"
    await victim.next("hello")
    assert sign not in node.log.read_text()


async def test_5_id_alone_opens_nothing(node, connect):
    """Whoever knows an id but has no token neither replaces its owner nor hears what is meant for it."""
    sign = unique("sign")
    victim = await connect(node, sign, **bearer(token("eve")))
    stranger = await connect(node, sign)
    assert stranger.connected["user"] is None
    assert await push_to(node, {"conn": sign}) == "delivered"
    await victim.next("hello")
    assert await stranger.is_alive()


async def test_5_same_user_may_come_back(node, connect):
    sign = unique("sign")
    first = await connect(node, sign, **bearer(token("eve", fromType="web")))
    second = await connect(node, sign, **bearer(token("eve", fromType="phone")))
    assert (await first.closed())[0] == 4409
    assert await second.is_alive()


registry_refuses = pytest.mark.skipif(
    "taken" not in {field.name for field in fields(Claimed)}, reason="this registry refuses no identity"
)


@registry_refuses
async def test_5_id_of_a_connection_elsewhere_is_not_given_to_another(make_cluster, connect):
    one, two = make_cluster(2, trust_client_identity=False, jwt_secret=SECRET, allowed_origins="").nodes
    sign = unique("sign")
    victim = await connect(one, sign, **bearer(signer.token("eve")))
    answer = await refusal(two, sign, **bearer(signer.token("adam")))
    assert (answer.status, answer.error["code"]) == (403, "identity_taken")
    late = await connect(two, sign)
    await late.send("auth", {"token": signer.token("adam")})
    assert (await late.next("error"))["data"]["code"] == "identity_taken"
    assert (await late.closed())[0] == 1008
    answer = await call(two, "POST", "/api/v1/push", push_body({"conn": sign}))
    assert answer.json["outcome"] == "delivered"
    await victim.next("hello")
    moved = await connect(two, sign, **bearer(signer.token("eve")))
    assert (await victim.closed())[0] == 4409
    assert await moved.is_alive()


@registry_refuses
async def test_5_id_is_not_given_to_another_after_its_owner_has_gone(node, connect):
    sign = unique("sign")
    owner = await connect(node, sign, **bearer(token("eve")))
    await owner.close()
    assert (await refusal(node, sign, **bearer(token("adam")))).status == 403
    assert await (await connect(node, sign, **bearer(token("eve")))).is_alive()


# 6: ids that are none

BAD_SIGNS = [
    "a\r\nb",
    "a\x1b[31mb",
    "a\0b",
    "a{b}",
    "{a}",
    "*",
    "a*",
    "a b",
    " ",
    "",
    "a\x1fb",
    "a/b",
    "a\u2028b",
    "\uff41",
    "x" * 10_000,
]


@pytest.mark.parametrize("sign", BAD_SIGNS)
async def test_6_id_that_is_none_is_400(node, sign):
    before = node.log.read_bytes()
    answer = await refusal(node, sign, **bearer(token()))
    assert (answer.status, answer.error["field"]) == (400, "sign")
    assert node.log.read_bytes() == before


@pytest.mark.parametrize("sign", ["%0d%0aSet-Cookie:%20a=b", "%1b%5d0;x%07", "%00", "%ff%fe", "a&sign=b"])
async def test_6_no_bytes_of_an_id_come_back(node, sign):
    request = (
        f"GET /ws?sign={sign} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
    )
    answer = await raw_answer(node, request.encode())
    assert answer.status == 400
    assert "set-cookie" not in answer.headers
    assert answer.body.isascii()
    assert not any(byte < 0x20 for byte in answer.body)


@pytest.mark.parametrize("path", ["*", "a{b}", "a%00b", "a%0d%0ab", "a b", "x" * 300])
async def test_6_nor_is_it_an_id_for_publishers(node, path):
    answer = await call(node, "GET", f"/api/v1/connections/{quote(path, safe='%')}", key=KEY)
    assert answer.status in (400, 404)
    answer = await call(node, "POST", "/api/v1/push", push_body({"conn": path}), key=KEY)
    assert (answer.status, answer.error["field"]) == (400, "to.conn")


# 7: publishers without a key of ours


@pytest.mark.parametrize("key", [None, "wrong-key", KEY[:-1], KEY + "x", KEY.upper(), "backend", SECRET])
async def test_7_push_without_a_key_of_ours_is_401(node, connect, key):
    client = await connect(node, unique(), **bearer(token()))
    answer = await call(node, "POST", "/api/v1/push", push_body({"conn": client.conn}), key=key)
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")
    assert key is None or key.encode() not in answer.body
    assert await client.is_alive()


async def test_7_clients_token_is_no_key(node):
    assert (await call(node, "POST", "/api/v1/push", push_body({"conn": "a"}), key=token())).status == 401


async def test_7_key_is_no_clients_token(node):
    assert (await refusal(node, **bearer(KEY))).status == 401


@pytest.mark.parametrize("key", [b"\xff\xfe", b"\xe4", b"a" * 7000])
async def test_7_key_of_any_bytes_is_401(node, key):
    request = b"GET /api/v1/stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key + b"\r\n\r\n"
    assert (await raw_answer(node, request)).status == 401


async def test_7_key_of_another_prefix_is_401(node):
    with secured(api_keys="backend:key-of-another-prefix") as another:
        assert (await call(another, "GET", "/api/v1/stats", key="key-of-another-prefix")).status == 200
        assert (await call(another, "GET", "/api/v1/stats", key=KEY)).status == 401
    assert (await call(node, "GET", "/api/v1/stats", key="key-of-another-prefix")).status == 401


async def test_7_key_limited_to_other_targets_is_403(connect):
    with secured(api_keys=f"backend:{KEY}:push:conn=web-*") as node:
        client = await connect(node, unique("app"), **bearer(signer.token()))
        answer = await call(node, "POST", "/api/v1/push", push_body({"conn": client.conn}), key=KEY)
        assert (answer.status, answer.error["field"]) == (403, "to.conn")
        assert client.conn.encode() not in answer.body
        assert (await call(node, "GET", "/api/v1/stats", key=KEY)).status == 403
        assert await client.is_alive()


# 17: what is not for everybody


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/console/ws",
        "/console/ws?token=a",
        "/api/v1/console",
        "/api/v1/console/ticket",
        "/api/v1/console/push",
        "/api/v1/nodes/a/drain",
        "/docs",
        "/docs/openapi.json",
        "/openapi.json",
        "/swagger",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/stats",
        "/api/v1/stats/",
        "/api/v1//stats",
        "/api/v1/nodes",
        "/api/v1/users?userId=1",
        "/api/v1/connections/a",
        "/api/v1/push",
        "/api/v1/push/batch",
        "/echo",
        "/.env",
        "/..%2f..%2fetc/passwd",
    ],
)
async def test_17_nothing_is_told_without_a_key(node, method, path):
    answer = await call(node, method, path)
    nothing = {http.client.UNAUTHORIZED, http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED}
    # To whom is no WebSocket client.
    assert answer.status in nothing | ({http.client.BAD_REQUEST} if path.startswith("/console/ws") else set())
    assert method == "HEAD" or answer.error


@pytest.mark.parametrize("path", ["/console", "/console/"])
async def test_17_console_is_an_empty_page_without_a_key_and_shows_nothing(node, path):
    answer = await call(node, "GET", path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="sanic_ws"')
    assert b"secured" not in answer.body
    for method in ("POST", "HEAD", "DELETE", "PUT"):
        assert (await call(node, method, path)).status == http.client.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("query", ["", "?token=", "?token=a.b", f"?token={KEY}", "?token=a&token=b"])
async def test_17_console_shows_nothing_to_whom_has_no_ticket(node, query):
    with pytest.raises(InvalidStatus) as caught:
        await connect_websocket(f"ws://{LOOPBACK}:{node.port}/console/ws{query}", proxy=None)
    assert caught.value.response.status_code == http.client.UNAUTHORIZED
    assert KEY.encode() not in caught.value.response.body


async def test_17_health_tells_no_more_than_health(node):
    assert set((await call(node, "GET", "/livez")).json) == {"live"}
    assert set((await call(node, "GET", "/readyz")).json) == {
        "ready",
        "node",
        "registry",
        "broker",
        "draining",
    }


# 18: weak settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS", ""),
        ("API_KEYS", "backend"),
        ("API_KEYS", f"backend:{KEY}:everything"),
        ("API_KEYS", f"backend:{KEY}:push:"),
        ("API_KEYS", f"one:{KEY},two:{KEY}"),
        ("JWT_SECRET", "short-secret-that-is-31-bytes-l"),
        ("JWT_JWKS_URL", "http://keys.example/jwks"),
        ("JWT_PUBLIC_KEY", "no-key-and-no-file"),
        ("JWT_PUBLIC_KEY", rsa_key(1024).pem),
        ("REDIS_URL", ""),
        ("AMQP_URL", ""),
    ],
)
async def test_18_serve_refuses_by_name(name, value):
    env = OWN | {"SANIC_WS_API_KEYS": f"backend:{KEY}", "SANIC_WS_PORT": str(free_port())}
    ended = await run_command("serve", env=env | {f"SANIC_WS_{name}": value})
    assert (ended.code, ended.out) == (2, "")
    assert f"SANIC_WS_{name}" in ended.err
    assert KEY not in ended.err
    assert not value or value not in ended.err
    assert "Traceback" not in ended.err


async def test_18_serve_refuses_two_kinds_of_keys():
    env = OWN | {"SANIC_WS_API_KEYS": f"backend:{KEY}", "SANIC_WS_PORT": str(free_port())}
    both = {"SANIC_WS_JWT_SECRET": SECRET, "SANIC_WS_JWT_JWKS_URL": "https://keys.example"}
    ended = await run_command("serve", env=env | both)
    assert ended.code == 2
    assert "SANIC_WS_JWT_JWKS_URL" in ended.err
    assert SECRET not in ended.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_18_dev_is_for_this_machine(host):
    ended = await run_command("dev", env={"SANIC_WS_HOST": host, "SANIC_WS_PORT": str(free_port())})
    assert ended.code == 2
    assert "SANIC_WS_HOST" in ended.err


def logged_at_start(**env) -> str:
    with GatewayNode("serve", env=OWN | {f"SANIC_WS_{name}": value for name, value in env.items()}) as node:
        return node.log.read_text()


async def test_18_serve_warns_by_name():
    log = logged_at_start(API_KEYS="weak:pw,strong:" + KEY, TRUST_CLIENT_IDENTITY="true", ALLOWED_ORIGINS="*")
    assert 'unsafe setting setting=SANIC_WS_TRUST_CLIENT_IDENTITY reason="it is on' in log
    assert 'setting=SANIC_WS_ALLOWED_ORIGINS reason="it holds *' in log
    assert "the key of weak is shorter than 16 characters" in log
    assert "the key of strong" not in log
    assert KEY not in log


async def test_18_serve_warns_that_clients_are_anonymous():
    assert "all clients are anonymous" in logged_at_start(API_KEYS=f"backend:{KEY}")


async def test_18_serve_has_nothing_to_warn_about_where_all_is_well():
    log = logged_at_start(API_KEYS=f"backend:{KEY}", JWT_SECRET=SECRET, ALLOWED_ORIGINS=ORIGIN)
    assert "WARNING" not in log


# Of all rows: what is secret stays so


async def test_no_secret_is_in_a_log_or_an_error(connect):
    sign, query, head, late, old, key = (unique("secret") for _ in range(6))
    bodies = []
    with secured(api_keys=f"backend:{KEY},limited:{key}-limited:push:conn=x") as node:
        tokens = [signer.token(query), signer.token(head), signer.token(late)]
        first = await connect(node, sign, query={"token": tokens[0]})
        bodies.append(await refusal(node, sign, **bearer(tokens[1])))
        bodies.append(await refusal(node, sign, query={"token": tokens[1] + "x"}))
        bodies.append(await refusal(node, f"{sign}*", **bearer(tokens[1])))
        bodies.append(await refusal(node, sign, query={"token": signer.token(old, exp=1)}))
        bodies.append(await refusal(node, sign, origin=f"https://{key}.example"))
        second = await connect(node, sign)
        await second.send("auth", {"token": tokens[2]})
        errors = [await second.next("error")]
        third = await connect(node, sign)
        await third.send("auth", {"token": tokens[2] + "x"})
        errors.append(await third.next("error"))
        await third.closed()
        await first.send("auth", {"token": tokens[2]})
        errors.append(await first.next("error"))
        for wrong in (key, f"{key}-limited"):
            bodies.append(await call(node, "GET", f"/api/v1/connections/{sign}", key=wrong))
            bodies.append(await call(node, "POST", "/api/v1/push", push_body({"conn": sign}), key=wrong))
            bodies.append(await call(node, "POST", f"/api/v1/{wrong}", key=wrong))
        bodies.append(await call(node, "POST", "/api/v1/push", push_body({"conn": f"{sign}*"}), key=KEY))
        bodies.append(await call(node, "GET", f"/ws?sign={sign}&token={tokens[0]}"))
        await first.close()
        node.stop(keep_data=True)
        said = [node.log.read_text(), *(str(answer.body) + str(answer.headers) for answer in bodies)]
    assert {answer.status for answer in bodies} == {400, 401, 403, 404}
    said += [json.dumps(error) for error in errors]
    secrets = [sign, key, SECRET, KEY, *(part for text in tokens for part in text.split("."))]
    for text in said:
        for secret in secrets:
            assert secret not in text
