"""What clients send to back ends: messages of types that nobody in this process handles."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from sanic_ws.core import json
from sanic_ws.core.messages import BadMessage, timestamp
from sanic_ws.core.requests import MAX_BODY_BYTES
from sanic_ws.errors import BrokerError, BrokerUnavailable, InvalidJSON, QueueFull, Unroutable

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from sanic_ws.core.messages import ClientMessage
    from sanic_ws.node import Node
    from sanic_ws.websocket.connection import Connection

MAX_OPEN = 1000
MAX_OPEN_BYTES = 32 << 20
"""Of all messages that the broker has not confirmed yet."""
MAX_KEY_BYTES = 255
"""Of a routing key (AMQP 0-9-1, section 4.2.5.3: a short string)."""


class Inbound:
    """Hand clients' messages to the back ends that are bound to their types.

    Messages of one client arrive in the order in which it sent them.

    Args:
        node: whose broker carries them.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._open = 0
        self._open_bytes = 0

    def hand_out(self, connection: Connection, message: ClientMessage) -> Coroutine[Any, Any, None]:
        """Take a message in; return what hands it out, to be started in the order of these calls.

        Raises:
            BadMessage: it cannot be handed out, or too much is under way. The coroutine raises it as well:
                nobody is bound to its type, or the broker did not take it.
        """
        try:
            return self._take(connection, message)
        except BadMessage as exc:
            self._node.inbound[exc.code] += 1
            raise

    def _take(self, connection: Connection, message: ClientMessage) -> Coroutine[Any, Any, None]:
        if len(message.type.encode()) > MAX_KEY_BYTES:
            raise BadMessage("invalid_message", f"type: must be at most {MAX_KEY_BYTES} bytes", message.id)
        body = _body(connection, message)
        if len(body) > MAX_BODY_BYTES:
            # RabbitMQ would close the channel for more, and with it what everybody else sends.
            raise BadMessage("too_large", f"more than {MAX_BODY_BYTES} bytes for the back end", message.id)
        if self._open >= MAX_OPEN or self._open_bytes + len(body) > MAX_OPEN_BYTES:
            raise BadMessage("overloaded", "too much is on its way to the back end; not sent", message.id)
        self._open += 1
        self._open_bytes += len(body)
        return self._publish(message, body)

    async def _publish(self, message: ClientMessage, body: bytes) -> None:
        try:
            tracing = self._node.tracing
            with nullcontext() if tracing is None else tracing.inbound() as headers:
                await self._node.broker.back_ends.publish_inbound(message.type, body, headers)
            self._node.inbound["published"] += 1
        except BrokerError as exc:
            refusal = _refusal(exc, message)
            self._node.inbound[refusal.code] += 1
            raise refusal from None
        finally:
            self._open -= 1
            self._open_bytes -= len(body)


def _body(connection: Connection, message: ClientMessage) -> bytes:
    user = connection.user
    try:
        return json.dumps(
            {
                "conn": connection.conn,
                "user": None if user is None else user.to_json(),
                "type": message.type,
                "data": message.data,
                "id": message.id,
                "time": timestamp(),
            }
        )
    except InvalidJSON as exc:
        raise BadMessage("invalid_json", str(exc), message.id) from None


def _refusal(exc: BrokerError, message: ClientMessage) -> BadMessage:
    match exc:
        case Unroutable():
            return BadMessage("unhandled_type", f"nobody handles {message.type!r} here", message.id)
        case QueueFull():
            return BadMessage("overloaded", "a back end's queue is full", message.id)
        case BrokerUnavailable():
            return BadMessage("unavailable", "the back end cannot be reached; not sent", message.id)
    return BadMessage("unknown", "not confirmed in time; the back end may have it", message.id)
