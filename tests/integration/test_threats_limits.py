"""Rows 12 and 13 of the list of threats: too many of one kind, and too much of one client."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conformance.raw import BINARY, CLOSE, CONTINUED, PING, PONG, TEXT, RawClient, frame
from tests.integration.peers import Answer, Client, eventually, push, unique
from tests.integration.secured import (
    KEY,
    authenticate,
    bearer,
    call,
    push_body,
    push_to,
    refusal,
    secured,
    signer,
    turned_away,
)
from tests.servers import GatewayNode

ELSEWHERE = {"local_addr": ("127.0.0.2", 0)}
"""From another address of this machine."""
AT_ONCE = 50
PER_S = 10
"""Messages that a client may send in the tests of row 13."""
FLOODED = {
    "SANIC_WS_MESSAGES_PER_S": str(PER_S),
    "SANIC_WS_BYTES_PER_S": "20000",
    "SANIC_WS_MAX_MESSAGE_BYTES": "10000",
    "SANIC_WS_DRAIN_S": "0.1",
}


def anonymous(**env):
    """Describe a `serve` node that takes no tokens."""
    return secured(**{"jwt_secret": None} | env)


def of(user: str) -> dict[str, object]:
    return bearer(signer.token(user))


async def refused_at(number: int, open_client) -> tuple[list[Client], list[Answer | int]]:
    """Open so many clients, each by its number; return those that were taken in, and what the others got.

    That is an HTTP answer or the code of a close.
    """
    clients: list[Client] = []
    answers: list[Answer | int] = []
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(index: int) -> None:
        async with gate:
            try:
                clients.append(await open_client(index))
            except InvalidStatus as exc:
                headers = {name.lower(): value for name, value in exc.response.headers.raw_items()}
                answers.append(Answer(exc.response.status_code, headers, bytes(exc.response.body)))
            except ConnectionClosed as exc:
                answers.append(exc.rcvd.code if exc.rcvd is not None else 1006)

    await asyncio.gather(*(one(index) for index in range(number)))
    return clients, answers


@pytest.fixture
async def crowd():
    """As `refused_at`; closes the clients at the end."""
    async with AsyncExitStack() as stack:

        async def crowd(*arguments) -> tuple[list[Client], list[Answer | int]]:
            clients, answers = await refused_at(*arguments)
            for client in clients:
                stack.push_async_callback(client.close)
            return clients, answers

        yield crowd


def check_too_many(answers: list[Answer], code: str = "too_many_connections") -> None:
    for answer in answers:
        assert (answer.status, answer.error["code"]) == (429, code)
        assert int(answer.headers["retry-after"]) > 0


# Row 12


async def test_threat_12_thousand_connections_of_one_address_are_capped(crowd, connect):
    with anonymous() as node:
        first = await connect(node, unique(), **ELSEWHERE)
        clients, answers = await crowd(1000, lambda _: Client.open(node, unique()))
        assert (len(clients), len(answers)) == (512, 488)
        check_too_many(answers)
        assert await first.is_alive()
        late = await connect(node, unique(), **ELSEWHERE)
        assert await push_to(node, {"conn": late.conn}) == "delivered"
        await clients[0].close()
        await eventually(lambda: has_connections(node, 513), "a place")
        assert await (await connect(node, unique())).is_alive()


async def has_connections(node, number) -> bool:
    return (await call(node, "GET", "/api/v1/stats", key=KEY)).json["connections"] == number


async def test_threat_12_thousand_connections_of_one_user_are_capped(crowd, connect):
    with secured(max_connections_per_address=0) as node:
        other = await connect(node, unique(), **of("adam"))
        clients, answers = await crowd(1000, lambda _: Client.open(node, unique(), **of("eve")))
        assert (len(clients), answers) == (64, [4429] * 936)
        assert await other.is_alive()
        answer = await call(node, "POST", "/api/v1/push", push_body({"user": {"userId": "eve"}}), key=KEY)
        assert answer.json["counts"] == {"delivered": 64}
        assert await (await connect(node, unique(), **bearer(signer.token("eve", tenantId=7)))).is_alive()


async def test_threat_12_one_too_many_that_says_later_who_it_is_is_closed_with_4429(connect):
    with secured(max_connections_per_user=2) as node:
        kept = [await connect(node, unique(), **of("eve")) for _ in range(2)]
        late = await connect(node, unique())
        await late.send("auth", {"token": signer.token("eve")}, id="m")
        error = await late.next("error")
        assert (error["data"]["code"], error["id"]) == ("too_many_connections", "m")
        assert (await late.closed())[0] == 4429
        assert await authenticate(await connect(node, unique()), signer.token("adam")) == {"userId": "adam"}
        assert [await client.is_alive() for client in kept] == [True, True]


async def test_threat_12_one_too_many_by_its_own_word_is_closed_with_4429(connect):
    with anonymous(max_connections_per_user=2, trust_client_identity=True) as node:
        signs = [unique() for _ in range(3)]
        kept = [await connect(node, sign, user={"userId": "eve"}) for sign in signs[:2]]
        late = await connect(node, signs[2])
        await late.send("user_info", {"userId": "eve", "fromType": "phone"}, id="m")
        error = await late.next("error")
        assert (error["data"]["code"], error["id"]) == ("too_many_connections", "m")
        assert (await late.closed())[0] == 4429
        assert [await client.is_alive() for client in kept] == [True, True]
        # The binding outlives the socket: the user is known at the handshake.
        again = await connect(node, signs[0])
        assert again.connected["user"]["userId"] == "eve"
        await kept[1].close()
        await eventually(lambda: has_connections(node, 1), "a place")
        await connect(node, unique(), user={"userId": "eve"})
        assert await turned_away(node, signs[1]) == 4429


@pytest.mark.parametrize(
    "limit", ["max_connections", "max_connections_per_address", "max_connections_per_user"]
)
async def test_threat_12_reconnect_is_not_refused_because_of_whom_it_replaces(connect, limit):
    with secured(**{limit: 2}) as node:
        sign = unique()
        clients = [await connect(node, one, **of("eve")) for one in (sign, unique())]
        for _ in range(3):
            again = await connect(node, sign, **of("eve"))
            assert (await clients[0].closed())[0] == 4409
            clients[0] = again
        if limit == "max_connections_per_address":
            check_too_many([await refusal(node, unique(), **of("eve"))])
        else:
            assert await turned_away(node, unique(), **of("eve")) == 4429
        assert [await client.is_alive() for client in clients] == [True, True]


async def test_threat_12_ids_of_live_connections_make_no_room_for_those_who_prove_nothing(crowd, connect):
    with secured(max_connections_per_address=2) as node:
        signs = [unique(), unique()]
        kept = [await connect(node, sign, **of("eve")) for sign in signs]
        clients, answers = await crowd(20, lambda index: Client.open(node, signs[index % 2]))
        assert (len(clients), len(answers)) == (2, 18)
        check_too_many(answers)
        assert [await client.is_alive() for client in kept] == [True, True]


async def test_threat_12_refused_handshakes_keep_no_place(connect):
    with secured(max_connections_per_address=2) as node:
        for _ in range(5):
            assert (await refusal(node, **bearer(signer.token() + "x"))).status == 401
        for _ in range(5):
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
                writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n")
                assert b" 400 " in await reader.readline()
                writer.close()
        assert [await (await connect(node, unique(), **of("eve"))).is_alive() for _ in range(2)]
        check_too_many([await refusal(node, **of("eve"))])


FORGED = [
    {"X-Forwarded-For": "198.51.100.{n}"},
    {"X-Forwarded-For": "198.51.100.{n}, 127.0.0.1"},
    {"Forwarded": "for=198.51.100.{n}"},
    {"X-Real-IP": "198.51.100.{n}"},
    {"X-Forwarded-For": "198.51.100.{n}", "Forwarded": "for=198.51.100.{n}"},
]


async def test_threat_12_forged_address_does_not_help(connect, crowd):
    with anonymous(max_connections_per_address=3) as node:

        async def open_client(index: int) -> Client:
            headers = {name: value.format(n=index) for name, value in FORGED[index % len(FORGED)].items()}
            return await Client.open(node, unique(), additional_headers=headers)

        clients, answers = await crowd(50, open_client)
        assert (len(clients), len(answers)) == (3, 47)
        check_too_many(answers)
        assert await (await connect(node, unique(), **ELSEWHERE)).is_alive()


async def test_threat_12_clients_behind_a_trusted_proxy_count_for_themselves(crowd):
    with anonymous(max_connections_per_address=2, trusted_proxies="127.0.0.1") as node:

        async def open_client(index: int) -> Client:
            # The left half is the client's own, and changes every time.
            headers = {"X-Forwarded-For": f"203.0.113.{index}, 2001:db8:0:{index % 3}::{index}"}
            return await Client.open(node, unique(), additional_headers=headers)

        clients, answers = await crowd(30, open_client)
        assert (len(clients), len(answers)) == (6, 24)
        check_too_many(answers)

        async def from_elsewhere(index: int) -> Client:
            headers = {"X-Forwarded-For": f"203.0.113.{index}"}
            return await Client.open(node, unique(), additional_headers=headers, **ELSEWHERE)

        clients, answers = await crowd(5, from_elsewhere)
        assert (len(clients), len(answers)) == (2, 3)


async def test_threat_12_handshakes_of_one_address_are_limited(crowd, connect):
    with anonymous(handshakes_per_s_per_address=1) as node:
        clients, answers = await crowd(50, lambda _: Client.open(node, unique()))
        assert clients
        assert answers
        check_too_many(answers, "too_many_handshakes")
        assert await (await connect(node, unique(), **ELSEWHERE)).is_alive()


async def test_threat_12_handshakes_are_limited_before_tokens_are_looked_at(crowd):
    with secured(handshakes_per_s=1) as node:
        _, answers = await crowd(50, lambda _: Client.open(node, unique(), **bearer("junk")))
        assert {answer.status for answer in answers} == {401, 429}
        check_too_many([answer for answer in answers if answer.status == 429], "too_many_handshakes")


# Row 13


@pytest.fixture(scope="module")
def node():
    with GatewayNode("dev", "--echo", "/echo", name="flooded", env=FLOODED) as started:
        yield started
        logged = started.log.read_text()
    assert "Traceback" not in logged, logged


@pytest.fixture
async def other(node, connect):
    """Somebody else, who gets pushes all the while."""
    client = await connect(node, unique("other"))
    pushes = asyncio.create_task(push_for_ever(node, client))
    yield client
    pushes.cancel()
    with suppress(asyncio.CancelledError):
        await pushes
    assert (await push(node, {"conn": client.conn}))["outcome"] == "delivered"


async def push_for_ever(node, client) -> None:
    while True:
        assert (await push(node, {"conn": client.conn}, type="goes_on"))["outcome"] == "delivered"


async def open_raw(node, path: str = "/ws") -> RawClient:
    client = await RawClient.open(node.port, f"{path}?sign={unique()}")
    if path == "/ws":
        assert json.loads((await client.next()).payload)["type"] == "connected"
    return client


async def flood(client: RawClient, piece: bytes) -> tuple[int, list[tuple[int, str]], int | None]:
    """Send pieces until the node closes; return how many, what it answered and its close code."""
    answers: list[tuple[int, str]] = []

    async def read() -> int | None:
        while (got := await client.next()).opcode != CLOSE:
            message = json.loads(got.payload) if got.opcode == TEXT else {}
            is_error = message.get("type") == "error"
            answers.append((got.opcode, message["data"]["code"] if is_error else message.get("type", "")))
        return got.code

    reading = asyncio.create_task(read())
    sent = 0
    while not reading.done():
        await client.send(piece * PER_S)
        sent += PER_S
        await asyncio.sleep(0)
    await client.close()
    return sent, answers, reading.result()


PONG_MESSAGE = (TEXT, "pong")
RATE_LIMITED = (TEXT, "rate_limited")
SAY_PING = b'{"type":"ping"}'

FLOODS = {
    "messages": (frame(TEXT, SAY_PING), PONG_MESSAGE),
    "messages in fragments": (
        frame(TEXT, SAY_PING[:5], fin=False) + frame(CONTINUED, SAY_PING[5:]),
        PONG_MESSAGE,
    ),
    "junk": (frame(TEXT, b"{"), (TEXT, "invalid_json")),
    "binary messages": (frame(BINARY, b"x"), (TEXT, "binary_not_supported")),
    "pings": (frame(PING, b"x" * 125), (PONG, "")),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_threat_13_flood_is_limited_and_then_closed_with_1008(node, other, what):
    piece, served = FLOODS[what]
    sent, answers, code = await flood(await open_raw(node), piece)
    assert code == 1008
    # Two seconds' worth come through at once, and ten are dropped before the end.
    assert answers.index(RATE_LIMITED) >= 2 * PER_S
    assert sent - answers.count(served) > 10 * PER_S
    assert set(answers) == {served, RATE_LIMITED}
    await other.next("goes_on")


@pytest.mark.parametrize(
    "piece",
    [
        frame(PONG),
        frame(TEXT, b'{"type":"ping","data":"' + b"x" * 8000 + b'"}'),
        frame(BINARY, fin=False) + frame(CONTINUED, fin=False) * 100 + frame(CONTINUED),
    ],
    ids=["pongs", "long messages", "empty fragments"],
)
async def test_threat_13_flood_of_what_is_not_answered_or_long_ends_the_same_way(node, other, piece):
    _, answers, code = await flood(await open_raw(node), piece)
    assert code == 1008
    assert RATE_LIMITED in answers
    await other.next("goes_on")


async def test_threat_13_fragments_of_a_message_that_never_ends_are_closed(node, other):
    client = await open_raw(node)
    await client.send(frame(TEXT, fin=False))
    _, answers, code = await flood(client, frame(CONTINUED, fin=False) * 10)
    assert (code, set(answers)) == (1008, {RATE_LIMITED})
    await other.next("goes_on")


async def test_threat_13_client_that_heeds_it_is_served_again(node):
    client = await open_raw(node)
    await client.send(frame(TEXT, b'{"type":"ping","id":"first"}') * 8 * PER_S)
    while (message := json.loads((await client.next()).payload))["type"] != "error":
        assert message["id"] == "first"
    assert (message["data"]["code"], message.get("id")) == ("rate_limited", None)
    assert await eventually(lambda: is_served(client), "an answer")
    await client.close()


async def is_served(client: RawClient) -> bool:
    await client.send(frame(TEXT, b'{"type":"ping","id":"second"}'))
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while json.loads((await client.next()).payload).get("id") != "second":
                pass
            return True
    return False


async def test_threat_13_echo_has_no_limits(node):
    client = await open_raw(node, "/echo")
    number = 100 * PER_S
    await client.send(*(frame(BINARY, b"x" * 100) for _ in range(number)))
    assert {(await client.next()).payload for _ in range(number)} == {b"x" * 100}
    await client.close()


async def test_threat_13_by_default_a_client_may_send_two_hundred_at_once(connect):
    with anonymous() as node:
        client = await connect(node, unique())
        await asyncio.gather(*(client.send("ping", n) for n in range(200)))
        assert {(await client.next("pong"))["data"] for _ in range(200)} == set(range(200))
