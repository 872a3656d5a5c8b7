"""The node: its connections, its part of the registry, its queue."""

from __future__ import annotations

from sanic_ws.node.node import Node

__all__ = ["Node"]
