"""An application's own handlers for what clients send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from sanic_ws.core import json
from sanic_ws.core.messages import RESERVED_TYPES, BadMessage, error_frame, message_frame
from sanic_ws.errors import InvalidField, InvalidJSON
from sanic_ws.logs import event_log
from sanic_ws.tasks import start

if TYPE_CHECKING:
    import asyncio

    from sanic_ws.core.identity import User
    from sanic_ws.core.messages import ClientMessage
    from sanic_ws.websocket.connection import Connection

T = TypeVar("T")

log = event_log("sanic_ws.websocket")


@dataclass(slots=True)
class Message(Generic[T]):
    """Hold a client's message for a handler.

    Attributes:
        type: what the client said that it is.
        data: any JSON, or what the handler's model made of it.
        id: the client's id for it, if it gave one.
    """

    type: str
    data: T
    id: str | None
    _connection: Connection

    @property
    def conn(self) -> str:
        """The connection that it came from."""
        return self._connection.conn

    @property
    def user(self) -> User | None:
        """Who the connection is bound to."""
        return self._connection.user

    def send(self, type: str, data: Any = None, id: str | None = None) -> bool:  # noqa: A002 - as in a push
        """Write a message to the client that this one came from; say `False` if it cannot take it."""
        return self._connection.write(message_frame(type, data, id))


Handler = Callable[[Message[T]], Awaitable[None] | None]


class Handlers:
    """Hold an application's handlers by message type; each is a function or a coroutine function."""

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[Handler[Any], TypeAdapter[Any] | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, kind: str, handler: Handler[Any], taken: frozenset[str], model: Any = None) -> None:
        """Register a handler for a type; with a model, only data that fit it are handed over, as that.

        Raises:
            InvalidField: the type is the gateway's own, or has a handler.
        """
        if kind in taken or kind in RESERVED_TYPES:
            raise InvalidField("type", f"{kind!r} is the gateway's own")
        if kind in self._handlers:
            raise InvalidField("type", f"{kind!r} has a handler already")
        self._handlers[kind] = handler, None if model is None else TypeAdapter(model)

    def handle(self, connection: Connection, message: ClientMessage) -> bool:
        """Hand a message to its handler; say `False` if it has none.

        Raises:
            BadMessage: its data do not fit the handler's model.
        """
        found = self._handlers.get(message.type)
        if found is None:
            return False
        handler, model = found
        data = message.data if model is None else _fit(model, message)
        running = handler(Message(message.type, data, message.id, connection))
        if running is not None:
            start(_guarded(running, connection, message), self._tasks)
        return True


def _fit(model: TypeAdapter[Any], message: ClientMessage) -> Any:
    """Return what a model makes of a message's data.

    Raises:
        BadMessage: they do not fit; names the first field that does not.
    """
    try:
        # As JSON, so that strict models take what JSON has no type for: times, tuples, sets.
        return model.validate_json(json.dumps(message.data))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        field = "data" + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
        )
        raise BadMessage("invalid_data", f"{field}: {error['msg']}", message.id, field) from None


async def _guarded(running: Awaitable[None], connection: Connection, message: ClientMessage) -> None:
    try:
        await running
    except InvalidJSON as exc:
        connection.write(error_frame(BadMessage("invalid_json", str(exc), message.id)))
    except Exception as exc:  # noqa: BLE001 - the application's own, of any kind
        log.fault("handler for a client message failed", exc)
        reason = "the message could not be handled"
        connection.write(error_frame(BadMessage("internal_error", reason, message.id)))
