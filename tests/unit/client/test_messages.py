from __future__ import annotations

import json

import pytest

from sanic_ws.client.messages import Message, read_fields
from sanic_ws.errors import InvalidField


class Sender:
    def __init__(self):
        self.sent = []

    async def send(self, type, data=None):  # noqa: A002 - the contract's name
        self.sent.append((type, data))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"{}", b'{"type": 7}', b'{"type": null}', b"\xff"]
)
def test_what_is_no_message_is_raw(content):
    assert read_fields(content) is None


def test_fields_are_read():
    fields = {"type": "t", "data": [1], "id": "a", "time": "now", "prev": "b"}
    assert read_fields(json.dumps(fields).encode()) == fields
    message = Message(None, b"x", fields, gap=True)
    assert [getattr(message, name) for name in fields] == list(fields.values())
    assert (message.gap, message.text) == (True, "x")


def test_repr_shows_no_more_than_needed():
    assert repr(Message(None, b"", {"type": "t", "data": 1, "id": "a"})) == "Message('t', 1, id='a')"


async def test_answers_name_the_push():
    sender = Sender()
    message = Message(sender, b"", {"type": "t", "id": "a"})
    await message.ack()
    await message.reply(None)
    assert sender.sent == [("ack", {"id": "a"}), ("reply", {"id": "a", "data": None})]


async def test_what_has_no_id_is_not_answered():
    message = Message(Sender(), b"", {"type": "t"})
    for answer in (message.ack, lambda: message.reply(1)):
        with pytest.raises(InvalidField, match="id"):
            await answer()
