"""What nodes log as JSON: every line is an event, whoever wrote it, and none holds a secret."""

import json

from tests.integration.back_end import BackEnd
from tests.integration.peers import Client, eventually, unique
from tests.integration.secured import KEY, bearer, push_to, refusal, secured, signer
from tests.servers import GatewayNode
from tests.tokens import SECRET

FIELDS = {"time", "level", "logger", "message"}


def events(node: GatewayNode) -> list[dict]:
    logged = [json.loads(line) for line in node.log.read_text().splitlines()]
    assert all(event.keys() >= FIELDS for event in logged)
    return logged


def with_message(node: GatewayNode, message: str) -> list[dict]:
    found = [event for event in events(node) if event["message"] == message]
    return [{name: value for name, value in event.items() if name not in FIELDS} for event in found]


async def test_every_line_of_a_node_is_an_event(redis, rabbit):
    prefix = unique("own")
    log = {"log_format": "json", "log_level": "debug", "jwt_secret": None, "trust_client_identity": "true"}
    with secured(redis_url=redis.url, amqp_url=rabbit.url, prefix=prefix, **log) as node:
        client = await Client.open(node, unique())
        assert await push_to(node, {"conn": client.conn}) == "delivered"
        back_end = await BackEnd.open(rabbit.url, prefix)
        await back_end.send(b"junk")
        await eventually(lambda: with_message(node, "call set aside, nobody waits for the error"), "an event")
        await back_end.close()
        node.terminate()
        await eventually(lambda: with_message(node, "draining"), "it to leave")
        await client.close()
        await eventually(lambda: not node.running, "its end")
        check_events(node)


def check_events(node: GatewayNode) -> None:
    assert with_message(node, "RabbitMQ connected") == [{}]
    assert with_message(node, "draining") == [{"connections": 1}]
    assert with_message(node, "call set aside, nobody waits for the error") == [{"code": "invalid_json"}]
    assert {event["level"] for event in events(node)} <= {"DEBUG", "INFO", "WARNING"}
    assert all(event["logger"].startswith("sanic_ws") for event in events(node))


async def test_secrets_and_payloads_are_in_no_line():
    sign, payload = unique("sign"), unique("payload")
    with secured(
        api_keys=f"backend:{KEY},weak:pw", allowed_origins="*", log_format="json", log_level="debug"
    ) as node:
        token = signer.token(unique("u"))
        client = await Client.open(node, sign, **bearer(token))
        await push_to(node, {"conn": sign}, data=payload)
        await client.send("chat", payload)
        await client.close()
        await refusal(node, unique("sign"), **bearer(f"{token}x"))
        logged = node.log.read_text()
    for secret in (SECRET, KEY, token, sign, payload):
        assert secret not in logged
    warned = [json.loads(line) for line in logged.splitlines()]
    assert [(e["message"], e["setting"]) for e in warned if e["level"] == "WARNING"] == [
        ("unsafe setting", "SANIC_WS_ALLOWED_ORIGINS"),
        ("unsafe setting", "SANIC_WS_API_KEYS"),
    ]


async def test_backends_that_are_away_are_told_with_their_reason():
    settings = {
        "REDIS_URL": "redis://user:password-of-redis@127.0.0.1:1/0",
        "AMQP_URL": "amqp://user:password-of-rabbit@127.0.0.1:1/",
        "API_KEYS": f"backend:{KEY}",
        "JWT_SECRET": SECRET,
        "LOG_FORMAT": "JSON",
    }
    env = {f"SANIC_WS_{name}": value for name, value in settings.items()}
    with GatewayNode("serve", name="alone", env=env, ready="livez") as node:
        (away,) = await eventually(lambda: with_message(node, "Redis is away"), "Redis to be away")
        failed = await eventually(lambda: with_message(node, "RabbitMQ connect failed"), "RabbitMQ too")
    assert away["server"] == "Redis 127.0.0.1:1"
    assert away["reason"]
    assert failed[0]["reason"]
