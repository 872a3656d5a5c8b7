"""Requests through the HTTP publisher program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.benchmark.processes import Program

CONNECTIONS = 16


def post(
    sender: Program,
    port: int,
    requests: Sequence[tuple[str, str]],
    *,
    headers: Mapping[str, str] | None = None,
    expected: str = "",
    connections: int = CONNECTIONS,
) -> dict[str, Any]:
    """Post each (path, body) to 127.0.0.1; count `expected` in the answers."""
    return sender.call(
        "post",
        host="127.0.0.1",
        port=port,
        requests=requests,
        headers=dict(headers or {}),
        expected=expected,
        connections=connections,
    )
