"""The broker: what publishers, nodes and back ends say to each other."""

from __future__ import annotations

from sanic_ws.broker.port import BackEnds, Broker, Call, Headers, OnBatch, OnCall, OnReply

__all__ = ["BackEnds", "Broker", "Call", "Headers", "OnBatch", "OnCall", "OnReply"]
