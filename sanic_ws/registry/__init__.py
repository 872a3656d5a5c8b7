"""The registry: which node owns which connection, and which connections a user has."""

from __future__ import annotations

from sanic_ws.registry.port import (
    Absences,
    Claim,
    Claimed,
    Directory,
    Gone,
    Info,
    Kept,
    Mark,
    NodeInfo,
    Registry,
    Release,
)

__all__ = [
    "Absences",
    "Claim",
    "Claimed",
    "Directory",
    "Gone",
    "Info",
    "Kept",
    "Mark",
    "NodeInfo",
    "Registry",
    "Release",
]
