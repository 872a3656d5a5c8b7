"""Read the URL of a Redis: one server, Sentinel, or Cluster.

::

    redis://[user:password@]host[:port][/db]
    rediss://…                                              the same over TLS
    redis+sentinel://[user:password@]host[:port],…/master[/db]
    redis+cluster://[user:password@]host[:port],…

User, password, master and the values of options are percent-encoded where they hold ``/ ? # @ : %``.
Options follow as a query: ``tls=true`` for Sentinel and Cluster, the credentials of the Sentinels
themselves (``sentinel_username``, ``sentinel_password``; ``sentinel_tls`` where it is not as ``tls``), and
redis-py's own: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` and the like, see `_OPTIONS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sanic_ws.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REDIS_SCHEMES", "Address", "RedisUrl", "parse_redis_url"]

Address = tuple[str, int]
Kind = Literal["single", "sentinel", "cluster"]

REDIS_SCHEMES: dict[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "redis+sentinel": "sentinel",
    "redis+cluster": "cluster",
}
_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\[\]:@\s]*)(?::(?P<port>\d{1,5}))?")
_ENCODED = "what holds / ? # @ : or % in it has to be percent-encoded"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Say where a Redis is and how to connect.

    Attributes:
        kind: one server, Sentinel, or Cluster.
        addresses: the server; the Sentinels; some of the Cluster's servers.
        master: the name that the Sentinels know the master by.
        tls: whether to connect to the servers with TLS.
        options: redis-py's arguments for a connection, credentials and ``db`` included.
        sentinel: the same for connections to the Sentinels.
        sentinel_tls: whether to connect to these with TLS.
        max_connections: to one server at a time.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    master: str
    tls: bool
    options: dict[str, Any] = field(repr=False)
    sentinel_tls: bool
    sentinel: dict[str, Any] = field(repr=False)
    max_connections: int


def parse_redis_url(url: str) -> RedisUrl:
    """Read a URL.

    Raises:
        InvalidField: it is not one; says what is wrong, and never shows a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _invalid(f"is not a URL ({_ENCODED})") from None
    kind = REDIS_SCHEMES.get(parts.scheme)
    if kind is None:
        raise _invalid(f"must begin with one of {', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES)}")
    credentials, _, hosts = parts.netloc.rpartition("@")
    addresses = tuple(_address(text, kind) for text in hosts.split(","))
    if kind == "single" and len(addresses) > 1:
        raise _invalid("names several servers; use redis+sentinel:// or redis+cluster://")
    options = _read_options(parts.query)
    master, db = _read_path(parts, kind)
    options.setdefault("db", db)
    if kind == "cluster" and options["db"]:
        raise _invalid("a Cluster has database 0 only")
    return _put_together(kind, addresses, master, parts.scheme == "rediss", _login(credentials) | options)


def _put_together(
    kind: Kind, addresses: tuple[Address, ...], master: str, secure: bool, options: dict[str, Any]
) -> RedisUrl:
    tls = options.pop("tls", secure)
    if secure and not tls:
        raise _invalid("tls=false contradicts rediss://")
    sentinel_tls = options.pop("sentinel_tls", tls)
    names = [name for name in options if name.startswith("sentinel_")]
    login = {name.removeprefix("sentinel_"): options.pop(name) for name in names}
    if kind != "sentinel" and (names or sentinel_tls is not tls):
        raise _invalid("options that begin with sentinel_ are for redis+sentinel:// only")
    most = options.pop("max_connections", 16)
    ssl = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if ssl and not (tls or sentinel_tls):
        raise _invalid(f"{next(iter(ssl))} needs TLS: rediss://, or tls=true for Sentinel and Cluster")
    plain = {name: value for name, value in options.items() if name not in ssl}
    return RedisUrl(
        kind=kind,
        addresses=addresses,
        master=master,
        tls=tls,
        options=options if tls else plain,
        sentinel_tls=sentinel_tls,
        sentinel=login | (ssl if sentinel_tls else {}),
        max_connections=most,
    )


def _address(text: str, kind: Kind) -> Address:
    match = _ADDRESS.fullmatch(text.strip())
    host = match["host"].strip("[]") if match else ""
    port = int(match["port"] or _PORTS[kind]) if match else 0
    if not host and kind == "single" and match:
        host = "localhost"
    if not host or not 0 < port < 1 << 16:
        raise _invalid(f"has an address that is not host:port ({_ENCODED})")
    return host, port


def _login(credentials: str) -> dict[str, Any]:
    user, _, password = credentials.partition(":")
    login = {"username": unquote(user), "password": unquote(password)}
    return {name: text for name, text in login.items() if text}


def _read_path(parts: SplitResult, kind: Kind) -> tuple[str, int]:
    """Return the master's name and the database's number."""
    names = [unquote(part) for part in parts.path.split("/") if part]
    if kind == "sentinel" and not names:
        raise _invalid("must name the master: redis+sentinel://host:port,host:port/<master>[/<db>]")
    master = names.pop(0) if kind == "sentinel" else ""
    if len(names) > 1 or not all(name.isascii() and name.isdigit() for name in names):
        raise _invalid(f"the database must be a number ({_ENCODED})")
    return master, int(names[0]) if names else 0


def _read_options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        read = _OPTIONS.get(name)
        if read is None:
            shown = f" {name}" if re.fullmatch("[a-z_]{1,40}", name) else f" ({_ENCODED})"
            raise _invalid(f"has an option that is not known{shown}")
        try:
            options[name] = read(value)
        except ValueError as exc:
            raise _invalid(f"{name} must be {exc}") from None
    return options


def _flag(value: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if value.lower() not in known:
        raise ValueError("true or false")
    return known[value.lower()]


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("a number")
    return int(value)


def _positive(value: str) -> int:
    if not _whole(value):
        raise ValueError("greater than 0")
    return int(value)


def _seconds(value: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value):
        raise ValueError("a number of seconds greater than 0")
    return float(value)


def _text(value: str) -> str:
    if not value:
        raise ValueError("given, or left out")
    return value


def _requirement(value: str) -> str:
    if value not in ("required", "optional", "none"):
        raise ValueError("required, optional or none")
    return value


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "client_name": _text,
    "db": _whole,
    "max_connections": _positive,
    "password": _text,
    "sentinel_password": _text,
    "sentinel_tls": _flag,
    "sentinel_username": _text,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "socket_timeout": _seconds,
    "ssl_ca_certs": _text,
    "ssl_ca_data": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _requirement,
    "ssl_certfile": _text,
    "ssl_check_hostname": _flag,
    "ssl_ciphers": _text,
    "ssl_keyfile": _text,
    "ssl_min_version": _whole,
    "ssl_password": _text,
    "tls": _flag,
    "username": _text,
}


def _invalid(reason: str) -> InvalidField:
    return InvalidField("redis_url", reason)
