"""The client: connect to a gateway, listen, answer, and come back by itself."""

from __future__ import annotations

from sanic_ws.client.client import Client, connect
from sanic_ws.client.events import Event, Problem, Resumed, State, StateChanged
from sanic_ws.client.messages import Message

__all__ = ["Client", "Event", "Message", "Problem", "Resumed", "State", "StateChanged", "connect"]
