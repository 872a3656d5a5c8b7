"""The broker: batches and replies between publishers and nodes."""

from __future__ import annotations

from sanic_ws.broker.port import Broker, OnBatch, OnReply

__all__ = ["Broker", "OnBatch", "OnReply"]
