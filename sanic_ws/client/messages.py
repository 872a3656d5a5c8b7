"""What a client hands to the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sanic_ws.core import json
from sanic_ws.errors import InvalidField, InvalidJSON

if TYPE_CHECKING:
    from collections.abc import Mapping


class Sender(Protocol):
    """Send messages; a client does."""

    async def send(self, type: str, data: Any = None) -> None:  # noqa: A002 - the contract's name
        """Send one message."""


class Message:
    """Hold one message from the gateway.

    Attributes:
        type: the push's; empty for a raw one.
        data: the push's; None for a raw one.
        id: the push's, if it has one.
        time: when it was made, RFC 3339 in UTC, if it says so.
        prev: of a durable message the id of the one before it, if there was one.
        gap: whether durable messages before this one are missing; fetch your state anew.
        content: the frame as it came: UTF-8 text, or the bytes of a binary one.
        binary: whether it is a binary frame.
    """

    __slots__ = ("_sender", "binary", "content", "data", "gap", "id", "prev", "time", "type")

    def __init__(
        self,
        sender: Sender,
        content: bytes,
        fields: Mapping[str, Any],
        *,
        gap: bool = False,
        binary: bool = False,
    ) -> None:
        self._sender = sender
        self.content = content
        self.binary = binary
        self.gap = gap
        self.type: str = fields.get("type", "")
        self.data: Any = fields.get("data")
        self.id: str | None = fields.get("id")
        self.time: str | None = fields.get("time")
        self.prev: str | None = fields.get("prev")

    def __repr__(self) -> str:
        return f"Message({self.type!r}, {self.data!r}, id={self.id!r})"

    @property
    def text(self) -> str:
        """The frame as it came, as text.

        Raises:
            InvalidField: it is a binary one.
        """
        if self.binary:
            raise InvalidField("content", "is not text")
        return self.content.decode()

    async def ack(self) -> None:
        """Confirm a push that has asked for it (``wait: ack``).

        Raises:
            InvalidField: it has no id.
            ClientError: as `Client.send` raises.
        """
        await self._sender.send("ack", {"id": self._answered_id()})

    async def reply(self, data: Any) -> None:
        """Answer a push that has asked for it (``wait: reply``).

        Raises:
            InvalidField: it has no id.
            InvalidJSON: the data have no exact JSON form.
            ClientError: as `Client.send` raises.
        """
        await self._sender.send("reply", {"id": self._answered_id(), "data": data})

    def _answered_id(self) -> str:
        if self.id is None:
            raise InvalidField("id", "this message has none, so it cannot be answered")
        return self.id


def read_fields(content: bytes) -> dict[str, Any] | None:
    """Read the fields of a text frame; None if it is a raw one."""
    try:
        value = json.loads(content)
    except InvalidJSON:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("type"), str) else None
