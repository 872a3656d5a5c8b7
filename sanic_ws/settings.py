"""Settings: read once, frozen, passed in."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sanic_ws.core.api_keys import ApiKey, parse_api_keys
from sanic_ws.core.groups import check_pattern
from sanic_ws.core.proxies import Network, parse_network
from sanic_ws.core.redis_url import REDIS_SCHEMES, parse_redis_url
from sanic_ws.errors import InvalidField

__all__ = ["ApiKey", "Settings", "parse_api_keys", "read_settings"]

ENV_PREFIX = "SANIC_WS_"


def _host_name() -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in socket.gethostname())
    return name[:64] or "node"


def _check_name(name: str) -> str:
    if not name or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
        raise ValueError("must be of A-Z a-z 0-9 . _ -")
    return name


def _check_token(token: str) -> str:
    if not token or not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in token):
        raise ValueError("must be tokens (RFC 9110, section 5.6.2)")
    return token


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_name)]
Origin = Annotated[str, AfterValidator(lambda origin: origin.rstrip("/"))]
Subprotocol = Annotated[str, AfterValidator(_check_token)]
GroupPattern = Annotated[str, AfterValidator(check_pattern)]
TrustedNetwork = Annotated[Network, BeforeValidator(parse_network)]
Limit = Annotated[int, Field(ge=0, le=1 << 40)]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(lambda name: str(name).lower())]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], BeforeValidator(lambda name: str(name).lower())
]


class Settings(BaseSettings):
    """Hold what an operator sets: environment variables ``SANIC_WS_*``, or flags of the same names."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    mode: Literal["dev", "serve"] = "serve"
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    workers: int = Field(1, ge=1, le=256, description="processes; each is a node of its own")
    node_name: Name = Field(
        default_factory=_host_name, description="first part of the node's id; the host's name"
    )
    redis_url: str = Field(
        "",
        description="redis://, rediss://, redis+sentinel:// or redis+cluster://; memory:// for one process",
    )
    amqp_url: str = Field("", description="amqp:// or amqps://, several by commas; memory:// for one process")
    prefix: Name = Field("sanic_ws", description="of every key, exchange and queue")
    api_keys: str = Field(
        "",
        repr=False,
        description="publishers: name:key, name:key:scope+scope or name:key:scope+scope:targets, by commas",
    )
    jwt_secret: str = Field(
        "", repr=False, description="clients' tokens: the secret that they are signed with (HS256)"
    )
    jwt_public_key: str = Field(
        "", repr=False, description="clients' tokens: public key, PEM or a file with it (RS256, ES256)"
    )
    jwt_jwks_url: str = Field(
        "", repr=False, description="clients' tokens: where their keys are, https:// (RS256, ES256)"
    )
    jwt_issuer: str = Field("", description="clients' tokens: what iss must be; empty: anything")
    jwt_audience: str = Field("", description="clients' tokens: what aud must be or hold; empty: anything")
    auth_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="how long a client that has sent no token may take to send auth"
    )
    trust_client_identity: bool = Field(
        default=False, description="whether clients may say who they are with user_info"
    )
    allowed_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        (), description="origins of browsers that may connect, by commas; * for any"
    )
    subprotocols: Annotated[tuple[Subprotocol, ...], NoDecode] = Field(
        (), description="subprotocols that clients may ask for, by commas; the first that a client offers"
    )
    client_groups: Annotated[tuple[GroupPattern, ...], NoDecode] = Field(
        (), description="groups that clients may join by themselves, by commas; news* for all that begin so"
    )
    compression: bool = Field(
        default=False, description="whether messages are compressed for clients that can (permessage-deflate)"
    )
    header_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="how long the head of a request may take to come"
    )
    lease_s: float = Field(15.0, ge=1, le=300, description="how long a node that is silent is believed")
    heartbeat_s: float = Field(25.0, ge=1, le=3600, description="seconds between pings to a silent client")
    drain_s: float = Field(10.0, ge=0, le=3600, description="over how long connections leave at the end")
    events: bool = Field(
        default=True, description="whether back ends are told of connections and users that come and go"
    )
    presence_grace_s: float = Field(
        10.0,
        ge=0,
        le=600,
        description="how long a client may be away and come back, and no event is made of it",
    )
    mailbox_messages: int = Field(
        1000, ge=1, le=100_000, description="kept for one user; past it the oldest are dropped"
    )
    mailbox_bytes: int = Field(
        4 << 20, ge=1024, le=1 << 30, description="kept for one user; past it the oldest are dropped"
    )
    mailbox_wait_replicas: int = Field(
        0, ge=0, le=16, description="replicas of Redis that have a durable message before it counts as stored"
    )
    max_message_bytes: int = Field(1 << 20, ge=1024, le=1 << 28, description="of one message, either way")
    max_queue_bytes: int = Field(1 << 20, ge=1024, le=1 << 30, description="waiting for one client to read")
    max_connections: int = Field(18_000, ge=1, le=10_000_000, description="on one node")
    max_connections_per_user: Limit = Field(64, description="of one user on one node; 0: any number")
    max_connections_per_address: Limit = Field(
        512, description="from one address (IPv6: /64) to one node; 0: any number"
    )
    handshakes_per_s: Limit = Field(2000, description="that one node takes in a second; 0: any number")
    handshakes_per_s_per_address: Limit = Field(
        50, description="that one node takes from one address in a second; 0: any number"
    )
    messages_per_s: Limit = Field(
        100, description="that one client may send, pings included, twice as many at once; 0: any number"
    )
    bytes_per_s: Limit = Field(
        1 << 20, description="of messages that one client may send, twice as many at once; 0: any number"
    )
    trusted_proxies: Annotated[tuple[TrustedNetwork, ...], NoDecode] = Field(
        (),
        description="networks of proxies that say where clients are (X-Forwarded-For, Forwarded), by commas",
    )

    log_format: LogFormat = Field("text", description="text for people, or json: one object per line")
    log_level: LogLevel = Field("info", description="the least that is logged: debug, info, warning or error")

    otel: bool = Field(
        default=False,
        description="whether traces are exported, as OpenTelemetry's OTEL_* say; needs the extra otel",
    )

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The publishers' keys."""
        return parse_api_keys(self.api_keys)

    @property
    def embedded(self) -> bool:
        """Whether registry or broker live in this process's memory."""
        return "memory" in (self.redis_url.partition("://")[0], self.amqp_url.partition("://")[0])


def read_settings(mode: Literal["dev", "serve"], **given: Any) -> Settings:
    """Read the settings for a mode from the environment and from what is given, which wins.

    Raises:
        InvalidField: a value is not one, or an unsafe or missing one makes the mode refuse to start.
    """
    values = {name: value for name, value in given.items() if value is not None}
    for name in _LISTS:
        listed = values.get(name, os.environ.get(_variable(name)))
        if isinstance(listed, str):
            values[name] = tuple(item.strip() for item in listed.split(",") if item.strip())
    if mode == "dev":
        for name, value in _DEV.items():
            if name not in values and f"{ENV_PREFIX}{name.upper()}" not in os.environ:
                values[name] = value
    public_key = values.get("jwt_public_key", os.environ.get(f"{ENV_PREFIX}JWT_PUBLIC_KEY"))
    if public_key:
        values["jwt_public_key"] = _read_pem(public_key)
    try:
        settings = Settings(mode=mode, **values)
    except ValidationError as exc:
        error = exc.errors()[0]
        raise InvalidField(_variable(str(error["loc"][0])), error["msg"]) from None
    _check(settings)
    return settings


_LISTS = ("allowed_origins", "subprotocols", "client_groups", "trusted_proxies")
_DEV: dict[str, Any] = {
    "redis_url": "memory://",
    "amqp_url": "memory://",
    "trust_client_identity": True,
    "allowed_origins": ("*",),
    "client_groups": ("*",),
    "drain_s": 0.5,
    "max_connections_per_user": 0,
    "max_connections_per_address": 0,
    "handshakes_per_s": 0,
    "handshakes_per_s_per_address": 0,
}


def _check(settings: Settings) -> None:
    try:
        keys = settings.keys
    except ValueError as exc:
        raise InvalidField(_variable("api_keys"), str(exc)) from None
    if settings.mode == "dev" and settings.host not in _LOOPBACK:
        raise InvalidField(_variable("host"), "dev listens on loopback only; use serve for anything else")
    for name, schemes in _SCHEMES.items():
        for url in getattr(settings, name).split("," if name == "amqp_url" else None) or [""]:
            _check_url(_variable(name), url.strip(), schemes)
    if settings.mode == "serve" and not keys:
        raise InvalidField(_variable("api_keys"), "is required: without a key nobody can push")
    _check_jwt(settings)
    if settings.otel and not _has_otel():
        raise InvalidField(_variable("otel"), "needs the extra otel: pip install 'sanic-ws[otel]'")
    if settings.embedded and settings.workers > 1:
        raise InvalidField(_variable("workers"), "must be 1 with memory://, which serves one process")


_SCHEMES = {
    "redis_url": (*REDIS_SCHEMES, "memory"),
    "amqp_url": ("amqp", "amqps", "memory"),
}


def _check_url(variable: str, url: str, schemes: tuple[str, ...]) -> None:
    if not url:
        raise InvalidField(variable, "is required")
    scheme = url.partition("://")[0]
    try:
        fine = scheme in schemes and (scheme in REDIS_SCHEMES or urlsplit(url).port != 0)
    except ValueError:
        fine = False
    if not fine:
        allowed = ", ".join(f"{scheme}://" for scheme in schemes)
        raise InvalidField(variable, f"must be a URL that begins with one of {allowed}")
    if scheme in REDIS_SCHEMES:
        try:
            parse_redis_url(url)
        except InvalidField as exc:
            raise InvalidField(variable, exc.reason) from None


def _read_pem(text: str) -> str:
    """Return a key that is given as PEM, on one line or several, or as the path of a file that holds it."""
    if "-----BEGIN" in text:
        return text.replace("\\n", "\n")
    try:
        return Path(text).read_text("ascii")
    except (OSError, ValueError) as exc:
        # Not the path: it may be a key that was not written as it should be.
        reason = getattr(exc, "strerror", None) or "no text file"
        raise InvalidField(_variable("jwt_public_key"), f"is neither PEM nor a file: {reason}") from None


_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _check_jwt(settings: Settings) -> None:
    given = [name for name in ("jwt_secret", "jwt_public_key", "jwt_jwks_url") if getattr(settings, name)]
    if len(given) > 1:
        raise InvalidField(_variable(given[1]), f"must not be set beside {_variable(given[0])}")
    if settings.jwt_jwks_url:
        _check_url(_variable("jwt_jwks_url"), settings.jwt_jwks_url, ("https", "http"))
        url = urlsplit(settings.jwt_jwks_url)
        if url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise InvalidField(
                _variable("jwt_jwks_url"), "must be https://; http:// is for this machine only"
            )
    elif given:
        # Only here: whoever takes no tokens starts without the libraries for them.
        from sanic_ws.core.tokens import public_key, secret_key  # noqa: PLC0415

        read = secret_key if settings.jwt_secret else public_key
        try:
            read(getattr(settings, given[0]))
        except ValueError as exc:
            raise InvalidField(_variable(given[0]), str(exc)) from None


def _has_otel() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        return False


def _variable(name: str) -> str:
    return f"{ENV_PREFIX}{name.upper()}"
