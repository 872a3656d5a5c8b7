"""``sanic-ws nodes``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.table import Table

from sanic_ws.backends import make_registry
from sanic_ws.cli.common import DEFAULT_URL, Key, Prefix, RedisUrl, Url, call, out
from sanic_ws.core import json


def nodes(
    url: Url = None,
    api_key: Key = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """List the cluster's nodes, over a node's HTTP with --url or from the registry."""
    if url is None and redis_url:
        found = asyncio.run(_nodes_direct(redis_url, prefix or "sanic_ws"))
    else:
        found = call(url or DEFAULT_URL, "/api/v1/nodes", api_key)["nodes"]
    if as_json:
        print(json.dumps(found).decode())  # noqa: T201
        return
    table = Table("node", "state", "connections", "started", "version", box=None)
    for node in found:
        table.add_row(*(str(node[name]) for name in ("node", "state", "connections", "started", "version")))
    out.print(table)


async def _nodes_direct(redis_url: str, prefix: str) -> list[dict[str, Any]]:
    registry = make_registry(redis_url, prefix)
    try:
        infos = await registry.nodes()
    finally:
        await registry.close()
    fields = ("name", "connections", "started", "state", "version")
    return [{"node": info.id, **{name: getattr(info, name) for name in fields}} for info in infos]
