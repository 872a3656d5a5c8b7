"""A life among links that a test makes up: what is done after each end; time is not waited for."""

from __future__ import annotations

import asyncio
import json

import pytest

from sanic_ws import User
from sanic_ws.client import State, StateChanged
from sanic_ws.client.address import Address
from sanic_ws.client.lifecycle import Lifecycle
from sanic_ws.client.link import Ended, LinkRefused
from sanic_ws.client.options import Options
from sanic_ws.errors import ClientAway, ClientClosed, ClientRefused
from tests.integration.peers import eventually

CONNECTED = {"conn": "a", "node": "n", "user": None, "heartbeat_s": 25}


class Link:
    """A link on which a node says `connected`, or closes at once."""

    def __init__(self, heard, close=None, answer=None):
        self.ended = asyncio.get_running_loop().create_future()
        self.written = []
        self.watched = None
        self._heard = heard
        self._answer = answer
        if close is None:
            self.say("connected", CONNECTED)
        else:
            self.ended.set_result(Ended(*close))

    @property
    def is_up(self):
        return not self.ended.done()

    def say(self, kind, data, **more):
        self._heard(json.dumps({"type": kind, "data": data, **more}).encode(), False)

    def write(self, content):
        message = json.loads(content)
        self.written.append((message["type"], message["data"]))
        if self._answer is not None and "id" in message:
            self.say(*self._answer, id=message["id"])

    def pause(self, paused):
        pass

    def watch(self, heartbeat_s):
        self.watched = heartbeat_s

    def abort(self, reason):
        if not self.ended.done():
            self.ended.set_result(Ended(1006, reason))

    async def close(self):
        self.abort("")


@pytest.fixture
def live(monkeypatch):
    """Live among these links, each an error or what `Link` takes, until there are none left or it is over."""
    monkeypatch.setattr("sanic_ws.core.comeback.BASE_S", 0)
    monkeypatch.setattr("sanic_ws.core.comeback.CAP_S", 0)
    lives = []

    async def live(*links, **options):
        made, events = [], []
        coming = iter(links)

        async def open_link(url, headers, heard, **_):
            each = next(coming, None)
            if each is None:
                await asyncio.Event().wait()
            if isinstance(each, Exception):
                raise each
            made.append(Link(heard, **each))
            made[-1].url, made[-1].headers = url, headers
            return made[-1]

        monkeypatch.setattr("sanic_ws.client.lifecycle.open_link", open_link)
        options = Options(sign="a", on_event=events.append, **options)
        life = Lifecycle(None, [Address("ws://one"), Address("ws://two")], options)
        task = asyncio.create_task(life.run())
        lives.append(task)
        await life.settled.wait()
        return life, made, [event.state for event in events if isinstance(event, StateChanged)]

    yield live
    for task in lives:
        task.cancel()


OPEN = {}


async def test_it_opens_says_who_it_is_and_joins(live):
    life, (link,), states = await live(
        {"answer": ("user_bound", {"user": {"userId": "1"}})}, user=User(1), groups=("g",), token="t"
    )
    assert states == [State.CONNECTING, State.OPEN]
    assert link.written == [("user_info", {"userId": "1"}), ("join", {"group": "g"})]
    assert (link.url, link.headers) == ("ws://one/ws?sign=a", {"Authorization": "Bearer t"})
    assert (link.watched, life.conversation.user) == (25, User(1))


@pytest.mark.parametrize(
    "failure",
    [
        ClientAway("nobody"),
        LinkRefused(503, None, "busy"),
        {"close": (4408, "")},
        {"close": (1012, "retry_after_ms=0")},
        {"close": (4429, "")},
        {"answer": ("error", {"code": "unavailable", "message": ""})},
    ],
)
async def test_it_tries_again_at_the_next_address(live, failure):
    bound = {"answer": ("user_bound", {"user": {"userId": "1"}})}
    life, made, states = await live(failure, bound, user=User(1))
    assert life.error is None
    assert made[-1].url.startswith("ws://two/ws")
    assert states == [State.CONNECTING, State.WAITING, State.CONNECTING, State.OPEN]


@pytest.mark.parametrize(
    ("failure", "code"),
    [(LinkRefused(403, None, "no"), 403), ({"close": (4403, "")}, 4403), ({"close": (4401, "")}, 4401)],
)
async def test_it_stays_away(live, failure, code):
    life, _, states = await live(failure, OPEN)
    assert isinstance(life.error, ClientClosed)
    assert (life.error.code, states) == (code, [State.CONNECTING, State.CLOSED])


async def test_a_token_that_is_not_taken_is_renewed_once(live):
    tokens = iter(("old", "new", "newer"))
    refused = LinkRefused(401, None, "no")
    life, made, _ = await live(refused, OPEN, token=lambda: next(tokens))
    assert made[0].headers == {"Authorization": "Bearer new"}
    life, _, _ = await live(refused, refused, OPEN, token=lambda: "t")
    assert life.error.code == 401


async def test_user_that_is_not_taken_ends_it(live):
    refused = {"answer": ("error", {"code": "identity_not_trusted", "message": "no"})}
    life, _, _ = await live(refused, OPEN, user=User(1))
    assert isinstance(life.error, ClientRefused)


async def test_first_connection_is_tried_once_where_that_is_wanted(live):
    life, _, _ = await live(ClientAway("nobody"), OPEN, open_timeout_s=0)
    assert isinstance(life.error, ClientAway)


async def test_it_does_not_come_back_where_it_is_told_so(live):
    life, (link,), _ = await live(ClientAway("nobody"), OPEN, OPEN, reconnect=False)
    link.abort("lost")
    await eventually(lambda: life.error, "the end")
    assert life.error.code == 1006


async def test_it_goes_on_after_its_last_message(live):
    life, made, _ = await live(OPEN, OPEN)
    made[0].say("t", 1, id="x", prev=None)
    made[0].abort("lost")
    await eventually(lambda: len(made) == 2 and life.link, "another connection")
    assert made[1].url == "ws://two/ws?sign=a&since=x"
