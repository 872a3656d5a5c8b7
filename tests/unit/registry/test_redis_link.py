import pytest
from redis.exceptions import ConnectionError as Broken

from sanic_ws.errors import RegistryAway, RegistryUnavailable
from sanic_ws.registry.redis_link import Link
from sanic_ws.registry.scripts import Script

ONCE, TWICE = Script("once", repeatable=False), Script("twice")


class Connection:
    """A connection whose server breaks it while it answers, for the first few times."""

    def __init__(self, breaks=0, *, refuses=()):
        self.breaks = breaks
        self.refuses = list(refuses)
        self.is_connected = False
        self.scripts = frozenset({ONCE.digest, TWICE.digest})
        self.sent = 0

    async def can_read(self):
        return False

    async def connect(self):
        if self.refuses and self.refuses.pop(0):
            raise Broken("refused")
        self.is_connected = True

    async def disconnect(self, *, nowait=False):
        self.is_connected = False

    async def send_packed_command(self, packed):
        self.sent += 1

    async def read_response(self):
        if self.breaks:
            self.breaks -= 1
            self.is_connected = False
            raise Broken("broken")
        return b"OK"


def link_to(connection):
    return Link("Redis", lambda: connection, most=1)


async def exchange(connection, script=None):
    return await link_to(connection).exchange([("EVALSHA", "x")], 1.0, script)


@pytest.mark.parametrize("script", [None, TWICE])
async def test_what_a_broken_connection_did_not_answer_is_asked_once_more(script):
    connection = Connection(1)
    assert await exchange(connection, script) == [b"OK"]
    assert connection.sent == 2


async def test_a_script_that_must_not_run_twice_is_not():
    connection = Connection(1)
    with pytest.raises(RegistryUnavailable) as caught:
        await exchange(connection, ONCE)
    assert not isinstance(caught.value, RegistryAway), "it may have run"
    assert connection.sent == 1


async def test_it_runs_where_only_connecting_failed_at_first():
    connection = Connection(refuses=[True, False])
    assert await exchange(connection, ONCE) == [b"OK"]


async def test_a_server_that_cannot_be_reached_was_not_asked():
    connection = Connection(refuses=[True, True])
    with pytest.raises(RegistryAway):
        await exchange(connection, ONCE)
    assert connection.sent == 0


async def test_a_server_that_was_asked_and_then_cannot_be_reached_may_have_done_it():
    connection = Connection(1, refuses=[False, True])
    with pytest.raises(RegistryUnavailable) as caught:
        await exchange(connection, TWICE)
    assert not isinstance(caught.value, RegistryAway)
