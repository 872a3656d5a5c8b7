"""Who comes in after the handshake, and who stays."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.messages import BadMessage, ClientMessage
from sanic_ws.core.tokens import Identity
from sanic_ws.errors import IdentityTaken, InvalidToken, KeysUnavailable
from sanic_ws.settings import read_settings
from sanic_ws.websocket.admission import Admission
from sanic_ws.websocket.handshake import Refused
from sanic_ws.websocket.keepalive import KeepAlive
from sanic_ws.websocket.quotas import Quotas
from tests.integration.peers import eventually


class FakeAuthentication:
    """Knows some tokens; `gate` keeps those who ask waiting."""

    takes_tokens = needed = True

    def __init__(self):
        self.known = {"eve": Identity(User("eve"), 2000.0), "adam": Identity(User("adam"), 2000.0)}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def of_token(self, token):
        self.asked += 1
        await self.gate.wait()
        if token == "away":
            raise KeysUnavailable("try again")
        if token not in self.known:
            raise InvalidToken("the token's signature is wrong")
        return self.known[token]


class FakeMembership:
    """Knows whom ids are bound to: `bindings`."""

    def __init__(self, hub):
        self.hub = hub
        self.joined, self.bound = [], []
        self.bindings: dict[str, User] = {}
        self.error: Exception | None = None

    async def join(self, socket):
        if self.error is not None:
            raise self.error
        self.joined.append((socket.conn, socket.user))
        self.hub.add(socket)
        if socket.user is None:
            self.hub.bind(socket, self.bindings.get(socket.conn))

    async def grant(self, socket, groups):
        self.hub.regroup(socket, socket.groups._replace(granted=groups))

    async def bind(self, socket, user):
        self.hub.bind(socket, user)
        self.bound.append(user)


class FakeConnection:
    session, generation = "1", 0

    def __init__(self, conn="c"):
        self.conn = conn
        self.user, self.groups, self.opened, self.left = None, NO_GROUPS, False, False
        self.frames, self.closed = [], []

    def write(self, frame):
        self.frames.append(json.loads(frame[frame.index(b"{") :]))
        return True

    def close(self, code, reason=""):
        self.left = True
        self.closed.append((code, reason))


def auth(token="eve", message_id="m") -> ClientMessage:
    return ClientMessage("auth", {"token": token}, message_id)


class FakeMail:
    """Mail that remembers of whom it was told what."""

    def __init__(self):
        self.told = []

    def opened(self, connection):
        self.told.append(("opened", connection.user))

    def bound(self, connection):
        self.told.append(("bound", connection.user))


@pytest.fixture
def authentication():
    return FakeAuthentication()


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def membership(hub):
    return FakeMembership(hub)


@pytest.fixture
def keep_alive():
    return KeepAlive(25)


@pytest.fixture
def mail():
    return FakeMail()


@pytest.fixture
def admission(membership, keep_alive, authentication, hub, mail):
    node = SimpleNamespace(membership=membership, draining=False, mail=mail)
    quotas = Quotas(read_settings("dev", max_connections_per_user=2), hub)
    return Admission(node, keep_alive, authentication, quotas)


@pytest.fixture
async def waiting(keep_alive):
    connection = FakeConnection()
    keep_alive.add(connection)
    keep_alive.await_proof(connection, 10)
    return connection


@pytest.fixture
async def inside(admission, waiting):
    await admission.authenticate(waiting, auth())
    waiting.frames.clear()
    return waiting


async def refused(admission, connection, message) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        await admission.authenticate(connection, message)
    assert caught.value.message_id == message.id
    return caught.value


async def test_token_lets_in(admission, waiting, membership, keep_alive, mail):
    await admission.authenticate(waiting, auth())
    assert membership.joined == [("c", User("eve"))]
    assert mail.told == [("opened", User("eve"))]
    (bound,) = waiting.frames
    assert (bound["type"], bound["data"], bound["id"]) == ("user_bound", {"user": {"userId": "eve"}}, "m")
    assert waiting.opened
    assert admission.has_proven(waiting)
    assert keep_alive.unproven == 0
    keep_alive.close_expired(2000)
    assert waiting.closed[0][0] == 4401


async def test_wrong_token_closes_with_4401(admission, waiting, membership):
    await admission.authenticate(waiting, auth("nonsense"))
    assert waiting.closed == [(4401, "the token's signature is wrong")]
    assert waiting.frames[0]["data"]["code"] == "invalid_token"
    assert (membership.joined, waiting.opened) == ([], False)


@pytest.mark.parametrize("data", [None, "eve", {}, {"token": None}, {"token": 1}, ["eve"]])
async def test_message_without_a_token_is_an_error(admission, waiting, authentication, data):
    error = await refused(admission, waiting, ClientMessage("auth", data, "m"))
    assert (error.code, waiting.closed, authentication.asked) == ("invalid_message", [], 0)


async def test_where_no_tokens_are_taken_the_message_is_not_handled(admission, waiting, authentication):
    authentication.takes_tokens = False
    assert (await refused(admission, waiting, auth())).code == "unhandled_type"


async def test_keys_that_are_away_leave_time_to_try_again(admission, waiting, membership):
    assert (await refused(admission, waiting, auth("away"))).code == "unavailable"
    assert waiting.closed == []
    await admission.authenticate(waiting, auth())
    assert waiting.opened


async def test_second_message_while_the_first_is_checked_changes_nothing(
    admission, waiting, authentication, membership
):
    authentication.gate.clear()
    first = asyncio.create_task(admission.authenticate(waiting, auth()))
    await eventually(lambda: authentication.asked, "the first to be checked")
    assert (await refused(admission, waiting, auth("adam", "n"))).code == "not_authenticated"
    authentication.gate.set()
    await first
    assert membership.joined == [("c", User("eve"))]


async def test_client_that_is_closed_while_its_token_is_checked_is_not_registered(
    admission, waiting, authentication, membership
):
    authentication.gate.clear()
    task = asyncio.create_task(admission.authenticate(waiting, auth()))
    await eventually(lambda: authentication.asked, "it to be checked")
    waiting.close(4401)
    authentication.gate.set()
    await task
    assert (membership.joined, waiting.opened) == ([], False)
    assert not admission.has_proven(waiting)


async def test_taken_id_is_an_error_and_closes_with_1008(admission, waiting, membership):
    membership.error = IdentityTaken("this id is bound to another user")
    await admission.authenticate(waiting, auth())
    assert (waiting.frames[0]["data"]["code"], waiting.frames[0]["id"]) == ("identity_taken", "m")
    assert waiting.closed[0][0] == 1008
    assert not waiting.opened
    assert not admission.has_proven(waiting)


async def test_taken_id_is_403_at_the_handshake(admission, membership):
    membership.error = IdentityTaken("this id is bound to another user")
    with pytest.raises(Refused) as caught:
        await admission.register(FakeConnection(), Identity(User("eve")))
    assert (caught.value.status, caught.value.code) == (403, "identity_taken")


async def test_leaving_node_sends_elsewhere(admission, waiting):
    admission._node.draining = True
    await admission.authenticate(waiting, auth())
    assert waiting.frames[0]["data"]["code"] == "draining"
    assert waiting.closed == [(1012, "retry_after_ms=1000")]


async def test_fresh_token_lets_stay_for_longer(admission, inside, authentication, keep_alive):
    authentication.known["fresh"] = Identity(User("eve"), 3000.0)
    await admission.authenticate(inside, auth("fresh"))
    assert inside.frames[0]["type"] == "user_bound"
    keep_alive.close_expired(2999)
    assert inside.closed == []
    keep_alive.close_expired(3000)
    assert inside.closed[0][0] == 4401


async def test_older_token_takes_no_time_away(admission, inside, authentication, keep_alive):
    authentication.known["old"] = Identity(User("eve"), 1500.0)
    await admission.authenticate(inside, auth("old"))
    keep_alive.close_expired(1999)
    assert inside.closed == []


@pytest.mark.parametrize(
    ("token", "code"),
    [("adam", "identity_mismatch"), ("nonsense", "invalid_token"), ("away", "unavailable")],
)
async def test_other_token_changes_nothing(admission, inside, keep_alive, membership, token, code):
    assert (await refused(admission, inside, auth(token))).code == code
    assert (inside.user, inside.closed, membership.bound) == (User("eve"), [], [])
    keep_alive.close_expired(1999)
    assert inside.closed == []
    keep_alive.close_expired(2000)
    assert inside.closed


async def test_user_of_another_tenant_is_another(admission, inside, authentication):
    authentication.known["tenant"] = Identity(User("eve", 7), 3000.0)
    assert (await refused(admission, inside, auth("tenant"))).code == "identity_mismatch"


async def test_device_may_change(admission, inside, authentication, membership):
    authentication.known["phone"] = Identity(User("eve", from_type="phone"), 3000.0)
    await admission.authenticate(inside, auth("phone"))
    assert membership.bound == [User("eve", from_type="phone")]
    assert inside.frames[0]["data"]["user"] == {"userId": "eve", "fromType": "phone"}


async def test_token_binds_whom_nobody_vouched_for(admission, membership, keep_alive):
    connection = FakeConnection()
    await admission.register(connection, None)
    connection.opened, connection.user = True, User("whoever it said")
    assert not admission.has_proven(connection)
    await admission.authenticate(connection, auth())
    assert (connection.user, membership.bound) == (User("eve"), [User("eve")])
    assert admission.has_proven(connection)


async def test_endless_word_is_not_cut_short_by_a_token(admission, keep_alive, authentication):
    connection = FakeConnection()
    await admission.register(connection, Identity(User("eve")))
    connection.opened = True
    await admission.authenticate(connection, auth())
    keep_alive.close_expired(5000)
    assert connection.closed == []


async def test_connection_that_is_gone_is_forgotten(admission, inside):
    admission.forget(inside)
    assert not admission.has_proven(inside)


# How many a user may have


@pytest.fixture
async def two_of_eve(admission):
    connections = [FakeConnection("c1"), FakeConnection("c2")]
    for connection in connections:
        await admission.register(connection, Identity(User("eve")))
    return connections


async def test_one_too_many_of_a_user_is_429_at_the_handshake(admission, two_of_eve, membership):
    with pytest.raises(Refused) as caught:
        await admission.register(FakeConnection("c3"), Identity(User("eve", from_type="phone")))
    assert (caught.value.status, caught.value.code) == (429, "too_many_connections")
    assert caught.value.headers == {"Retry-After": "5"}
    assert len(membership.joined) == 2
    await admission.register(FakeConnection("c4"), Identity(User("eve", 7)))
    await admission.register(FakeConnection("c5"), Identity(User("adam")))


async def test_one_too_many_by_auth_is_an_error_and_closes_with_4429(admission, two_of_eve, waiting):
    await admission.authenticate(waiting, auth())
    assert (waiting.frames[0]["data"]["code"], waiting.frames[0]["id"]) == ("too_many_connections", "m")
    assert waiting.closed == [(4429, "too many connections of this user")]
    assert not waiting.opened


async def test_one_too_many_by_its_own_word_is_an_error_and_closes_with_4429(
    admission, two_of_eve, membership
):
    connection = FakeConnection("c3")
    await admission.register(connection, None)
    await admission.bind(connection, User("eve"), ClientMessage("user_info", None, "m"))
    assert (connection.frames[0]["data"]["code"], connection.frames[0]["id"]) == ("too_many_connections", "m")
    assert connection.closed[0][0] == 4429
    assert membership.bound == []


async def test_one_too_many_by_a_binding_of_before_is_429(admission, two_of_eve, membership):
    membership.bindings = {"c3": User("eve"), "c4": User("adam")}
    with pytest.raises(Refused) as caught:
        await admission.register(FakeConnection("c3"), None)
    assert caught.value.status == 429
    await admission.register(FakeConnection("c4"), None)


async def test_connection_under_the_same_id_replaces_one_of_the_user(admission, two_of_eve, membership):
    await admission.register(FakeConnection("c2"), Identity(User("eve")))
    membership.bindings = {"c1": User("eve")}
    again = FakeConnection("c1")
    await admission.register(again, None)
    await admission.bind(again, User("eve", from_type="phone"), ClientMessage("user_info"))
    assert [frame["type"] for frame in again.frames] == ["user_bound"]


async def test_token_of_a_user_with_too_many_closes_whom_nobody_vouched_for(admission, two_of_eve):
    connection = FakeConnection("c3")
    await admission.register(connection, None)
    connection.opened = True
    await admission.authenticate(connection, auth())
    assert [frame["type"] for frame in connection.frames] == ["error"]
    assert connection.closed[0][0] == 4429
