"""What a node tells of who comes and goes, and that it goes on looking."""

import pytest

from sanic_ws.core.flights import Owner
from sanic_ws.core.identity import User
from sanic_ws.errors import RegistryUnavailable
from sanic_ws.node import presence as presence_module
from sanic_ws.node.presence import Presence
from sanic_ws.registry import Claim, Claimed, Gone
from tests.integration.peers import eventually
from tests.unit.node.test_events import BackEnds

A, ALICE = Owner("node-a", "1"), User(1, from_type="web")


class Absences:
    def __init__(self) -> None:
        self.gone: list[Gone] = []
        self.failures = 0
        self.errors: list[Exception] = []
        self.looked = self.watched = self.cleared = 0

    async def watch(self, grace_s):
        self.watched += 1
        if self.errors:
            raise self.errors.pop()

    async def end(self):
        self.looked += 1
        if self.failures:
            self.failures -= 1
            raise RegistryUnavailable("away")
        gone, self.gone = self.gone, []
        return gone

    async def clear(self, node):
        self.cleared += 1
        yield 0


@pytest.fixture
def absences():
    return Absences()


@pytest.fixture
def back_ends():
    return BackEnds()


@pytest.fixture
async def make(absences, back_ends, monkeypatch):
    monkeypatch.setattr(presence_module, "STEP_S", 0.01)
    monkeypatch.setattr(presence_module, "CLEAR_EVERY_S", 0.01)
    made = []

    async def make(grace_s=10.0):
        made.append(Presence("node-a", absences, back_ends, grace_s))
        return made[-1]

    yield make
    for presence in made:
        await presence.stop()


def claimed(**given):
    fields = {"accepted": True, "generation": 1, "before": None, "user": ALICE, "missing": False}
    return Claimed(**(fields | given))


async def test_who_appears_is_told_and_nobody_else(make, back_ends):
    presence = await make()
    claims = [Claim("c1", A), Claim("c2", A), Claim("c3", A)]
    presence.claimed(claims, [claimed(), claimed(appeared=True), claimed(appeared=True, first=True)])
    await presence.stop()
    told = [(kind, body["conn"], body["user"]) for kind, body in back_ends.told]
    assert told == [
        ("connection_opened", "c2", {"userId": "1", "fromType": "web"}),
        ("connection_opened", "c3", {"userId": "1", "fromType": "web"}),
        ("user_online", "c3", {"userId": "1"}),
    ]


async def test_who_is_gone_is_told(make, absences, back_ends):
    absences.gone = [
        Gone("c1", A, None, closed=True, offline=False),
        Gone("c2", A, ALICE, closed=False, offline=True),
        Gone("c3", A, ALICE, closed=False, offline=False),
    ]
    presence = await make()
    presence.start()
    await eventually(lambda: len(back_ends.told) == 2, "the events")
    assert [(kind, body["conn"], body["node"]) for kind, body in back_ends.told] == [
        ("connection_closed", "c1", "node-a"),
        ("user_offline", "c2", "node-a"),
    ]


async def test_it_goes_on_when_the_registry_is_back(make, absences, back_ends):
    absences.failures = 3
    absences.gone = [Gone("c", A, None, closed=True, offline=False)]
    presence = await make()
    presence.start()
    await eventually(lambda: back_ends.told, "the event")
    await eventually(lambda: absences.watched > 1 and absences.cleared > 1, "dead nodes to be looked for")


async def test_it_goes_on_after_an_error_that_nobody_thought_of(make, absences, back_ends):
    absences.errors = [ValueError("what is this"), RegistryUnavailable("away")]
    presence = await make()
    presence.start()
    await eventually(lambda: absences.watched > 2 and absences.looked > 2, "another look")
    absences.gone = [Gone("c", A, None, closed=True, offline=False)]
    await eventually(lambda: back_ends.told, "the event")


async def test_without_a_grace_it_looks_at_once(make, absences, monkeypatch):
    monkeypatch.setattr(presence_module, "STEP_S", 1000.0)
    presence = await make(0.0)
    presence.start()
    await eventually(lambda: absences.looked, "the first look")
    looked = absences.looked
    presence.released()
    await eventually(lambda: absences.looked > looked, "another look")
