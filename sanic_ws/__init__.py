"""sanic_ws: a WebSocket push gateway with node-affinity routing and truthful receipts."""

from __future__ import annotations

from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.outcomes import Delivery, Outcome, Receipt, Route
from sanic_ws.core.requests import PushRequest
from sanic_ws.errors import InvalidField, SanicWsError
from sanic_ws.publishing import Publisher, SyncPublisher

__all__ = [
    "Conn",
    "Delivery",
    "Everyone",
    "Group",
    "InvalidField",
    "Outcome",
    "Publisher",
    "PushRequest",
    "Receipt",
    "Route",
    "SanicWsError",
    "SyncPublisher",
    "User",
]

__version__ = "0.1.0"
