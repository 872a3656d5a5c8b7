"""Publishing: what back ends use to push."""

from __future__ import annotations

from sanic_ws.publishing.publisher import Publisher
from sanic_ws.publishing.sync import SyncPublisher

__all__ = ["Publisher", "SyncPublisher"]
