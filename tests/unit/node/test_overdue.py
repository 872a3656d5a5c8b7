import asyncio

import pytest

from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.mail import Letter
from sanic_ws.errors import MailboxUnavailable
from sanic_ws.mailbox.memory import MemoryMailbox
from sanic_ws.node import overdue
from sanic_ws.node.mail import Mail
from sanic_ws.node.overdue import Overdue
from tests.integration.peers import eventually, unique
from tests.unit.node.test_mail import Socket

ALICE, BOX = User(7), "@7"


class Watch(Overdue):
    """Looks for overdue letters of a node whose broker has connected so many times."""

    def __init__(self):
        self.hub, self.mailbox, self.count = Hub(), MemoryMailbox(f"memory://{unique()}", "t"), 1
        self.mail = Mail(self.hub, self.mailbox)
        super().__init__(self.hub, self.mail, self.mailbox, lambda: self.count)

    def join(self, conn, user=None):
        socket = Socket(conn, user)
        socket.began = asyncio.get_running_loop().time()
        self.hub.add(socket)
        self.mail.opened(socket)
        return socket

    async def store(self, *names, box=BOX):
        await self.mailbox.store(
            [Letter(box, name, b'{"type":"note","id":"%s"}' % name.encode()) for name in names]
        )


@pytest.fixture
async def watch():
    made = Watch()
    await made.step()
    yield made
    await made.mail.close()


async def test_node_that_hears_again_looks_after_all_its_sessions(watch):
    bound, other, away = watch.join("c", ALICE), watch.join("d"), watch.join("e", User(8))
    await watch.store("a", "b")
    await watch.store("to-conn", box="c")
    await watch.store("to-other", box="d")
    await watch.step()
    assert bound.got == other.got == [], "nothing has happened to it"
    watch.count += 1
    await watch.step()
    await eventually(lambda: len(bound.got) == 3 and other.got, "all to come")
    assert (bound.got, other.got, away.got) == (["a", "b", "to-conn"], ["to-other"], [])
    assert watch.mail.readers == [bound, other], "whoever has nothing costs nothing"


async def test_sessions_that_read_are_looked_after_every_now_and_then(watch, monkeypatch):
    reader, idle = watch.join("c", ALICE), watch.join("d")
    watch.mail.resume(reader, "")
    await eventually(lambda: reader.of("resumed"), "it to have all")
    await watch.store("a")
    await watch.store("b", box="d")
    await watch.step()
    assert reader.got == [], "it was looked after a moment ago"
    monkeypatch.setattr(overdue, "EVERY_S", 0)
    watch._due_at = 0
    await watch.step()
    await eventually(lambda: reader.got == ["a"], "what is overdue to come")
    assert idle.got == []


async def test_what_was_there_before_a_session_is_not_for_it(watch):
    await watch.store("before")
    await asyncio.sleep(0.005)
    late = watch.join("c", ALICE)
    watch.count += 1
    await watch.step()
    assert watch.mail.readers == []
    assert late.got == []


async def test_sessions_that_could_not_be_looked_after_are_the_next_again(watch, monkeypatch):
    socket = watch.join("c", ALICE)
    await watch.store("a")
    newest = watch.mailbox.newest

    async def fail(_):
        raise MailboxUnavailable

    monkeypatch.setattr(watch.mailbox, "newest", fail)
    watch.count += 1
    with pytest.raises(MailboxUnavailable):
        await watch.step()
    monkeypatch.setattr(watch.mailbox, "newest", newest)
    await watch.step()
    await eventually(lambda: socket.got == ["a"], "it to come")


async def test_all_are_looked_after_in_steps(watch, monkeypatch):
    monkeypatch.setattr(overdue, "STEP", 2)
    sockets = [watch.join(f"c{number}", ALICE) for number in range(5)]
    await watch.store("a")
    watch.count += 1
    for _ in range(3):
        await watch.step()
    await eventually(lambda: all(socket.got == ["a"] for socket in sockets), "all to have it")


async def test_it_goes_on_whatever_fails(watch, monkeypatch, caplog):
    monkeypatch.setattr(overdue, "TICK_S", 0)
    monkeypatch.setattr(overdue, "STEP_S", 0)
    socket = watch.join("c", ALICE)
    await watch.store("a")
    newest, failures = watch.mailbox.newest, iter([MailboxUnavailable(), ValueError()])

    async def fail_at_first(boxes):
        for failure in failures:
            raise failure
        return await newest(boxes)

    monkeypatch.setattr(watch.mailbox, "newest", fail_at_first)
    watch.count += 1
    running = asyncio.create_task(watch.run())
    await eventually(lambda: socket.got == ["a"], "it to come in the end")
    running.cancel()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"]
