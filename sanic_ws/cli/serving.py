"""``sanic-ws dev | serve | check``."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sanic_ws import __version__
from sanic_ws.backends import make_broker, make_registry
from sanic_ws.cli.common import EXIT_UNAVAILABLE, out
from sanic_ws.core.api_keys import MIN_KEY_CHARS
from sanic_ws.errors import InvalidField, RegistryUnavailable
from sanic_ws.logs import configure_logging, event_log
from sanic_ws.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = event_log("sanic_ws")


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every setting; what is given comes to it as a dict ``given``."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
    names = [name for name in Settings.model_fields if name != "mode"]

    @wraps(command)
    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in names}
        command(given=given, **values)

    parameters = own + [_parameter(name) for name in names]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    kind = field.annotation if field.annotation in (int, float, bool) else str
    option = typer.Option(envvar=f"SANIC_WS_{name.upper()}", help=field.description, show_default=False)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


@with_settings
def dev(
    *,
    given: dict[str, Any],
    echo: Annotated[str | None, typer.Option(help="a path that sends every message back")] = None,
) -> None:
    """Run one node to try things: embedded backends, trusting, loopback only."""
    settings = read_settings("dev", **given)
    _check_port(settings)
    _print_welcome(settings)
    _run(settings, echo)


@with_settings
def serve(*, given: dict[str, Any]) -> None:
    """Run nodes in production; refuses to start with an unsafe or missing setting, and says which."""
    settings = read_settings("serve", **given)
    _check_port(settings)
    configure_logging(settings.log_format, settings.log_level)
    for setting, reason in _warnings(settings):
        log.warning("unsafe setting", setting=f"SANIC_WS_{setting}", reason=reason)
    _run(settings, None)


def _warnings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Say what was chosen that is not safe, by the setting's name, and why."""
    if settings.trust_client_identity:
        yield "TRUST_CLIENT_IDENTITY", "it is on: clients are believed who they say they are"
    elif not (settings.jwt_secret or settings.jwt_public_key or settings.jwt_jwks_url):
        others = "SANIC_WS_JWT_PUBLIC_KEY nor SANIC_WS_JWT_JWKS_URL"
        yield "JWT_SECRET", f"neither it nor {others} is set: anybody may connect, all clients are anonymous"
    if "*" in settings.allowed_origins:
        yield "ALLOWED_ORIGINS", "it holds *: pages of any origin may connect"
    for network in settings.trusted_proxies:
        if not network.prefixlen:
            yield "TRUSTED_PROXIES", f"it holds {network}: all clients are believed where they are"
    for key in settings.keys:
        if key.is_short:
            yield "API_KEYS", f"the key of {key.name} is shorter than {MIN_KEY_CHARS} characters"


@with_settings
def check(
    *,
    given: dict[str, Any],
    as_dev: Annotated[bool, typer.Option("--dev", help="as `dev` would read them")] = False,
) -> None:
    """Test the settings and the connections to Redis and RabbitMQ; exit code 0: all well."""
    settings = read_settings("dev" if as_dev else "serve", **given)
    out.print("settings  ok")
    logging.getLogger("sanic_ws").setLevel(logging.CRITICAL)
    if not asyncio.run(_connections_work(settings)):
        raise typer.Exit(EXIT_UNAVAILABLE)


async def _connections_work(settings: Settings) -> bool:
    registry = make_registry(settings.redis_url, settings.prefix)
    broker = make_broker(settings.amqp_url, settings.prefix)
    well = True
    try:
        out.print(f"registry  ok, {len((await registry.listing()).live)} live nodes")
    except RegistryUnavailable as exc:
        well = False
        out.print(f"registry  FAILED: {exc}", markup=False)
    await broker.open(lambda _: True)
    if await broker.wait_connected(5):
        out.print("broker    ok")
    else:
        well = False
        out.print("broker    FAILED: RabbitMQ does not answer, or refuses the user")
    await broker.close()
    await registry.close()
    return await _keys_come(settings) and well


async def _keys_come(settings: Settings) -> bool:
    if not settings.jwt_jwks_url:
        return True
    from sanic_ws.websocket.jwks import KeySet  # noqa: PLC0415 - the other commands start without it

    keys = KeySet(settings.jwt_jwks_url)
    fetched = await keys.refresh()
    out.print(f"jwt keys  ok, {len(keys)}" if fetched else "jwt keys  FAILED: there is no key set to be had")
    return fetched


def _print_welcome(settings: Settings) -> None:
    address = f"{settings.host}:{settings.port}"
    backends = "embedded backends" if settings.embedded else "Redis and RabbitMQ"
    body = '{"to":{"conn":"demo"},"type":"hello","data":{"n":1}}'
    out.print(
        f"""sanic-ws {__version__} on {backends}, for trying things: on this machine anybody may push.

  console  http://{address}/console
  clients  ws://{address}/ws?sign=demo
  health   http://{address}/readyz
  docs     http://{address}/docs
  demo     http://{address}/demo

Listen in one terminal and push in another:

  .venv/bin/sanic-ws listen --url ws://{address}/ws --sign demo

  curl -s -X POST http://{address}/api/v1/push -H 'Content-Type: application/json' \\
    -d '{body}'

Ctrl-C stops it.""",
        markup=False,
    )


def _run(settings: Settings, echo: str | None) -> None:
    from sanic_ws.app import Gateway  # noqa: PLC0415 - the other commands start without Sanic

    Gateway(settings).run(echo)


def _check_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise InvalidField("SANIC_WS_PORT", f"{settings.host}:{settings.port}: {exc.strerror}") from None
