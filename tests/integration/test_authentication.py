"""Clients that say who they are: with a token, at the handshake or after it, or through the application."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.peers import WAIT_S, call, eventually, run_command, unique
from tests.integration.secured import (
    KEY,
    authenticate,
    bearer,
    error_code,
    push_to,
    refusal,
    registered,
    secured,
    signer,
    turned_away,
)
from tests.servers import GatewayNode
from tests.tokens import KeyServer, ec_key, rsa_key


@pytest.fixture(scope="module")
def node():
    with secured() as started:
        yield started


async def test_token_in_the_header_says_who_it_is(node, connect):
    user = unique("user")
    token = signer.token(user, tenantId=7, bankId=3, fromType="web")
    client = await connect(node, unique(), **bearer(token))
    named = {"userId": user, "tenantId": "7", "bankId": "3", "fromType": "web"}
    assert client.connected["user"] == named
    assert await push_to(node, {"user": {"userId": user, "tenantId": 7, "bankId": 3}}) == "delivered"
    await client.next("hello")
    assert (await registered(node, client.conn))["user"] == named


async def test_token_in_the_query_says_who_it_is(node, connect):
    user = unique("user")
    client = await connect(node, unique(), query={"token": signer.token(user)})
    assert client.connected["user"] == {"userId": user}


async def test_first_frame_without_a_token_is_connected_with_nobody(node, connect):
    client = await connect(node, unique())
    assert client.connected["user"] is None


async def test_until_auth_a_client_is_told_nothing_and_known_to_nobody(node, connect):
    client, other = await connect(node, unique()), await connect(node, **bearer(signer.token()))
    assert await client.is_alive()
    for kind, data in [
        ("user_info", {"userId": 1}),
        ("chat", "hello"),
        ("ack", {"id": "x"}),
        ("join", {"group": "g"}),
        ("connected", None),
    ]:
        assert await error_code(client, kind, data) == "not_authenticated"
    assert await registered(node, client.conn) is None
    assert await push_to(node, {"conn": client.conn}) == "offline"
    assert await push_to(node, {"all": True}) == "delivered"
    await other.next("hello")
    assert (await call(node, "DELETE", f"/api/v1/connections/{client.conn}", key=KEY)).status == 404
    assert await client.is_alive()


async def test_auth_lets_it_in(node, connect):
    client, user = await connect(node, unique()), unique("user")
    assert await authenticate(client, signer.token(user, fromType="web")) == {
        "userId": user,
        "fromType": "web",
    }
    assert (await registered(node, client.conn))["user"]["userId"] == user
    assert await push_to(node, {"user": {"userId": user}}) == "delivered"
    await client.next("hello")
    assert await error_code(client, "chat") == "unhandled_type"


async def test_auth_in_the_same_packet_as_the_handshake_is_read(node):
    message = json.dumps({"type": "auth", "data": {"token": signer.token("eve")}}).encode()
    request = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    # A mask of zeros leaves the payload as it is (RFC 6455, section 5.3).
    writer.write(request + b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message)
    async with asyncio.timeout(WAIT_S):
        seen = await reader.readuntil(b'"type":"user_bound"')
    writer.close()
    assert seen.startswith(b"HTTP/1.1 101 ")
    assert seen.index(b'"type":"connected"') < seen.index(b'"type":"user_bound"')


async def test_wrong_auth_closes_with_4401(node, connect):
    client = await connect(node, unique())
    await client.send("auth", {"token": signer.token()[:-3] + "AAA"})
    code, reason = await client.closed()
    assert (code, reason) == (4401, "the token's signature is wrong")


async def test_auth_without_a_token_is_an_error_and_may_be_said_again(node, connect):
    client = await connect(node, unique())
    for data in (None, {}, {"token": None}, "text"):
        assert await error_code(client, "auth", data) == "invalid_message"
    assert await authenticate(client, signer.token("eve")) == {"userId": "eve"}


async def test_auth_that_does_not_come_closes_with_4401(connect):
    with secured(auth_timeout_s=0.5, messages_per_s=0) as node:
        silent = await connect(node, unique())
        assert await silent.closed() == (4401, "not authenticated in time")
        chatty = await connect(node, unique())
        with pytest.raises(ConnectionClosed):
            await ping_for_ever(chatty)
        assert (await chatty.closed())[0] == 4401
        named = await connect(node, unique(), **bearer(signer.token()))
        late = await connect(node, unique())
        await authenticate(late, signer.token())
        assert (await (await connect(node, unique())).closed())[0] == 4401
        assert await named.is_alive()
        assert await late.is_alive()


async def ping_for_ever(client):
    while True:
        await client.send("ping")
        await client.next("pong")


async def test_those_who_have_yet_to_say_who_they_are_take_room(connect):
    with secured(max_connections=2) as node:
        await connect(node, unique())
        await connect(node, unique(), **bearer(signer.token()))
        assert await turned_away(node, **bearer(signer.token())) == 4429


async def test_fresh_token_prolongs_the_session(connect):
    with secured() as node:
        exp = time.time() + 3
        kept = await connect(node, unique(), **bearer(signer.token("eve", exp=exp)))
        left = await connect(node, unique(), **bearer(signer.token("adam", exp=exp)))
        assert await authenticate(kept, signer.token("eve")) == {"userId": "eve"}
        assert await left.closed() == (4401, "the token has expired")
        assert await kept.is_alive()


async def test_token_of_somebody_else_changes_nothing(node, connect):
    client = await connect(node, unique(), **bearer(signer.token("eve")))
    assert await error_code(client, "auth", {"token": signer.token("adam")}) == "identity_mismatch"
    assert await error_code(client, "auth", {"token": signer.token("eve", tenantId=1)}) == "identity_mismatch"
    assert await error_code(client, "auth", {"token": "nonsense"}) == "invalid_token"
    assert (await registered(node, client.conn))["user"] == {"userId": "eve"}
    assert await client.is_alive()


async def test_reconnect_of_the_same_user_replaces(node, connect):
    sign, user = unique(), unique("user")
    first = await connect(node, sign, **bearer(signer.token(user)))
    second = await connect(node, sign)
    assert await first.is_alive()
    await authenticate(second, signer.token(user))
    assert (await first.closed())[0] == 4409
    assert await push_to(node, {"user": {"userId": user}}) == "delivered"
    await second.next("hello")


async def test_leaving_node_closes_those_it_waits_for(connect):
    with secured() as node:
        client = await connect(node, unique())
        node.terminate()
        assert (await client.closed())[0] == 1012


@pytest.mark.parametrize("make", [rsa_key, ec_key])
async def test_public_key_in_a_file(make, connect, tmp_path):
    owner, file = make(), tmp_path / "key.pem"
    file.write_text(owner.pem)
    with secured(jwt_secret=None, jwt_public_key=file) as node:
        client = await connect(node, unique(), **bearer(owner.token("eve")))
        assert client.connected["user"] == {"userId": "eve"}
        assert (await refusal(node, **bearer(make().token("eve")))).status == 401


async def test_keys_of_an_address_are_rotated(connect):
    old, new = rsa_key(), ec_key()
    old_header, new_header = {"kid": "old"}, {"kid": "new"}
    with KeyServer(old.jwk("old")) as keys, secured(jwt_secret=None, jwt_jwks_url=keys.url) as node:
        assert (await connect(node, **bearer(old.token("a", old_header)))).connected["user"]["userId"] == "a"
        keys.serve(old.jwk("old"), new.jwk("new"))
        assert (await connect(node, **bearer(new.token("b", new_header)))).connected["user"]["userId"] == "b"
        assert (await connect(node, **bearer(old.token("c", old_header)))).connected["user"]["userId"] == "c"
        asked = len(keys.asked)
        await asyncio.gather(*(refusal(node, **bearer(new.token(1, {"kid": unique()}))) for _ in range(5)))
        assert len(keys.asked) == asked
        later = await connect(node)
        assert await authenticate(later, new.token("d", new_header)) == {"userId": "d"}


async def test_while_keys_cannot_be_had_clients_are_told_to_come_back(connect):
    owner = ec_key()
    with KeyServer() as keys:
        keys.status = 500
        with secured(jwt_secret=None, jwt_jwks_url=keys.url) as node:
            answer = await refusal(node, **bearer(owner.token(header={"kid": "k"})))
            assert (answer.status, answer.error["code"]) == (503, "unavailable")
            client = await connect(node)
            assert (
                await error_code(client, "auth", {"token": owner.token(header={"kid": "k"})}) == "unavailable"
            )
            keys.status = 200
            keys.serve(owner.jwk("k"))
            asked = len(keys.asked)
            await eventually(lambda: len(keys.asked) > asked, "the node to try again")

            async def comes_in():
                await client.send("auth", {"token": owner.token("eve", {"kid": "k"})})
                return (await client.next())["type"] == "user_bound"

            await eventually(comes_in, "the keys to be known")


async def test_check_tries_the_address_of_the_keys():
    env = {"SANIC_WS_REDIS_URL": "memory://", "SANIC_WS_AMQP_URL": "memory://", "SANIC_WS_API_KEYS": "a:b"}
    with KeyServer(ec_key().jwk("k")) as keys:
        good = await run_command("check", env=env | {"SANIC_WS_JWT_JWKS_URL": keys.url})
        keys.serve()
        bad = await run_command("check", env=env | {"SANIC_WS_JWT_JWKS_URL": keys.url})
    assert (good.code, bad.code) == (0, 3)
    assert "jwt keys  ok, 1" in good.out
    assert "jwt keys  FAILED" in bad.out


# The application's own word


@pytest.fixture(scope="module")
def application():
    env = {
        "SANIC_WS_REDIS_URL": "memory://",
        "SANIC_WS_AMQP_URL": "memory://",
        "SANIC_WS_PREFIX": unique("own"),
        "SANIC_WS_API_KEYS": f"backend:{KEY}",
        "SANIC_WS_DRAIN_S": "0.1",
    }
    program = [sys.executable, str(Path(__file__).with_name("identified.py"))]
    with GatewayNode("serve", name="application", env=env, program=program) as started:
        yield started


def session(text):
    return {"additional_headers": {"Cookie": f"session={text}"}}


async def test_application_says_who_it_is(application, connect):
    client = await connect(application, unique(), **session("eve"))
    assert client.connected["user"] == {"userId": "eve"}
    await client.send("who")
    assert (await client.next("who"))["data"] == {"userId": "eve"}
    assert await error_code(client, "user_info", {"userId": "adam"}) == "identity_not_trusted"
    assert await error_code(client, "auth", {"token": signer.token("eve")}) == "unhandled_type"


async def test_whom_the_application_does_not_know_is_401(application):
    assert (await refusal(application)).status == 401
    secret = unique("secret")
    answer = await refusal(application, **session(f"eve-{secret}"))
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")
    assert secret not in application.log.read_text()
    assert "authenticate raised error=ValueError" in application.log.read_text()


async def test_applications_word_may_end(application, connect):
    client = await connect(application, unique(), **session("eve-3"))
    assert (await client.closed())[0] == 4401


async def test_application_gives_nobody_the_id_of_another(application, connect):
    sign = unique()
    victim = await connect(application, sign, **session("eve"))
    answer = await refusal(application, sign, **session("adam"))
    assert (answer.status, answer.error["code"]) == (403, "identity_taken")
    assert await victim.is_alive()
