"""What a client and its node say to each other, over all of its connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sanic_ws.client.events import Problem, Resumed
from sanic_ws.client.inbox import Inbox
from sanic_ws.client.messages import Message, read_fields
from sanic_ws.core import json
from sanic_ws.core.following import Follower, Sight
from sanic_ws.core.identity import user_from_json
from sanic_ws.errors import ClientAway, ClientRefused, InvalidField
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanic_ws.client.events import Event
    from sanic_ws.client.link import Link
    from sanic_ws.client.messages import Sender
    from sanic_ws.client.options import Options
    from sanic_ws.core.identity import User

_CONNECTED = "connected"

log = event_log("sanic_ws.client")


class Conversation:
    """Take in what the node says, and wait for its answers.

    Args:
        sender: what messages are answered with.
        options: the client's.
        pause: called with whether nothing more can be taken in, when that changes.

    Attributes:
        inbox: the messages for the application.
        follower: which of them have come.
        node: the id of the node, once it is known.
        conn: the id of the connection, as the node said it.
        user: whom the node has bound it to, if anybody.
        heartbeat_s: how often the node says something.
        connected: done once the node has said that the connection is connected.
        after_ms: for how long it has asked the client to stay away, if it has.
    """

    def __init__(self, sender: Sender, options: Options, pause: Callable[[bool], None]) -> None:
        self._sender = sender
        self._on_event = options.on_event
        self._everything = options.everything
        self.inbox = Inbox(options.inbox_size, pause)
        self.follower = Follower(options.since)
        self.node: str | None = None
        self.conn = options.sign
        self.user: User | None = None
        self.heartbeat_s = 0.0
        self.after_ms: int | None = None
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._asked = 0
        self._own: dict[str, Callable[[dict[str, Any], Any], None]] = {
            "connected": self._connected,
            "user_bound": self._user_bound,
            "joined": self._answered,
            "left": self._answered,
            "pong": self._answered,
            "error": self._problem,
            "reconnect": self._reconnect,
            "resumed": self._resumed,
        }

    def tell(self, event: Event) -> None:
        """Tell the application of an event; an error of its own does not end the client."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as exc:  # noqa: BLE001 - the application's, of any kind
            log.fault("on_event failed", exc)

    def heard(self, content: bytes, binary: bool) -> None:
        """Take a message in.

        Raises:
            UnicodeDecodeError: it is text that is not UTF-8.
        """
        fields = None if binary else read_fields(content)
        if fields is None:
            if not binary:
                content.decode()
            self.inbox.put(Message(self._sender, content, {}, binary=binary))
            return
        own = self._own.get(fields["type"])
        if own is not None:
            own(fields, fields.get("data"))
            if self._everything:
                self.inbox.put(Message(self._sender, content, fields))
            return
        sight = self.follower.meet(fields)
        if sight is not Sight.OLD:
            self.inbox.put(Message(self._sender, content, fields, gap=sight is Sight.GAP))

    # Answers

    def begin(self) -> None:
        """Take in that another connection is made."""
        self.after_ms = None
        self.connected = self._expect(_CONNECTED)

    async def ask(self, link: Link, kind: str, data: Any, timeout_s: float) -> Any:
        """Send a message and return the data of its answer.

        Raises:
            ClientRefused: it is an error.
            ClientAway: none came in time, or the connection ended before.
        """
        self._asked += 1
        question = f"c-{self._asked}"
        answer = self._expect(question)
        try:
            link.write(json.dumps({"type": kind, "data": data, "id": question}))
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise ClientAway(f"the node has not answered {kind} within {timeout_s:g} s") from None
        finally:
            self._answers.pop(question, None)

    def ended(self, reason: str) -> None:
        """Take in that the connection has ended."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ClientAway(reason))
                # Nobody may be left who waits for it.
                answer.exception()
        self._answers.clear()

    def _expect(self, question: str) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        self._answers[question] = answer
        return answer

    # The node's own types

    def _answered(self, message: dict[str, Any], data: Any) -> None:
        answer = self._answers.get(message.get("id") or "")
        if answer is not None and not answer.done():
            answer.set_result(data)

    def _connected(self, message: dict[str, Any], data: Any) -> None:
        if not isinstance(data, dict):
            return
        self.conn = str(data.get("conn", self.conn))
        self.node = str(data.get("node", ""))
        self.user = _read_user(data)
        heartbeat_s = data.get("heartbeat_s")
        self.heartbeat_s = heartbeat_s if isinstance(heartbeat_s, (int, float)) else 0.0
        self.follower.connected(str(message.get("time") or ""))
        answer = self._answers.pop(_CONNECTED, None)
        if answer is not None and not answer.done():
            answer.set_result(data)

    def _user_bound(self, message: dict[str, Any], data: Any) -> None:
        user = _read_user(data)
        if user != self.user:
            self.follower.bound()
        self.user = user
        self._answered(message, data)

    def _problem(self, message: dict[str, Any], data: Any) -> None:
        said = data if isinstance(data, dict) else {}
        code, text = str(said.get("code", "")), str(said.get("message", ""))
        question = message.get("id")
        answer = self._answers.get(question or "")
        if answer is None:
            self.tell(Problem(code, text, question))
        elif not answer.done():
            answer.set_exception(ClientRefused(code, text))

    def _reconnect(self, _: dict[str, Any], data: Any) -> None:
        after_ms = data.get("after_ms") if isinstance(data, dict) else None
        self.after_ms = after_ms if isinstance(after_ms, int) and after_ms >= 0 else None

    def _resumed(self, _: dict[str, Any], data: Any) -> None:
        said = data if isinstance(data, dict) else {}
        self.follower.resumed(said.get("last_id"))
        count = said.get("count")
        self.tell(
            Resumed(
                said.get("recovered") is True,
                count if isinstance(count, int) else 0,
                self.follower.last_id,
            )
        )


def _read_user(data: Any) -> User | None:
    try:
        return user_from_json(data.get("user") if isinstance(data, dict) else None)
    except InvalidField:
        return None
