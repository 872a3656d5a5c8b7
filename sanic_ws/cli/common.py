"""What the commands share."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.json import JSON

from sanic_ws.core import json
from sanic_ws.errors import InvalidField, InvalidJSON, SanicWsError

EXIT_NOT_DELIVERED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

AsJson = Annotated[
    bool, typer.Option("--json", help="for programs; that is so without it where this is no terminal")
]
Url = Annotated[str | None, typer.Option(help="a node's address, such as http://127.0.0.1:8000")]
Key = Annotated[str | None, typer.Option(envvar="SANIC_WS_API_KEY", help="the API key")]
RedisUrl = Annotated[str | None, typer.Option(envvar="SANIC_WS_REDIS_URL", help="the gateway's Redis")]
AmqpUrl = Annotated[str | None, typer.Option(envvar="SANIC_WS_AMQP_URL", help="the gateway's RabbitMQ")]
Prefix = Annotated[str | None, typer.Option(envvar="SANIC_WS_PREFIX", help="the gateway's prefix")]
DEFAULT_URL = "http://127.0.0.1:8000"


class CallRefused(InvalidField):
    """Report that a node does not do what it is asked for.

    Args:
        field: what it was asked.
        reason: what it says.
        status: of its answer.
    """

    def __init__(self, field: str, reason: str, status: int) -> None:
        super().__init__(field, reason)
        self.status = status


def is_for_people(as_json: bool) -> bool:
    """Say whether somebody looks at the output; a wish for colours in a script does not change that."""
    return sys.stdout.isatty() and not as_json


def print_json(value: Any) -> None:
    """Print a value as JSON over several lines, without colours: it is for programs."""
    print(JSON(json.dumps(value).decode()).text.plain)  # noqa: T201


def plain(text: str) -> str:
    """Return text that moves no cursor and changes no colour of a terminal, whoever has sent it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def call(
    url: str,
    path: str,
    api_key: str | None,
    body: Any = None,
    timeout_s: float = 10,
    method: str | None = None,
) -> Any:
    """Call a node over HTTP; a receipt comes with 503 and 504 too.

    Raises:
        CallRefused: it does not do what it is asked for.
        InvalidField: the address is none.
        SanicWsError: it does not answer, or cannot do it now.
    """
    from urllib.error import HTTPError, URLError  # noqa: PLC0415
    from urllib.request import Request, urlopen  # noqa: PLC0415

    address = url.rstrip("/").replace("ws://", "http://").replace("wss://", "https://").removesuffix("/ws")
    if not address.startswith(("http://", "https://")):
        raise InvalidField("--url", "must begin with http:// or https://")
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    content = None if body is None else json.dumps(body)
    try:
        request = Request(address + path, content, headers, method=method)  # noqa: S310 - see above
        with urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - see above
            return json.loads(response.read())
    except HTTPError as exc:
        answer = _read_object(exc.read())
        if "outcome" in answer:
            return answer
        reason = _error_text(answer) or f"HTTP {exc.code}"
        if exc.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise SanicWsError(f"{address}{path}: {reason}") from None
        raise CallRefused(f"{address}{path}", reason, exc.code) from None
    except (URLError, OSError) as exc:
        raise SanicWsError(f"{address} does not answer: {getattr(exc, 'reason', exc)}") from None


def _read_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except InvalidJSON:
        return {}
    return value if isinstance(value, dict) else {}


def _error_text(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else ""
