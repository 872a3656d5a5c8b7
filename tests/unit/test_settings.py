from __future__ import annotations

import os
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from sanic_ws.errors import InvalidField
from sanic_ws.settings import Settings, read_settings
from tests.tokens import rsa_key

SERVE = {"redis_url": "redis://r", "amqp_url": "amqp://a", "api_keys": "backend:secret"}
PEM = rsa_key().pem


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
        ("log_format", "xml"),
        ("log_level", "loud"),
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
        ("max_connections_per_user", -1),
        ("max_connections_per_address", "many"),
        ("handshakes_per_s", -1),
        ("handshakes_per_s_per_address", 1.5),
        ("messages_per_s", -1),
        ("bytes_per_s", "1 MB"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "10.0.0.0/8, proxy.example"),
        ("header_timeout_s", 0),
        ("compression", "perhaps"),
        ("subprotocols", "a b"),
        ("subprotocols", "ok, a/b"),
        ("subprotocols", "ä"),
        ("client_groups", "a*b"),
        ("client_groups", "a, *b"),
        ("trust_client_identity", "perhaps"),
        ("api_keys", "nokey"),
        ("api_keys", ":key"),
        ("api_keys", "name:"),
        ("api_keys", "name:key:fly"),
        ("api_keys", "name:key:push:"),
        ("api_keys", "name:key:push:everybody"),
        ("api_keys", "a:key,b:key"),
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


def test_subprotocols_are_a_list(monkeypatch):
    assert read_settings("dev").subprotocols == ()
    monkeypatch.setenv("SANIC_WS_SUBPROTOCOLS", "v2.example, v1.example,")
    assert read_settings("dev").subprotocols == ("v2.example", "v1.example")
    assert read_settings("dev", subprotocols="").subprotocols == ()


def test_groups_that_clients_may_join_are_none_in_serve_and_all_in_dev(monkeypatch):
    assert read_settings("dev").client_groups == ("*",)
    assert read_settings("serve", **SERVE).client_groups == ()
    monkeypatch.setenv("SANIC_WS_CLIENT_GROUPS", "news, team-*,")
    assert read_settings("serve", **SERVE).client_groups == ("news", "team-*")


def test_proxies_are_networks(monkeypatch):
    assert read_settings("dev").trusted_proxies == ()
    monkeypatch.setenv("SANIC_WS_TRUSTED_PROXIES", "10.0.0.0/8, ::1,")
    assert read_settings("serve", **SERVE).trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("::1/128"),
    )


def test_clients_are_limited_in_serve_and_in_dev_only_by_what_each_sends():
    names = [
        name for name in Settings.model_fields if name.startswith("max_connections_per_") or "_per_s" in name
    ]
    limits = {
        mode: [getattr(read_settings(mode, **SERVE), name) for name in names] for mode in ("serve", "dev")
    }
    assert limits == {"serve": [64, 512, 2000, 50, 100, 1 << 20], "dev": [0, 0, 0, 0, 100, 1 << 20]}
    assert read_settings("dev", max_connections_per_user=3).max_connections_per_user == 3


def test_compression_is_off_unless_it_is_asked_for():
    assert [read_settings("dev", compression=given).compression for given in (None, True)] == [False, True]


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


def test_log_settings_may_be_in_capitals():
    settings = read_settings("dev", log_format="JSON", log_level="WARNING")
    assert (settings.log_format, settings.log_level) == ("json", "warning")


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


@pytest.mark.parametrize("mode", ["dev", "serve"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwt_secret", "s" * 31),
        ("jwt_secret", PEM),
        ("jwt_public_key", "-----BEGIN PUBLIC KEY-----"),
        ("jwt_public_key", "/there/is/no/such/file"),
        ("jwt_public_key", "no-path\0"),
        ("jwt_public_key", "/"),
        ("jwt_public_key", rsa_key(1024).pem),
        ("jwt_jwks_url", "http://keys.example/"),
        ("jwt_jwks_url", "http://127.0.0.1.keys.example/"),
        ("jwt_jwks_url", "http://localhost@keys.example/"),
        ("jwt_jwks_url", "ftp://127.0.0.1/"),
        ("jwt_jwks_url", "file:///etc/passwd"),
        ("jwt_jwks_url", "keys.example"),
        ("auth_timeout_s", 0),
        ("auth_timeout_s", "inf"),
    ],
)
def test_setting_of_tokens_that_is_wrong_or_weak_is_named_and_not_shown(mode, name, value):
    with pytest.raises(InvalidField) as caught:
        read_settings(mode, **{**SERVE, name: value})
    assert caught.value.field == f"SANIC_WS_{name.upper()}"
    assert isinstance(value, int) or len(value) < 4 or value not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jwt_secret", "jwt_public_key"),
        ("jwt_secret", "jwt_jwks_url"),
        ("jwt_public_key", "jwt_jwks_url"),
    ],
)
def test_tokens_have_one_kind_of_key(one, other):
    given = {"jwt_secret": "s" * 32, "jwt_public_key": PEM, "jwt_jwks_url": "https://keys.example"}
    both = {name: given[name] for name in (one, other)}
    assert refused("serve", **SERVE, **both) == f"SANIC_WS_{other.upper()}"


@pytest.mark.parametrize(
    "url", ["https://keys.example/a?b", "http://127.0.0.1:81/", "http://[::1]/", "http://localhost"]
)
def test_keys_come_encrypted_or_from_this_machine(url):
    assert read_settings("serve", **SERVE, jwt_jwks_url=url).jwt_jwks_url == url


def test_public_key_may_be_text_one_line_or_a_file(tmp_path, monkeypatch):
    file = tmp_path / "key.pem"
    file.write_text(PEM)
    for value in (PEM, PEM.replace("\n", "\\n"), str(file)):
        assert read_settings("serve", **SERVE, jwt_public_key=value).jwt_public_key == PEM
    monkeypatch.setenv("SANIC_WS_JWT_PUBLIC_KEY", str(file))
    assert read_settings("dev").jwt_public_key == PEM


def test_secret_of_tokens_is_not_shown():
    assert "s" * 32 not in repr(read_settings("serve", **SERVE, jwt_secret="s" * 32))


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == ["mode"]


def test_node_is_named_after_its_host(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "höst name.example")
    assert read_settings("dev").node_name == "h-st-name.example"
    monkeypatch.setattr("socket.gethostname", lambda: "")
    assert read_settings("dev").node_name == "node"
