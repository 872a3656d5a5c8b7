import asyncio
import json

import pytest

from sanic_ws.core.frames import payload_start, text_frame
from sanic_ws.core.groups import NO_GROUPS
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import User
from sanic_ws.core.mail import Letter, Posted
from sanic_ws.core.outcomes import Answer
from sanic_ws.errors import MailboxUnavailable
from sanic_ws.mailbox import Bounds
from sanic_ws.mailbox.memory import MemoryMailbox
from sanic_ws.node import mail as mail_module
from sanic_ws.node import reading, replay
from sanic_ws.node.mail import Mail
from tests.integration.peers import eventually, unique

BOX = "@7"
ALICE = User(7, from_type="web")


class Socket:
    groups, opened, generation, began = NO_GROUPS, True, 1, 0.0

    def __init__(self, conn, user=None):
        self.conn, self.user, self.session = conn, user, "1"
        self.full = self.left = False
        self.messages = []

    @property
    def writable(self):
        return not self.full

    def write(self, frame):
        if self.full:
            return False
        self.messages.append(json.loads(frame[payload_start(frame) :]))
        return True

    def of(self, kind):
        return [message for message in self.messages if message["type"] == kind]

    @property
    def got(self):
        return [message["id"] for message in self.of("note")]

    @property
    def prevs(self):
        return [message.get("prev") for message in self.of("note")]

    @property
    def resumed(self):
        return self.of("resumed")[-1]["data"]


class Post(Mail):
    """Mail with mailboxes of its own."""

    def __init__(self, bounds=None, *, late_identity=False):
        self.hub = Hub()
        self.boxes = MemoryMailbox(f"memory://{unique()}", "t", bounds)
        super().__init__(self.hub, self.boxes, late_identity=late_identity)
        self.told = {}

    def join(self, conn, user=None):
        socket = Socket(conn, user)
        socket.began = mail_module.monotonic()
        self.hub.add(socket)
        self.opened(socket)
        return socket

    def bind(self, socket, user):
        self.hub.bind(socket, user)
        self.bound(socket)

    async def store(self, box, *names, **more):
        """Store letters; return where they are."""
        letters = [
            Letter(box, name, json.dumps({"type": "note", "id": name}).encode(), **more) for name in names
        ]
        return [Posted(box, place) for place in await self.boxes.store(letters)]

    def send(self, socket, name, posted):
        """Have a stored letter arrive live."""
        frame = text_frame(json.dumps({"type": "note", "id": name}).encode())
        return self.deliver(socket, name, posted, frame, lambda sent: self.told.update({name: sent}))

    async def push(self, box, name, *sockets, **more):
        """Store a letter, and have it arrive at some; return what their node says."""
        (posted,) = await self.store(box, name, **more)
        return [self.send(socket, name, posted) for socket in sockets]


@pytest.fixture
async def post():
    made = Post()
    yield made
    await made.close()


async def settled(post):
    """Wait until nothing is being read."""
    await eventually(
        lambda: all(each.task is None for each in post._readings.values()), "all mailboxes to be read"
    )


async def test_live_letters_are_written_at_once_and_name_the_one_before(post):
    socket = post.join("c", ALICE)
    for name in "abc":
        assert await post.push(BOX, name, socket) == [Answer.DELIVERED]
    assert (socket.got, socket.prevs) == (["a", "b", "c"], [None, "a", "b"])
    assert await post.push("c2", "d") == []


async def test_a_session_that_gets_nothing_durable_costs_nothing(post):
    socket = post.join("c", ALICE)
    post.bind(socket, User(8))
    post.writable(socket)
    assert post._readings == {}
    post.left(socket)
    assert post._bound_at == {}


async def test_what_was_missed_in_between_is_read(post):
    socket = post.join("c", ALICE)
    await post.push(BOX, "a", socket)
    await post.store(BOX, "b", "c")
    assert await post.push(BOX, "d", socket) == [Answer.WAITING]
    await settled(post)
    assert (socket.got, socket.prevs) == (["a", "b", "c", "d"], [None, "a", "b", "c"])
    assert post.told == {"d": True}
    assert socket.of("resumed") == []
    assert (post.replay.replayed, post.replay.gaps) == (3, 0)


async def test_letters_for_other_devices_are_passed_over(post):
    web, app = post.join("c1", ALICE), post.join("c2", User(7, from_type="app"))
    await post.push(BOX, "a", web, app)
    await post.push(BOX, "b", app, only="@app")
    await post.push(BOX, "c", web, only="c1")
    await post.push(BOX, "d", web, app)
    await settled(post)
    assert (web.got, web.prevs) == (["a", "c", "d"], [None, "a", "c"])
    assert (app.got, app.prevs) == (["a", "b", "d"], [None, "a", "b"])


class TestResume:
    async def test_goes_on_behind_a_letter_and_says_so(self, post):
        await post.store(BOX, *"abc")
        socket = post.join("c", ALICE)
        post.resume(socket, "a")
        assert post.resumes(socket)
        assert await post.push(BOX, "d", socket) == [Answer.WAITING]
        await settled(post)
        assert (socket.got, socket.prevs) == (["b", "c", "d"], ["a", "b", "c"])
        assert socket.resumed == {"recovered": True, "count": 3, "last_id": "d"}
        assert not post.resumes(socket)
        assert await post.push(BOX, "e", socket) == [Answer.DELIVERED]
        assert post.replay.recoveries == {"true": 1}

    async def test_waits_until_the_session_is_open(self, post):
        await post.store(BOX, "a")
        socket = Socket("c", ALICE)
        post.resume_later(socket, "")
        post.hub.add(socket)
        await settled(post)
        assert socket.messages == []
        post.opened(socket)
        await settled(post)
        assert socket.resumed == {"recovered": True, "count": 1, "last_id": "a"}

    async def test_with_nothing_there(self, post):
        socket = post.join("c", ALICE)
        post.resume(socket, "")
        await settled(post)
        assert socket.resumed == {"recovered": True, "count": 0, "last_id": None}

    async def test_behind_what_nobody_knows_gives_what_there_is(self, post):
        await post.store(BOX, *"ab")
        socket = post.join("c", ALICE)
        post.resume(socket, "foreign")
        await settled(post)
        assert socket.got == ["a", "b"]
        assert socket.resumed == {"recovered": False, "count": 2, "last_id": "b"}
        assert post.replay.recoveries == {"false": 1}

    async def test_behind_what_was_trimmed_is_not_whole(self):
        post = Post(Bounds(letters=2))
        await post.store(BOX, *"abcd")
        socket = post.join("c", ALICE)
        post.resume(socket, "a")
        await settled(post)
        assert (socket.got, socket.prevs) == (["c", "d"], ["b", "c"])
        assert not socket.resumed["recovered"]
        post.resume(socket, "b")
        await settled(post)
        assert socket.resumed == {"recovered": True, "count": 2, "last_id": "d"}

    async def test_past_what_has_expired_is_not_whole(self, post):
        await post.store(BOX, "a")
        await post.store(BOX, "b", ttl_s=0.01)
        await post.store(BOX, "c")
        await eventually(lambda: post.boxes._alive(BOX)[0].letter.id == "a", "the letters")

        async def expired():
            return (await post.boxes.read(BOX, (0, 0), 9))[1].payload is None

        await eventually(expired, "the second to expire")
        socket = post.join("c", ALICE)
        post.resume(socket, "a")
        await settled(post)
        assert (socket.got, socket.prevs) == (["c"], ["b"])
        assert socket.resumed == {"recovered": False, "count": 1, "last_id": "c"}
        assert post.replay.gaps == 1

    async def test_reads_page_by_page(self, post, monkeypatch):
        monkeypatch.setattr(replay, "PAGE", 3)
        names = [f"m{number}" for number in range(20)]
        await post.store(BOX, *names)
        socket = post.join("c", ALICE)
        post.resume(socket, "m4")
        await settled(post)
        assert socket.got == names[5:]
        assert socket.resumed["count"] == 15

    async def test_goes_on_from_the_mailbox_when_a_slow_client_reads_again(self, post):
        names = [f"m{number}" for number in range(10)]
        await post.store(BOX, *names)
        socket = post.join("c", ALICE)
        writes, write = [], socket.write
        socket.write = lambda frame: len(writes) < 4 and (writes.append(frame) or write(frame))
        post.resume(socket, "m0")
        await settled(post)
        assert socket.got == names[1:5]
        assert await post.push(BOX, "live", socket) == [Answer.WAITING]
        await settled(post)
        assert socket.got == names[1:5]
        socket.write = write
        post.writable(socket)
        await settled(post)
        assert socket.got == [*names[1:], "live"]
        assert socket.resumed["recovered"]
        assert post.told == {"live": True}

    async def test_tells_a_slow_client_that_it_has_all_when_it_reads_again(self, post):
        socket = post.join("c", ALICE)
        socket.full = True
        post.resume(socket, "")
        await settled(post)
        socket.full = False
        post.writable(socket)
        await settled(post)
        assert socket.resumed["count"] == 0

    async def test_goes_on_trying_while_the_mailbox_is_away(self, post, monkeypatch):
        monkeypatch.setattr(replay, "RETRY_S", 0.001)
        await post.store(BOX, *"ab")
        read, failures = post.boxes.read, iter(range(3))

        async def fail_at_first(*arguments):
            for _ in failures:
                raise MailboxUnavailable("away")
            return await read(*arguments)

        monkeypatch.setattr(post.boxes, "read", fail_at_first)
        socket = post.join("c", ALICE)
        post.resume(socket, "a")
        await settled(post)
        assert [message["data"]["code"] for message in socket.of("error")] == ["mailbox_unavailable"]
        assert socket.got == ["b"]
        assert socket.resumed["recovered"]

    async def test_again_starts_over(self, post):
        await post.store(BOX, *"abc")
        socket = post.join("c", ALICE)
        for since in "ab":
            post.resume(socket, since)
            await settled(post)
        assert socket.got == ["b", "c", "c"]


class TestSlowClients:
    async def test_what_does_not_fit_comes_when_they_read_again(self, post):
        socket = post.join("c", ALICE)
        await post.push(BOX, "a", socket)
        socket.full = True
        assert await post.push(BOX, "b", socket) == [Answer.WAITING]
        assert await post.push(BOX, "c", socket) == [Answer.WAITING]
        assert post.told == {}
        socket.full = False
        post.writable(socket)
        await settled(post)
        assert (socket.got, post.told) == (["a", "b", "c"], {"b": True, "c": True})

    async def test_who_leaves_has_not_got_it(self, post):
        socket = post.join("c", ALICE)
        socket.full = True
        await post.push(BOX, "a", socket)
        post.left(socket)
        assert post.told == {"a": False}

    async def test_not_more_than_so_many_are_told_of(self, post, monkeypatch):
        monkeypatch.setattr(mail_module, "MOST_WAITING", 2)
        socket = post.join("c", ALICE)
        socket.full = True
        answers = [(await post.push(BOX, name, socket))[0] for name in "abcd"]
        assert answers == [Answer.WAITING] * 2 + [Answer.OVERLOADED] * 2
        socket.full = False
        post.writable(socket)
        await settled(post)
        assert socket.got == ["a", "b", "c", "d"]


class TestBinding:
    async def test_letters_for_a_connection_go_on_in_its_users_mailbox(self, post):
        socket = post.join("c")
        await post.push("c", "a", socket)
        post.bind(socket, ALICE)
        await settled(post)
        assert [one.id for one in await post.boxes.read(BOX, (0, 0), 9)] == ["a"]
        assert await post.push(BOX, "b", socket) == [Answer.DELIVERED]
        assert await post.push("c", "d", socket) == [Answer.WAITING]
        await settled(post)
        assert socket.got == ["a", "b", "d"]
        assert socket.prevs[-1] == "b"
        assert await post.boxes.read("c", (0, 0), 9) == []
        assert [(one.id, one.only) for one in await post.boxes.read(BOX, (0, 0), 9)] == [
            ("a", "c"),
            ("b", ""),
            ("d", "c"),
        ]
        assert post.told == {"d": True}

    async def test_what_a_session_has_is_not_sent_again_however_much_comes_before_it(self, post):
        await post.store(BOX, "first")
        socket = post.join("c")
        post.resume(socket, "first")
        await settled(post)
        mine, others = [f"c{number}" for number in range(50)], [f"u{number}" for number in range(50)]
        for name in mine:
            assert await post.push("c", name, socket) == [Answer.DELIVERED]
        await post.store(BOX, *others)
        post.bind(socket, ALICE)
        await settled(post)
        assert socket.got == [*mine, *others]
        assert socket.resumed == {"recovered": True, "count": 50, "last_id": "u49"}
        assert socket.prevs[50:] == ["c49", *others[:-1]]
        assert await post.push(BOX, "new", socket) == [Answer.DELIVERED]
        assert socket.prevs[-1] == "u49"

    async def test_who_comes_back_gets_both_in_one_order(self, post):
        await post.store(BOX, "a")
        await post.store("c", "b")
        await post.store(BOX, "d")
        socket, other = post.join("c", ALICE), post.join("c2", ALICE)
        for one in (socket, other):
            post.resume(one, "a")
            await settled(post)
        assert socket.got == ["d", "b"]
        assert other.got == ["d"], "what is for one connection is for no other"

    async def test_who_is_bound_in_a_moment_is_told_only_then(self, monkeypatch):
        post = Post(late_identity=True)
        await post.store(BOX, *"ab")
        for since, found in (("a", ["b"]), ("", ["a", "b"])):
            socket = post.join(unique())
            post.resume(socket, since)
            await settled(post)
            assert socket.messages == []
            post.bind(socket, ALICE)
            await settled(post)
            assert (socket.got, len(socket.of("resumed"))) == (found, 1)
        await post.close()

    async def test_who_is_bound_to_nobody_is_told_after_a_while(self, monkeypatch):
        monkeypatch.setattr(mail_module, "PATIENCE_S", 0.05)
        post = Post(late_identity=True)
        socket = post.join("c")
        post.resume(socket, "a")
        await eventually(lambda: socket.of("resumed"), "the session to be told")
        assert not socket.resumed["recovered"]
        await post.store("c", "b")
        post.resume(socket, "")
        await settled(post)
        assert socket.resumed == {"recovered": True, "count": 1, "last_id": "b"}
        await post.close()

    async def test_what_a_session_asked_for_before_it_was_bound_is_looked_for_again(self, post):
        await post.store(BOX, *"ab")
        socket = post.join("c")
        post.resume(socket, "a")
        await settled(post)
        assert not socket.resumed["recovered"]
        post.bind(socket, ALICE)
        await settled(post)
        assert socket.got == ["b"]
        assert socket.resumed == {"recovered": True, "count": 1, "last_id": "b"}

    async def test_who_changes_to_another_user_does_not_get_what_that_one_got_before(self, post, monkeypatch):
        socket = post.join("c", ALICE)
        await post.push(BOX, "a", socket)
        later = mail_module.monotonic() + 3600
        for module in (mail_module, reading):
            monkeypatch.setattr(module, "monotonic", lambda: later)
        await post.store("@8", "old")
        await asyncio.sleep(0.01)
        post.bind(socket, User(8))
        await post.push("@8", "new", socket)
        await settled(post)
        assert socket.got == ["a", "new"]

    async def test_who_changes_to_another_user_does_not_go_on_there(self, post):
        await post.store(BOX, "a")
        await post.store("@8", "old")
        socket = post.join("c", ALICE)
        post.resume(socket, "")
        await settled(post)
        post.bind(socket, User(8))
        await settled(post)
        assert (socket.got, len(socket.of("resumed"))) == (["a"], 1)
        post.resume(socket, "a")
        await settled(post)
        assert socket.got == ["a", "old"]
        assert not socket.resumed["recovered"]

    async def test_a_letter_for_another_user_is_not_written(self, post):
        socket = post.join("c", ALICE)
        assert await post.push("@8", "a", socket) == [Answer.OVERLOADED]
        assert socket.got == []


async def test_a_fault_does_not_leave_anybody_waiting(post, monkeypatch, caplog):
    async def fail(*_):
        raise RuntimeError("fault")

    socket = post.join("c", ALICE)
    await post.push(BOX, "a", socket)
    await post.store(BOX, "b")
    with monkeypatch.context() as patched:
        patched.setattr(post.boxes, "read", fail)
        await post.push(BOX, "c", socket)
        await settled(post)
    assert post.told == {"c": False}
    assert "mailbox not read" in caplog.text
    await post.push(BOX, "d", socket)
    await settled(post)
    assert socket.got == ["a", "b", "c", "d"]
