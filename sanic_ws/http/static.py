"""``GET /static/…``: the files that pages need, from a fixed list."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from sanic import Blueprint, HTTPResponse, Request

from sanic_ws.http.bodies import discard_body
from sanic_ws.http.openapi import Answer, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Handler = Callable[[Request[Any, Any]], Coroutine[Any, Any, HTTPResponse]]

blueprint = Blueprint("static", url_prefix="/static")

_KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "ts": "text/plain"}
LIBRARY = ("sanic-ws.js", "sanic-ws.d.ts")
"""Files that pages of any origin may take; the others belong to pages of ours, and are in no document."""
CONSOLE = (
    "console.css",
    "console.js",
    "console.svg",
    "console-api.js",
    "console-chart.js",
    "console-dom.js",
    "console-figures.js",
    "console-find.js",
    "console-history.js",
    "console-keys.js",
    "console-model.js",
    "console-nodes.js",
    "console-push.js",
    "console-target.js",
    "console-text.js",
    "console-theme.js",
    "console-way.js",
)
"""What the console's page consists of."""
FILES: tuple[str, ...] = (*LIBRARY, *CONSOLE, "demo.js", "demo.css")
"""All that are served, from the folder beside this module."""


class _File(NamedTuple):
    content: bytes
    headers: dict[str, str]
    media_type: str


def read(name: str) -> str:
    """Return the text of a file of the folder."""
    return files("sanic_ws.http").joinpath("static", name).read_text("utf-8")


def _load(name: str) -> _File:
    content = read(name).encode()
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        # Asked for anew each time, and sent only when it has changed: a node's files are of one version.
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if name in LIBRARY:
        headers["Access-Control-Allow-Origin"] = "*"
    return _File(content, headers, f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8")


def _serve(name: str) -> Handler:
    file = _load(name)

    async def give(request: Request[Any, Any]) -> HTTPResponse:
        await discard_body(request)
        known = request.headers.get("if-none-match", "")
        if known == "*" or file.headers["ETag"] in known:
            return HTTPResponse(status=304, headers=file.headers)
        return HTTPResponse(file.content, headers=file.headers, content_type=file.media_type)

    give.__name__ = f"get_{re.sub('[^a-z]', '_', name)}"
    give.__doc__ = f"Give the file `{name}`."
    if name in LIBRARY:
        answers = {
            200: Answer("Page", "it", file.media_type),
            304: Answer(None, "it is what the browser has"),
        }
        return describe(answers)(give)
    return give


for _name in FILES:
    _handler = _serve(_name)
    blueprint.add_route(_handler, f"/{_name}", methods=["GET"], name=_handler.__name__)
