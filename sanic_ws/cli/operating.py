"""``sanic-ws kick | drain``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sanic_ws.cli.common import (
    DEFAULT_URL,
    EXIT_NOT_DELIVERED,
    AsJson,
    CallRefused,
    Key,
    Url,
    call,
    err,
    is_for_people,
    out,
    plain,
    print_json,
)


def kick(
    conn: Annotated[str, typer.Argument(help="the connection's id")],
    url: Url = None,
    api_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Close a connection, wherever it is; its client does not come back by itself.

    Exit code 0: closed; 1: no node has it; 2: wrong arguments; 3: nobody could be asked.
    """
    answer = _order("DELETE", f"/api/v1/connections/{quote(conn, safe='')}", url, api_key)
    _tell(answer, f"{conn} was closed, on {answer.get('node')}", as_json)


def drain(
    node: Annotated[str, typer.Argument(help="the node's id, as `sanic-ws nodes` has it")],
    url: Url = None,
    api_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Have a node leave in its orderly way, as on SIGTERM; its clients come back elsewhere.

    Exit code 0: it was told; 1: there is no such node; 2: wrong arguments; 3: nobody could be asked.
    """
    answer = _order("POST", f"/api/v1/nodes/{quote(node, safe='')}/drain", url, api_key)
    _tell(answer, f"{node} leaves", as_json)


def _order(method: str, path: str, url: str | None, api_key: str | None) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = call(url or DEFAULT_URL, path, api_key, method=method)
    except CallRefused as exc:
        if exc.status != HTTPStatus.NOT_FOUND:
            raise
        err.print(f"sanic-ws: {exc.reason}", style="red", markup=False)
        raise typer.Exit(EXIT_NOT_DELIVERED) from None
    return answer


def _tell(answer: dict[str, Any], line: str, as_json: bool) -> None:
    if is_for_people(as_json):
        out.print(plain(line), markup=False)
    else:
        print_json(answer)
