"""The dispatcher: carries out what the router decides."""

from __future__ import annotations

from sanic_ws.dispatch.dispatcher import Dispatcher
from sanic_ws.dispatch.rounds import Rounds

__all__ = ["Dispatcher", "Rounds"]
