"""Settings: read once, frozen, passed in."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sanic_ws.core.redis_url import REDIS_SCHEMES, parse_redis_url
from sanic_ws.errors import InvalidField

__all__ = ["ApiKey", "Settings", "read_settings"]

SCOPES = frozenset({"push", "read", "admin"})
ENV_PREFIX = "SANIC_WS_"


def _host_name() -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in socket.gethostname())
    return name[:64] or "node"


class ApiKey(BaseModel):
    """Hold a publisher's key: its hash only."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: bytes
    scopes: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name:key`` or ``name:key:scope+scope``."""
        name, colon, rest = text.strip().partition(":")
        key, _, scopes = rest.partition(":")
        if not (name and colon and key):
            raise ValueError("a key is written name:key or name:key:scope+scope")
        wanted = frozenset(scopes.split("+")) if scopes else SCOPES
        if not wanted <= SCOPES:
            raise ValueError(f"the scopes of {name!r} must be of push, read, admin")
        return cls(name=name, digest=hashlib.sha256(key.encode()).digest(), scopes=wanted)


def parse_api_keys(text: str) -> tuple[ApiKey, ...]:
    """Read a comma-separated list of keys.

    Raises:
        ValueError: one is not written as it should be.
    """
    return tuple(ApiKey.parse(part) for part in text.split(",") if part.strip())


def _check_name(name: str) -> str:
    if not name or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
        raise ValueError("must be of A-Z a-z 0-9 . _ -")
    return name


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_name)]


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
        "", repr=False, description="publishers: name:key or name:key:scope+scope, by commas"
    )
    trust_client_identity: bool = Field(
        default=False, description="whether clients may say who they are with user_info"
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins of browsers that may connect, by commas; * for any"
    )
    lease_s: float = Field(15.0, ge=1, le=300, description="how long a node that is silent is believed")
    heartbeat_s: float = Field(25.0, ge=1, le=3600, description="seconds between pings to a silent client")
    drain_s: float = Field(10.0, ge=0, le=3600, description="over how long connections leave at the end")
    max_message_bytes: int = Field(1 << 20, ge=1024, le=1 << 28, description="of one message, either way")
    max_queue_bytes: int = Field(1 << 20, ge=1024, le=1 << 30, description="waiting for one client to read")
    max_connections: int = Field(18_000, ge=1, le=10_000_000, description="on one node")

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
    origins = values.get("allowed_origins", os.environ.get(f"{ENV_PREFIX}ALLOWED_ORIGINS"))
    if isinstance(origins, str):
        values["allowed_origins"] = tuple(o.strip().rstrip("/") for o in origins.split(",") if o.strip())
    if mode == "dev":
        for name, value in _DEV.items():
            if name not in values and f"{ENV_PREFIX}{name.upper()}" not in os.environ:
                values[name] = value
    try:
        settings = Settings(mode=mode, **values)
    except ValidationError as exc:
        error = exc.errors()[0]
        raise InvalidField(_variable(str(error["loc"][0])), error["msg"]) from None
    _check(settings)
    return settings


_DEV: dict[str, Any] = {
    "redis_url": "memory://",
    "amqp_url": "memory://",
    "trust_client_identity": True,
    "allowed_origins": ("*",),
    "drain_s": 0.5,
}


def _check(settings: Settings) -> None:
    try:
        keys = settings.keys
    except ValueError as exc:
        raise InvalidField(_variable("api_keys"), str(exc)) from None
    if settings.mode == "dev" and settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidField(_variable("host"), "dev listens on loopback only; use serve for anything else")
    for name, schemes in _SCHEMES.items():
        for url in getattr(settings, name).split("," if name == "amqp_url" else None) or [""]:
            _check_url(_variable(name), url.strip(), schemes)
    if settings.mode == "serve" and not keys:
        raise InvalidField(_variable("api_keys"), "is required: without a key nobody can push")
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


def _variable(name: str) -> str:
    return f"{ENV_PREFIX}{name.upper()}"
