"""Bad input: every call answers with the contract's error; no client makes a node stumble."""

import asyncio
import json
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus

from tests.integration.peers import WAIT_S, Client, call, push, push_body, unique
from tests.servers import LOOPBACK

PUSH = "/api/v1/push"
BATCH = "/api/v1/push/batch"
OK = {"conn": "nobody-at-all"}
TOO_LONG = "x" * 129
BAD_CONNS = ["", "a b", "ä", "a/b", "a\n", "@a", "*", "!a", TOO_LONG, 7, None, True, ["a"], {}]
BAD_IDS = ["", 0, "0", None, True, 1.5, TOO_LONG, 10**128, [], {}]


@pytest.fixture(autouse=True)
def nothing_to_log(nodes):
    """Whatever comes from outside is no reason for a node to log a stack trace or an error of its own."""
    before = [node.log.stat().st_size for node in nodes]
    yield
    for node, size in zip(nodes, before, strict=True):
        logged = node.log.read_bytes()[size:].decode(errors="replace")
        assert "Traceback" not in logged, logged
        assert " ERROR " not in logged, logged


def without(name):
    return {key: value for key, value in push_body(OK).items() if key != name}


def label(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:40]}…{len(text)}"


BAD_PUSHES = [
    (without("to"), "to"),
    (without("type"), "type"),
    *((push_body(OK) | {"to": to}, "to") for to in ("abc", None, [], {}, {"conn": "a", "all": True})),
    ({"to": {"connection": "a"}, "type": "x"}, "to.connection"),
    *((push_body({"conn": conn}), "to.conn") for conn in BAD_CONNS),
    *((push_body({"conns": ["a", conn]}), "to.conns[1]") for conn in BAD_CONNS),
    *((push_body({"conns": conns}), "to.conns") for conns in ("abc", [], None, {}, ["a"] * 1001)),
    *((push_body({"user": user}), "to.user") for user in ("abc", 7, None, [], True)),
    (push_body({"user": {}}), "to.user.userId"),
    *((push_body({"user": {"userId": user_id}}), "to.user.userId") for user_id in BAD_IDS),
    *(
        (push_body({"user": {"userId": 1, name: value}}), f"to.user.{name}")
        for name in ("tenantId", "bankId", "fromType")
        for value in (True, 1.5, TOO_LONG, [], {})
    ),
    *((push_body({"users": users}), "to.users") for users in ("abc", [], None, {"userId": 1})),
    (push_body({"users": [{"userId": 1}, {"userId": 0}]}), "to.users[1].userId"),
    (push_body({"users": [7]}), "to.users[0]"),
    *((push_body({"all": value}), "to.all") for value in (False, 1, "yes", None, {})),
    *((push_body(OK, type=kind), "type") for kind in (7, None, "", TOO_LONG, [], "connected", "error")),
    (push_body(OK, type="x", raw="y"), "raw"),
    ({"to": OK, "data": 1, "raw": "y"}, "raw"),
    (push_body(OK, type="x", raw_base64="eA=="), "raw_base64"),
    (push_body(OK, raw="x", raw_base64="eA=="), "raw"),
    *((push_body(OK, raw=raw), "raw") for raw in (7, None, [], {})),
    *((push_body(OK, raw_base64=raw), "raw_base64") for raw in (7, None, "***", "e", "eA=", "ä")),
    *((push_body(OK, id=push_id), "id") for push_id in (7, "", "x" * 65, [], True)),
    *((push_body(OK, wait=wait), "wait") for wait in ("forever", "", 1, None, [], {})),
    *((push_body(OK, offline=value), "offline") for value in ("perhaps", 1, None)),
    *((push_body(OK, timeout_ms=ms), "timeout_ms") for ms in (0, -1, 60_001, 10**400, 1.5, "1", True, [])),
    *((push_body(OK, ttl_s=ttl), "ttl_s") for ttl in ("soon", -1, 0, 0.0, True, [])),
    *((push_body(OK, except_=conns), "except") for conns in ("abc", 7, None, {})),
    (push_body(OK, except_=["a", "a b"]), "except[1]"),
    (push_body(OK, excpet=["a"]), "excpet"),
    (push_body(OK, **{"": 1}), ""),
]


@pytest.mark.parametrize(("body", "field"), BAD_PUSHES, ids=[label(body) for body, _ in BAD_PUSHES])
async def test_push_names_the_field_at_fault(nodes, body, field):
    answer = await call(nodes[0], "POST", PUSH, body)
    assert answer.status == 400, answer
    assert answer.error.get("field", "") == field


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7", b"null", b"true"])
async def test_push_that_is_no_object_is_400(nodes, body):
    answer = await call(nodes[0], "POST", PUSH, body)
    assert answer.status == 400
    assert answer.error["code"]


BAD_BATCHES = [
    ({}, "pushes"),
    ([], "pushes"),
    ({"pushes": {}}, "pushes"),
    ({"pushes": "abc"}, "pushes"),
    ({"pushes": [push_body(OK)] * 1001}, "pushes"),
    ({"pushes": [push_body(OK), 7]}, "pushes[1]"),
    ({"pushes": [push_body(OK), push_body({"conn": "a b"})]}, "pushes[1].to.conn"),
    ({"pushes": [push_body(OK), push_body({"users": [{"userId": 0}]})]}, "pushes[1].to.users[0].userId"),
    ({"pushes": [push_body(OK, timeout_ms="x")]}, "pushes[0].timeout_ms"),
]


@pytest.mark.parametrize(("body", "field"), BAD_BATCHES, ids=[label(body) for body, _ in BAD_BATCHES])
async def test_batch_names_the_push_and_the_field_at_fault(nodes, body, field):
    answer = await call(nodes[0], "POST", BATCH, body)
    assert answer.status == 400, answer
    assert answer.error.get("field") == field


@pytest.mark.parametrize("line", ["{", "7", '{"to":{"conn":"a b"},"type":"x"}', '{"to":1}'])
async def test_ndjson_names_the_line_at_fault(nodes, line):
    body = f"{json.dumps(push_body(OK))}\n{line}\n".encode()
    answer = await call(nodes[0], "POST", BATCH, body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status == 400
    assert answer.error["field"].startswith("pushes[1]")


async def test_batch_with_one_bad_push_sends_nothing(nodes, connect):
    client = await connect(nodes[0], unique())
    body = {"pushes": [push_body({"conn": client.conn}), push_body({"conn": "a b"})]}
    assert (await call(nodes[0], "POST", BATCH, body)).status == 400
    assert await client.rest() == []


BAD_REQUESTS = [
    ("GET", f"/api/v1/connections/{quote('a b')}", 400, "conn"),
    ("GET", f"/api/v1/connections/{TOO_LONG}", 400, "conn"),
    ("DELETE", f"/api/v1/connections/{quote('a b')}", 400, "conn"),
    ("GET", "/api/v1/connections/nobody-at-all", 404, None),
    ("DELETE", "/api/v1/connections/nobody-at-all", 404, None),
    ("GET", "/api/v1/users", 400, "userId"),
    ("GET", "/api/v1/users?userId=0", 400, "userId"),
    ("GET", "/api/v1/users?userId=", 400, "userId"),
    ("GET", f"/api/v1/users?userId={TOO_LONG}", 400, "userId"),
    ("GET", f"/api/v1/users?userId=1&tenantId={TOO_LONG}", 400, "tenantId"),
    ("GET", "/api/v1/users?userId=1&tenant=2", 400, "tenant"),
    ("GET", "/api/v1/nothing", 404, None),
    ("GET", "/nothing", 404, None),
    ("GET", PUSH, 405, None),
    ("PUT", PUSH, 405, None),
    ("POST", "/api/v1/nodes", 405, None),
]


@pytest.mark.parametrize(("method", "path", "status", "field"), BAD_REQUESTS, ids=lambda v: str(v)[:50])
async def test_other_calls_name_the_field_at_fault(nodes, method, path, status, field):
    answer = await call(nodes[0], method, path)
    assert answer.status == status, answer
    assert answer.error.get("field") == field


BAD_SIGNS = ["", "a b", "ä", "a/b", "a%00", "a\n", "*", "@a", "!a", "x" * 129]


@pytest.mark.parametrize("sign", BAD_SIGNS)
async def test_bad_sign_is_400_with_an_error_in_json(nodes, sign):
    with pytest.raises(InvalidStatus) as caught:
        await Client.open(nodes[0], sign)
    response = caught.value.response
    assert response.status_code == 400
    assert json.loads(response.body)["error"]["field"] == "sign"


async def test_sign_of_128_characters_of_every_kind_is_taken(nodes, connect):
    sign = ("AZaz09._~:-" + "x" * 128)[:128]
    assert (await connect(nodes[0], sign)).conn == sign
    assert (await push(nodes[1], {"conn": sign}))["outcome"] == "delivered"


BAD_HANDSHAKES = [
    {},
    {"Upgrade": "websocket"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
    {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "short",
    },
    {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "8",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    },
    {"Upgrade": "h2c", "Connection": "Upgrade"},
]


@pytest.mark.parametrize("headers", BAD_HANDSHAKES, ids=str)
async def test_what_is_no_upgrade_is_400_with_an_error_in_json(nodes, headers):
    answer = await call(nodes[0], "GET", f"/ws?sign={unique()}", headers=headers)
    assert answer.status == 400, answer
    assert answer.error["code"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_on_ws_are_400(nodes, method):
    answer = await call(nodes[0], method, "/ws")
    assert answer.status == 400, answer
    assert answer.error["code"]


BAD_MESSAGES = [
    ("", "invalid_json"),
    ("hello", "invalid_json"),
    ("{", "invalid_json"),
    ('{"type":"ping"} x', "invalid_json"),
    ('{"type":"ping","data":NaN}', "invalid_json"),
    ('{"type":"ping","data":Infinity}', "invalid_json"),
    ('{"type":"ping","data":01}', "invalid_json"),
    ('{"type":"ping","data":"\\ud800"}', "invalid_json"),
    ('{"type":"ping","data":1e999}', "invalid_json"),
    ('{"type":"ping","data":-1e999}', "invalid_json"),
    ('{"type":"ping","data":' + "[" * 5000 + "]" * 5000 + "}", "invalid_json"),
    ("[" * 500_000, "invalid_json"),
    ('{"a":' * 50_000, "invalid_json"),
    ("null", "invalid_message"),
    ("7", "invalid_message"),
    ("[]", "invalid_message"),
    ('"ping"', "invalid_message"),
    ("{}", "invalid_message"),
    ('{"data":1}', "invalid_message"),
    ('{"type":7}', "invalid_message"),
    ('{"type":""}', "invalid_message"),
    ('{"type":["ping"]}', "invalid_message"),
    (json.dumps({"type": "x" * 129}), "invalid_message"),
    ('{"type":"ping","id":7}', "invalid_message"),
    ('{"type":"ping","id":""}', "invalid_message"),
    (json.dumps({"type": "ping", "id": "x" * 65}), "invalid_message"),
    ('{"type":"nobody_handles_this"}', "unhandled_type"),
    ('{"type":"connected"}', "unhandled_type"),
    (b'{"type":"ping"}', "binary_not_supported"),
    (b"", "binary_not_supported"),
    (b"\xff\x00", "binary_not_supported"),
    *(
        (json.dumps({"type": "user_info", "data": data}), "invalid_user")
        for data in (
            None,
            7,
            "abc",
            [],
            {},
            *({"userId": user_id, "fromType": "web"} for user_id in BAD_IDS),
            {"userId": 1, "tenantId": [], "fromType": "web"},
            {"userId": 1, "fromType": {}},
            {"userId": 1, "bankId": TOO_LONG},
        )
    ),
]


@pytest.mark.parametrize(
    ("message", "code"), BAD_MESSAGES, ids=[f"{code}-{message[:40]!r}" for message, code in BAD_MESSAGES]
)
async def test_bad_message_gets_an_error_and_the_connection_lives(nodes, connect, message, code):
    client = await connect(nodes[0], unique())
    await client.socket.send(message)
    error = await client.next("error")
    assert error["data"]["code"] == code
    assert isinstance(error["data"]["message"], str)
    assert await client.is_alive()


async def test_error_carries_the_id_of_the_message_at_fault(nodes, connect):
    client = await connect(nodes[0], unique())
    for message in ({"type": "nobody"}, {"data": 1}, {"type": "user_info", "data": {"userId": 0}}):
        await client.socket.send(json.dumps(message | {"id": "m-1"}))
        assert (await client.next("error"))["id"] == "m-1"


@pytest.mark.parametrize(
    "data",
    [
        "9" * 4000,
        "-" + "9" * 40,
        "1e308",
        "0.1",
        "18446744073709551616",
        '"\\u0000\\u2028"',
        "[" * 100 + "]" * 100,
    ],
    ids=lambda text: text[:20],
)
async def test_ping_is_answered_with_the_same_data(nodes, connect, data):
    client = await connect(nodes[0], unique())
    await client.socket.send('{"type":"ping","id":"p","data":' + data + "}")
    pong = await client.next("pong")
    assert (pong["data"], pong["id"]) == (json.loads(data), "p")


async def test_message_that_is_too_big_closes_with_1009_and_harms_nobody_else(nodes, connect):
    client, other = await connect(nodes[0], unique()), await connect(nodes[0], unique())
    limit = client.connected["max_message_bytes"]
    await client.send("ping", "x" * (limit - 100))
    assert len((await client.next("pong"))["data"]) == limit - 100
    await client.send("ping", "x" * limit)
    assert (await client.closed())[0] == 1009
    assert await other.is_alive()


async def test_fragments_that_are_too_big_together_close_with_1009(nodes, connect):
    client = await connect(nodes[0], unique())
    limit = client.connected["max_message_bytes"]
    await client.socket.send(["x" * (limit // 2)] * 3)
    assert (await client.closed())[0] == 1009


async def test_bad_utf_8_closes_with_1007(nodes, connect):
    client = await connect(nodes[0], unique())
    await client.socket.send(b"\xff\xfe", text=True)
    assert (await client.closed())[0] == 1007


async def test_many_bad_messages_at_once_are_each_answered(nodes, connect):
    client = await connect(nodes[0], unique())
    for number in range(50):
        await client.send("nobody", id=f"m-{number}")
    assert [(await client.next("error"))["id"] for _ in range(50)] == [f"m-{n}" for n in range(50)]


BROKEN_FRAMES = [
    b"\x81\x05hello",  # not masked
    b"\xf1\x80\0\0\0\0",  # reserved bits
    b"\x83\x80\0\0\0\0",  # unknown opcode
    b"\x80\x80\0\0\0\0",  # continues nothing
    b"\x09\x80\0\0\0\0",  # fragmented ping
    b"\x88\x81\0\0\0\0x",  # close code of one byte
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",  # a length past all bounds
    b"\x81",
    b"",
]


@pytest.mark.parametrize("frame", BROKEN_FRAMES)
async def test_broken_frame_ends_that_connection_only(nodes, connect, frame):
    other = await connect(nodes[0], unique())
    reader, writer = await asyncio.open_connection(LOOPBACK, nodes[0].port)
    writer.write(handshake(unique()))
    await asyncio.wait_for(reader.readuntil(b'"connected"'), WAIT_S)
    writer.write(frame)
    writer.write_eof()
    await asyncio.wait_for(read_all(reader), WAIT_S)
    writer.close()
    assert await other.is_alive()


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /ws?sign=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/connections/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
    ],
    ids=lambda request_: repr(request_[:40]),
)
async def test_broken_request_harms_nobody_else(nodes, connect, request_):
    other = await connect(nodes[0], unique())
    answered = await exchange(nodes[0], request_)
    assert answered[:12] not in (b"HTTP/1.1 200", b"HTTP/1.1 500"), answered
    assert await other.is_alive()


async def test_client_that_goes_away_during_its_request_is_no_error(nodes, connect):
    other = await connect(nodes[0], unique())
    for request_ in (handshake(unique()), b"GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n"):
        await exchange(nodes[0], request_)
    assert await other.is_alive()


def handshake(sign):
    lines = [
        f"GET /ws?sign={sign} HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def exchange(node, sent):
    """Send bytes and the end of input; return what comes until the node closes."""
    reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
    try:
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        return await asyncio.wait_for(read_all(reader), WAIT_S)
    finally:
        writer.close()


async def read_all(reader):
    try:
        return await reader.read()
    except ConnectionError:
        return b""
