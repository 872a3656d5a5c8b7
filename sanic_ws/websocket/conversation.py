"""What a node and its clients say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core import json
from sanic_ws.core.groups import MAX_GROUPS, Change, is_allowed
from sanic_ws.core.identity import check_group, user_from_json
from sanic_ws.core.messages import (
    OWN_TYPES,
    RESERVED_TYPES,
    BadMessage,
    error_frame,
    message_frame,
    read_answered_id,
    read_client_message,
    read_since,
)
from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reports import Said
from sanic_ws.errors import InvalidField, InvalidJSON
from sanic_ws.logs import event_log
from sanic_ws.tasks import start
from sanic_ws.websocket.inbound import Inbound
from sanic_ws.websocket.unregistered import answer_excess

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any

    from sanic_ws.core.messages import ClientMessage
    from sanic_ws.core.meter import Excess
    from sanic_ws.node import Node
    from sanic_ws.websocket.admission import Admission
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.handlers import Handlers
    from sanic_ws.websocket.keepalive import KeepAlive
    from sanic_ws.websocket.quotas import Quotas

_BEFORE_AUTH = frozenset({"ping", "auth"})

log = event_log("sanic_ws.websocket")


class Conversation:
    """Own the clients' connections of a node: answer what they send.

    Args:
        node: what they are connected to.
        keep_alive: watches them.
        handlers: the application's, for types that are not the gateway's own.
        admission: lets those in that say later who they are.
        quotas: give them their places.
    """

    def __init__(
        self, node: Node, keep_alive: KeepAlive, handlers: Handlers, admission: Admission, quotas: Quotas
    ) -> None:
        self._node = node
        self._keep_alive = keep_alive
        self._handlers = handlers
        self._inbound = Inbound(node)
        self._admission = admission
        self._quotas = quotas
        self._answers: dict[str, Callable[[Connection, ClientMessage], None]] = {
            "ping": self._pong,
            "user_info": self._user_info,
            "auth": self._auth,
            "ack": self._ack,
            "reply": self._reply,
            "join": self._change_group,
            "leave": self._change_group,
            "resume": self._resume,
        }
        self._tasks: set[asyncio.Task[None]] = set()

    def welcome(self, connection: Connection) -> bytes:
        """Open a connection for pushes; return the first frame for its client."""
        connection.opened = True
        return self.greet(connection)

    def greet(self, connection: Connection) -> bytes:
        """Return the first frame for a client."""
        settings = self._node.settings
        return message_frame(
            "connected",
            {
                "conn": connection.conn,
                "node": self._node.id,
                "session": f"{self._node.id}.{connection.session}",
                "user": None if connection.user is None else connection.user.to_json(),
                "heartbeat_s": settings.heartbeat_s,
                "max_message_bytes": settings.max_message_bytes,
            },
        )

    # Owner

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Answer a message; one that cannot be handled gets an error, and the connection lives."""
        try:
            if isinstance(message, bytes):
                raise BadMessage("binary_not_supported", "send text frames with JSON")  # noqa: TRY301
            self._handle(connection, read_client_message(message))
        except BadMessage as exc:
            connection.write(error_frame(exc))
        except InvalidJSON as exc:
            # A number such as 1e999 can be read, as an infinity, but not sent back.
            connection.write(error_frame(BadMessage("invalid_json", str(exc))))
        except Exception as exc:  # noqa: BLE001 - a fault of ours, of any kind
            log.fault("client message not handled", exc)
            connection.write(error_frame(BadMessage("internal_error", "the message could not be handled")))

    def flooded(self, connection: Connection, excess: Excess) -> None:
        """Tell a client that it sends too much, and close it if it goes on."""
        answer_excess(connection, excess)

    def closing(self, code: int) -> None:
        """Count a close."""
        self._node.closes[code] += 1

    def leaving(self, connection: Connection) -> None:
        """Take a connection out of hub and registry."""
        self._node.membership.leave(connection)
        self._node.acks.left(connection)
        self._node.mail.left(connection)
        self._quotas.release(connection)
        self._keep_alive.closing(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._keep_alive.discard(connection)
        self._admission.forget(connection)

    def stuck(self, connection: Connection, *, paused: bool) -> None:
        """Watch how long a client does not read."""
        self._keep_alive.stuck(connection, paused=paused)
        if not paused:
            self._node.mail.writable(connection)

    def slow(self, connection: Connection, *, waits: bool) -> None:
        """Watch what waits for a client."""
        self._keep_alive.slow(connection, waits=waits)

    # Messages

    def _handle(self, connection: Connection, message: ClientMessage) -> None:
        if not connection.opened and message.type not in _BEFORE_AUTH:
            raise BadMessage("not_authenticated", "send auth with a token first", message.id)
        answer = self._answers.get(message.type)
        if answer is not None:
            answer(connection, message)
        elif not self._handlers.handle(connection, message):
            self._hand_out(connection, message)

    def _hand_out(self, connection: Connection, message: ClientMessage) -> None:
        """Hand a message that has no handler here to back ends."""
        if message.type in OWN_TYPES or message.type in RESERVED_TYPES:
            raise BadMessage("unhandled_type", f"nobody handles {message.type!r} here", message.id)
        self._start(self._guarded(connection, self._inbound.hand_out(connection, message)))

    def _pong(self, connection: Connection, message: ClientMessage) -> None:
        connection.write(message_frame("pong", message.data, message.id))

    def _auth(self, connection: Connection, message: ClientMessage) -> None:
        self._start(self._guarded(connection, self._admission.authenticate(connection, message)))

    def _ack(self, connection: Connection, message: ClientMessage) -> None:
        push_id = read_answered_id(message)
        self._node.answers["acks"] += 1
        self._node.acks.answered(connection, push_id, Said.ACK)

    def _reply(self, connection: Connection, message: ClientMessage) -> None:
        push_id = read_answered_id(message)
        reply = json.dumps(message.data.get("data")).decode()
        self._node.answers["replies"] += 1
        self._node.acks.answered(connection, push_id, Said.REPLY, reply)

    def _resume(self, connection: Connection, message: ClientMessage) -> None:
        since = read_since(message)
        if self._node.mail.resumes(connection):
            raise BadMessage("already_resuming", "wait for resumed before you ask again", message.id)
        self._node.mail.resume(connection, since)

    def _user_info(self, connection: Connection, message: ClientMessage) -> None:
        if self._admission.has_proven(connection):
            reason = "this connection's user is proven, and does not change"
            raise BadMessage("identity_not_trusted", reason, message.id)
        if not self._node.settings.trust_client_identity:
            reason = "this gateway does not take a client's word for who it is"
            raise BadMessage("identity_not_trusted", reason, message.id)
        try:
            user = user_from_json(message.data, "")
        except InvalidField as exc:
            raise BadMessage("invalid_user", str(exc), message.id) from None
        self._start(self._guarded(connection, self._admission.bind(connection, user, message)))

    def _change_group(self, connection: Connection, message: ClientMessage) -> None:
        try:
            data = message.data if isinstance(message.data, dict) else {}
            group = check_group(data.get("group"), "data.group")
        except InvalidField as exc:
            raise BadMessage("invalid_group", str(exc), message.id) from None
        if not is_allowed(group, self._node.settings.client_groups):
            reason = "clients may not join or leave this group by themselves"
            raise BadMessage("not_allowed", reason, message.id)
        change = Change(connection.conn, group, message.type == "join")
        self._start(self._guarded(connection, self._tell_changed(connection, change, message)))

    async def _tell_changed(self, connection: Connection, change: Change, message: ClientMessage) -> None:
        answer = await self._node.membership.change_group(change)
        if answer is Answer.OVERLOADED:
            raise BadMessage("too_many_groups", f"a connection may be in {MAX_GROUPS} groups", message.id)
        if answer is not Answer.DELIVERED:
            raise BadMessage("unavailable", "the group could not be joined now", message.id)
        connection.write(
            message_frame("joined" if change.joins else "left", {"group": change.group}, message.id)
        )

    async def _guarded(self, connection: Connection, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BadMessage as exc:
            connection.write(error_frame(exc))
        except Exception as exc:  # noqa: BLE001 - a fault of ours, of any kind
            log.fault("client message not handled", exc)
            connection.write(error_frame(BadMessage("internal_error", "the message could not be handled")))

    def _start(self, coroutine: Any) -> None:
        start(coroutine, self._tasks)
