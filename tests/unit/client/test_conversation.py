from __future__ import annotations

import asyncio
import json

import pytest

from sanic_ws import User
from sanic_ws.client import Problem, Resumed
from sanic_ws.client.conversation import Conversation
from sanic_ws.client.options import Options
from sanic_ws.errors import ClientAway, ClientRefused


class Link:
    def __init__(self):
        self.questions = []

    def write(self, content):
        self.questions.append(json.loads(content))


class Talk:
    """A conversation, and what it has told."""

    def __init__(self, **options):
        self.events = []
        self.link = Link()
        options = Options(sign="a", on_event=self.events.append, **options)
        self.conversation = Conversation(None, options, lambda _: None)

    def hear(self, kind, data=None, **more):
        self.conversation.heard(json.dumps({"type": kind, "data": data, **more}).encode(), False)

    async def ask(self, kind="join"):
        asked = asyncio.create_task(self.conversation.ask(self.link, kind, None, 60))
        await asyncio.sleep(0)
        return asked, self.link.questions[-1]["id"]

    @property
    def messages(self):
        return [message.type for message in self.conversation.inbox._messages]


@pytest.fixture
async def talk():
    return Talk()


class TestConnected:
    async def test_node_and_user_are_known(self, talk):
        talk.conversation.begin()
        user = {"userId": 1, "fromType": "web"}
        talk.hear("connected", {"conn": "a", "node": "n", "user": user, "heartbeat_s": 2})
        await talk.conversation.connected
        assert (talk.conversation.node, talk.conversation.heartbeat_s) == ("n", 2)
        assert talk.conversation.user == User(1, from_type="web")
        assert talk.messages == []

    @pytest.mark.parametrize("data", [None, [], {"user": 7}, {"heartbeat_s": "x", "user": {"userId": ""}}])
    async def test_nonsense_is_survived(self, talk, data):
        talk.conversation.begin()
        talk.hear("connected", data)
        assert (talk.conversation.user, talk.conversation.heartbeat_s) == (None, 0)

    async def test_the_wait_before_is_forgotten(self, talk):
        talk.hear("reconnect", {"after_ms": 5})
        assert talk.conversation.after_ms == 5
        talk.conversation.begin()
        assert talk.conversation.after_ms is None

    @pytest.mark.parametrize("data", [None, {}, {"after_ms": "5"}, {"after_ms": -1}])
    async def test_no_wait_is_none(self, talk, data):
        talk.hear("reconnect", data)
        assert talk.conversation.after_ms is None


class TestAnswers:
    async def test_answer_has_the_questions_id(self, talk):
        asked, question = await talk.ask()
        talk.hear("joined", {"group": "other"}, id="another")
        talk.hear("joined", {"group": "g"}, id=question)
        assert await asked == {"group": "g"}
        assert talk.conversation._answers == {}

    async def test_error_is_raised_and_is_no_event(self, talk):
        asked, question = await talk.ask()
        talk.hear("error", {"code": "not_allowed", "message": "no"}, id=question)
        with pytest.raises(ClientRefused, match="not_allowed: no"):
            await asked
        assert talk.events == []

    async def test_error_of_something_else_is_an_event(self, talk):
        talk.hear("error", {"code": "rate_limited", "message": "slower"})
        talk.hear("error", None, id="x")
        assert talk.events == [Problem("rate_limited", "slower"), Problem("", "", "x")]

    async def test_end_of_the_connection_ends_all_questions(self, talk):
        asked, _ = await talk.ask()
        talk.conversation.ended("lost")
        with pytest.raises(ClientAway, match="lost"):
            await asked

    async def test_no_answer_in_time(self, talk):
        with pytest.raises(ClientAway, match="has not answered join"):
            await talk.conversation.ask(talk.link, "join", None, 0.001)
        assert talk.conversation._answers == {}


class TestMessages:
    async def test_durable_ones_come_once(self, talk):
        for message_id, prev in (("a", None), ("b", "a"), ("a", None), ("d", "c")):
            talk.hear(message_id, 1, id=message_id, prev=prev)
        assert [(m.type, m.gap) for m in talk.conversation.inbox._messages] == [
            ("a", False),
            ("b", False),
            ("d", True),
        ]

    async def test_end_of_a_replay_is_an_event(self, talk):
        talk.hear("resumed", {"recovered": False, "count": 2, "last_id": "b"})
        talk.hear("resumed", None)
        assert talk.events == [Resumed(False, 2, "b"), Resumed(False, 0, "b")]

    async def test_another_device_was_quicker_is_for_the_application(self, talk):
        talk.hear("cancelled", {"id": "a"})
        assert talk.messages == ["cancelled"]

    async def test_everything_is_handed_out_where_that_is_wanted(self):
        talk = Talk(everything=True)
        for kind in ("connected", "error", "t", "pong"):
            talk.hear(kind, {})
        assert talk.messages == ["connected", "error", "t", "pong"]

    async def test_text_that_is_not_utf_8_is_not_taken(self, talk):
        with pytest.raises(UnicodeDecodeError):
            talk.conversation.heard(b"\xff", False)
        talk.conversation.heard(b"\xff", True)
        assert talk.messages == [""]
