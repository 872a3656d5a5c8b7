from __future__ import annotations

import hashlib
import os

import pytest
from pydantic import ValidationError

from sanic_ws.errors import InvalidField
from sanic_ws.settings import ApiKey, Settings, parse_api_keys, read_settings

SERVE = {"redis_url": "redis://r", "amqp_url": "amqp://a", "api_keys": "backend:secret"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SANIC_WS_"):
            monkeypatch.delenv(name)


def refused(mode, **given) -> str:
    with pytest.raises(InvalidField) as caught:
        read_settings(mode, **given)
    return caught.value.field


def test_dev_needs_nothing():
    settings = read_settings("dev")
    assert (settings.redis_url, settings.amqp_url, settings.host) == ("memory://", "memory://", "127.0.0.1")
    assert settings.trust_client_identity
    assert settings.allowed_origins == ("*",)
    assert settings.embedded


def test_serve_is_careful_where_nothing_is_said():
    settings = read_settings("serve", **SERVE)
    assert not settings.trust_client_identity
    assert settings.allowed_origins == ()
    assert (settings.prefix, settings.workers, settings.embedded) == ("sanic_ws", 1, False)


@pytest.mark.parametrize("missing", ["redis_url", "amqp_url", "api_keys"])
def test_serve_says_what_is_missing(missing):
    given = {name: value for name, value in SERVE.items() if name != missing}
    assert refused("serve", **given) == f"SANIC_WS_{missing.upper()}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", "http"),
        ("workers", 0),
        ("node_name", ""),
        ("node_name", "a b"),
        ("node_name", "n" * 65),
        ("prefix", ""),
        ("prefix", "a:b"),
        ("prefix", "ä"),
        ("lease_s", 0),
        ("lease_s", "soon"),
        ("heartbeat_s", 0),
        ("drain_s", -1),
        ("max_message_bytes", 10),
        ("max_queue_bytes", 10),
        ("max_connections", 0),
        ("trust_client_identity", "perhaps"),
        ("api_keys", "nokey"),
        ("api_keys", ":key"),
        ("api_keys", "name:"),
        ("api_keys", "name:key:fly"),
        ("api_keys", ","),
    ],
)
def test_serve_names_the_setting_that_is_wrong(name, value):
    assert refused("serve", **{**SERVE, name: value}) == f"SANIC_WS_{name.upper()}"


@pytest.mark.parametrize("name", ["lease_s", "heartbeat_s", "drain_s"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_times_are_finite(name, value):
    assert refused("serve", **{**SERVE, name: value}) == f"SANIC_WS_{name.upper()}"


def test_secret_is_in_no_refusal():
    with pytest.raises(InvalidField) as caught:
        read_settings("serve", **{**SERVE, "api_keys": "name:very-secret:fly"})
    assert "very-secret" not in str(caught.value)


def test_environment_is_read(monkeypatch):
    for name, value in SERVE.items():
        monkeypatch.setenv(f"SANIC_WS_{name.upper()}", value)
    monkeypatch.setenv("SANIC_WS_PORT", "9000")
    monkeypatch.setenv("SANIC_WS_TRUST_CLIENT_IDENTITY", "true")
    monkeypatch.setenv("SANIC_WS_ALLOWED_ORIGINS", "https://a.example/, https://b.example")
    settings = read_settings("serve")
    assert (settings.port, settings.trust_client_identity) == (9000, True)
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


def test_what_is_given_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("SANIC_WS_PORT", "9000")
    assert read_settings("dev", port=9001).port == 9001
    assert read_settings("dev", port=None).port == 9000


def test_environment_wins_over_what_dev_presumes(monkeypatch):
    monkeypatch.setenv("SANIC_WS_REDIS_URL", "redis://r")
    monkeypatch.setenv("SANIC_WS_TRUST_CLIENT_IDENTITY", "false")
    monkeypatch.setenv("SANIC_WS_ALLOWED_ORIGINS", "")
    settings = read_settings("dev")
    assert (settings.redis_url, settings.trust_client_identity) == ("redis://r", False)
    assert settings.allowed_origins == ()


def test_other_variables_of_the_prefix_are_no_error(monkeypatch):
    monkeypatch.setenv("SANIC_WS_API_KEY", "client side")
    read_settings("dev")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_dev_listens_on_loopback(host):
    assert read_settings("dev", host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", ""])
def test_dev_listens_on_nothing_else(host):
    assert refused("dev", host=host) == "SANIC_WS_HOST"


@pytest.mark.parametrize("name", ["redis_url", "amqp_url"])
def test_memory_serves_one_process(name):
    assert refused("serve", **{**SERVE, name: "memory://", "workers": 2}) == "SANIC_WS_WORKERS"
    assert read_settings("serve", **{**SERVE, name: "memory://"}).embedded


def test_settings_are_frozen():
    settings = read_settings("dev")
    with pytest.raises(ValidationError):
        settings.port = 1


def test_keys_are_not_shown():
    assert "secret" not in repr(read_settings("serve", **SERVE))


def test_key_keeps_its_hash_only():
    key = ApiKey.parse("backend:se:push")
    assert key.digest == hashlib.sha256(b"se").digest()
    assert (key.name, key.scopes) == ("backend", frozenset({"push"}))


def test_key_without_scopes_has_all():
    assert ApiKey.parse("a:k").scopes == {"push", "read", "admin"}
    assert ApiKey.parse("a:k:push+read").scopes == {"push", "read"}


def test_several_keys_are_read():
    assert [key.name for key in parse_api_keys(" a:1 , b:2:read ,")] == ["a", "b"]


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == ["mode"]


def test_node_is_named_after_its_host(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "höst name.example")
    assert read_settings("dev").node_name == "h-st-name.example"
    monkeypatch.setattr("socket.gethostname", lambda: "")
    assert read_settings("dev").node_name == "node"
