"""What the commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from sanic_ws.core import json
from sanic_ws.errors import InvalidField, InvalidJSON, SanicWsError

EXIT_NOT_DELIVERED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

Url = Annotated[str | None, typer.Option(help="a node's address, such as http://127.0.0.1:8000")]
Key = Annotated[str | None, typer.Option(envvar="SANIC_WS_API_KEY", help="the API key")]
RedisUrl = Annotated[str | None, typer.Option(envvar="SANIC_WS_REDIS_URL", help="the gateway's Redis")]
AmqpUrl = Annotated[str | None, typer.Option(envvar="SANIC_WS_AMQP_URL", help="the gateway's RabbitMQ")]
Prefix = Annotated[str | None, typer.Option(envvar="SANIC_WS_PREFIX", help="the gateway's prefix")]
DEFAULT_URL = "http://127.0.0.1:8000"


def call(url: str, path: str, api_key: str | None, body: Any = None, timeout_s: float = 10) -> Any:
    """Call a node over HTTP; a receipt comes with 503 and 504 too."""
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
        with urlopen(Request(address + path, content, headers), timeout=timeout_s) as response:  # noqa: S310
            return json.loads(response.read())
    except HTTPError as exc:
        answer = _read_object(exc.read())
        if "outcome" in answer:
            return answer
        raise InvalidField(f"{address}{path}", _error_text(answer) or f"HTTP {exc.code}") from None
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
