"""The mailbox: durable messages, for those who are away."""

from __future__ import annotations

from sanic_ws.mailbox.port import Bounds, Mailbox

__all__ = ["Bounds", "Mailbox"]
