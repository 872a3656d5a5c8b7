"""The tests' own net for secrets: it catches."""

import asyncio
import json
import sys

import pytest

from tests import leaks
from tests.integration.peers import Answer, Ended, unique
from tests.integration.secured import KEY, bearer
from tests.servers import GatewayNode, wait_until
from tests.tokens import shared_secret


def node(told: str, **env: str) -> GatewayNode:
    """Describe a process that says something in place of a node."""
    settings = {f"SANIC_WS_{name}": value for name, value in env.items()}
    return GatewayNode(env=settings, program=[sys.executable, "-c", f"print({told!r})"])


async def run(talker: GatewayNode) -> list[str]:
    await asyncio.to_thread(talker.spawn)
    await asyncio.to_thread(wait_until, lambda: not talker.running, 30, "its end")
    await asyncio.to_thread(talker.stop)
    return leaks.take()


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("API_KEYS", "one:{}", "the-first-of-two-keys"),
        ("API_KEYS", "one:other-key-of-theirs, two:{}:push:conn=x", "the-second-of-two-keys"),
        ("JWT_SECRET", "{}", "a-secret-of-forty-characters-0123456789"),
        ("REDIS_URL", "redis://user:{}@127.0.0.1:1/0", "password-for-redis"),
        ("REDIS_URL", "redis+sentinel://127.0.0.1:1/a/0?sentinel_password={}", "password-for-sentinel"),
        ("AMQP_URL", "amqp://a:b@127.0.0.1/, amqp://user:{}@127.0.0.1/", "password-for-rabbit"),
    ],
)
async def test_secret_of_a_nodes_settings_in_its_log_is_found(name, value, secret):
    (found,) = await run(node(f"A\nconnected with {secret}!\nB", **{name: value.format(secret)}))
    assert secret in found


async def test_log_without_secrets_is_fine():
    assert await run(node("the-first of two keys", API_KEYS="one:the-first-of-two-keys-of-theirs")) == []


def test_token_and_each_part_of_it_are_found():
    token = shared_secret().token(unique())
    for part in (token, *token.split(".")[1:]):
        Answer(401, {}, json.dumps({"error": {"message": f"bad: {part}"}}).encode())
        assert len(leaks.take()) == 1
    Answer(200, {"x-token": token}, b"")
    assert len(leaks.take()) == 1


def test_what_a_client_sent_for_a_token_is_found():
    given = unique("no-token")
    bearer(given)
    Ended(2, "", f"cannot read {given}")
    assert len(leaks.take()) == 1


def test_sign_is_secret_in_errors_and_logs_and_not_in_receipts():
    sign = unique("sign")
    leaks.note_sign(sign)
    Answer(200, {}, json.dumps({"conn": sign}).encode())
    assert leaks.take() == []
    Answer(404, {}, b'{"error":{"message":"no ' + sign.encode() + b'"}}')
    assert len(leaks.take()) == 1


def test_key_that_is_a_part_of_another_is_found():
    leaks.note(KEY, KEY[:-1])
    leaks.look_through(f"x{KEY[:-1]}!", "somewhere")
    assert len(leaks.take()) == 1
