"""What every mailbox promises: one suite for the one in memory and for Redis in all its forms."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from sanic_ws.core.mail import NOWHERE, Contents, Letter, Place, Position
from sanic_ws.errors import MailboxAway
from sanic_ws.mailbox import Bounds, Mailbox
from sanic_ws.mailbox.memory import MemoryMailbox
from sanic_ws.mailbox.redis import RedisMailbox
from tests.integration.peers import eventually, unique
from tests.servers import RedisServer

MakeMailbox = Callable[..., Mailbox]


@pytest.fixture(params=["memory", "redis", "redis_sentinel", "redis_cluster"])
async def make_mailbox(request: pytest.FixtureRequest) -> AsyncIterator[MakeMailbox]:
    """Make mailboxes; those of one name share what they hold."""
    made: list[Mailbox] = []
    url = None if request.param == "memory" else request.getfixturevalue(request.param).url

    def make(name: str, bounds: Bounds | None = None) -> Mailbox:
        one = (
            MemoryMailbox(f"memory://{name}", "t", bounds) if url is None else RedisMailbox(url, name, bounds)
        )
        made.append(one)
        return one

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def mailbox(make_mailbox: MakeMailbox) -> Mailbox:
    return make_mailbox(unique())


def letter(
    push_id: str, box: str = "@1001", payload: bytes = b'{"type":"t","data":1}', **more: object
) -> Letter:
    return Letter(box, push_id, payload, **more)  # type: ignore[arg-type]


async def put(mailbox: Mailbox, *letters: Letter) -> list[Place]:
    places = await mailbox.store(letters)
    assert all(place.certain for place in places)
    return places


async def ids(mailbox: Mailbox, box: str = "@1001", after: Position = NOWHERE, most: int = 1000) -> list[str]:
    return [stored.id for stored in await mailbox.read(box, after, most)]


async def test_letters_are_read_in_the_order_in_which_they_were_stored(mailbox):
    await put(mailbox, letter("a"), letter("b", payload=b'{"x":"\xc3\xa4"}', only="@web"))
    await put(mailbox, letter("c", only="conn-1"))
    stored = await mailbox.read("@1001", NOWHERE, 10)
    assert [(one.id, one.payload, one.only) for one in stored] == [
        ("a", b'{"type":"t","data":1}', ""),
        ("b", b'{"x":"\xc3\xa4"}', "@web"),
        ("c", b'{"type":"t","data":1}', "conn-1"),
    ]


async def test_a_letter_knows_the_one_before_it(mailbox):
    a, b = await put(mailbox, letter("a"), letter("b"))
    (c,) = await put(mailbox, letter("c"))
    assert (a.after, a.after_id) == (NOWHERE, "")
    assert (b.after, b.after_id) == (a.at, "a")
    assert (c.after, c.after_id) == (b.at, "b")
    assert a.at < b.at < c.at
    assert [one.place for one in await mailbox.read("@1001", NOWHERE, 10)] == [a, b, c]


async def test_mailboxes_are_apart(mailbox):
    one, other = await put(mailbox, letter("a", "@1001"), letter("a", "conn-1"))
    assert (one.after, other.after) == (NOWHERE, NOWHERE)
    assert await ids(mailbox, "@1001") == await ids(mailbox, "conn-1") == ["a"]
    assert await ids(mailbox, "@2") == []


async def test_what_comes_after_a_position_is_read_in_pages(mailbox):
    places = await put(mailbox, *(letter(f"m{number}") for number in range(25)))
    assert await ids(mailbox, after=places[4].at, most=10) == [f"m{number}" for number in range(5, 15)]
    assert await ids(mailbox, after=places[14].at, most=100) == [f"m{number}" for number in range(15, 25)]
    assert await ids(mailbox, after=places[24].at) == []


async def test_a_copy_is_not_stored_again_and_has_the_place_of_the_first(mailbox):
    first, _ = await put(mailbox, letter("a", repeatable=True), letter("b"))
    assert await put(mailbox, letter("a", repeatable=True)) == [first]
    assert await put(mailbox, letter("c", repeatable=True), letter("a", repeatable=True)) == [
        (await put(mailbox, letter("c", repeatable=True)))[0],
        first,
    ]
    assert await ids(mailbox) == ["a", "b", "c"]


async def test_no_more_letters_are_kept_than_the_bound_says(make_mailbox):
    mailbox = make_mailbox(unique(), Bounds(letters=3))
    places = await put(mailbox, *(letter(str(number)) for number in range(5)))
    assert await ids(mailbox) == ["2", "3", "4"]
    (oldest, *_) = await mailbox.read("@1001", NOWHERE, 1)
    assert oldest.place.after == places[1].at


async def test_no_more_bytes_are_kept_than_the_bound_says_but_for_the_newest(make_mailbox):
    mailbox = make_mailbox(unique(), Bounds(octets=250))
    await put(mailbox, *(letter(str(number), payload=b"x" * 100) for number in range(4)))
    assert await ids(mailbox) == ["2", "3"]
    assert (await mailbox.describe("@1001")).octets == 200
    await put(mailbox, letter("big", payload=b"x" * 1000))
    assert await ids(mailbox) == ["big"]


async def test_an_expired_letter_is_read_without_its_payload_and_cleared_away_by_the_next(mailbox):
    await put(mailbox, letter("a", ttl_s=0.05), letter("b", ttl_s=60))

    async def expired() -> bool:
        first, _ = await mailbox.read("@1001", NOWHERE, 10)
        return first.payload is None

    await eventually(expired, "the letter to expire")
    await put(mailbox, letter("c", ttl_s=60))
    assert await ids(mailbox) == ["b", "c"]


async def test_a_mailbox_is_gone_with_the_letter_that_lives_longest(mailbox):
    await put(mailbox, letter("a", ttl_s=0.2), letter("b", ttl_s=0.05))
    assert await mailbox.describe("@1001") != Contents(0, 0, None, None)

    async def gone() -> bool:
        return await mailbox.describe("@1001") == Contents(0, 0, None, None)

    await eventually(gone, "the mailbox to be forgotten")
    (place,) = await put(mailbox, letter("c"))
    assert (place.after, place.after_id) == (NOWHERE, "")


async def test_a_short_letter_does_not_shorten_the_life_of_those_before_it(mailbox):
    await put(mailbox, letter("long", ttl_s=60), letter("short", ttl_s=0.05))

    async def expired() -> bool:
        return [one.payload is None for one in await mailbox.read("@1001", NOWHERE, 10)] == [False, True]

    await eventually(expired, "the short one to expire")


async def test_letters_are_found_by_their_ids(make_mailbox):
    mailbox = make_mailbox(unique(), Bounds(letters=250))
    places = await put(mailbox, *(letter(f"m{number}") for number in range(260)))
    assert await mailbox.find("@1001", "m259") == places[259].at
    assert await mailbox.find("@1001", "m10") == places[10].at
    assert await mailbox.find("@1001", "m9") == places[9].at, "trimmed, but the next one knows it"
    assert await mailbox.find("@1001", "m8") is None
    assert await mailbox.find("@2", "m8") is None


async def test_a_mailbox_is_described_and_cleared(mailbox):
    assert await mailbox.describe("@1001") == Contents(0, 0, None, None)
    assert not await mailbox.clear("@1001")
    await put(mailbox, letter("a", payload=b"12345"), letter("b", payload=b"123"))
    assert await mailbox.describe("@1001") == Contents(2, 8, "a", "b")
    assert await mailbox.clear("@1001")
    assert await mailbox.describe("@1001") == Contents(0, 0, None, None)
    assert await ids(mailbox) == []


async def test_what_lies_up_to_a_letter_is_cleared_and_the_rest_stays(mailbox):
    places = await put(mailbox, *(letter(name) for name in "abcd"))
    assert await mailbox.clear("@1001", places[1].at)
    assert not await mailbox.clear("@1001", places[1].at)
    assert await ids(mailbox) == ["c", "d"]
    assert await mailbox.find("@1001", "b") == places[1].at
    assert await mailbox.clear("@1001", places[3].at)
    assert await mailbox.describe("@1001") == Contents(0, 0, None, None)
    (place,) = await put(mailbox, letter("e"))
    assert (place.after, place.after_id) == (NOWHERE, "")


async def test_newest_says_where_the_last_letter_is_and_where_one_would_be_put(mailbox):
    assert (await mailbox.newest(["@1001"]))[1] == [None]
    _, last, other = await put(mailbox, letter("a"), letter("b"), letter("c", "conn-1"))
    now, found = await mailbox.newest(["@1001", "nobody", "conn-1"])
    assert found == [last.at, None, other.at]
    assert last.at.ms <= now.ms
    (late,) = await put(mailbox, letter("d"))
    assert late.at.ms >= now.ms


async def test_a_letter_says_for_how_long_it_is_of_use(mailbox):
    await put(mailbox, letter("a", ttl_s=60), letter("b", ttl_s=0.001))

    async def read() -> bool:
        a, b = await mailbox.read("@1001", NOWHERE, 10)
        return 0 < a.left_s <= 60 and b.left_s == 0

    await eventually(read, "the second one to expire")


async def test_what_cannot_be_reached_has_certainly_stored_nothing():
    mailbox = RedisMailbox("redis://127.0.0.1:1/0", unique())
    for repeatable in (False, True):
        (failure,) = await mailbox.store([letter("a", repeatable=repeatable)])
        assert isinstance(failure, MailboxAway)
    await mailbox.close()


async def test_server_that_is_full_has_certainly_stored_nothing():
    with RedisServer("--maxmemory", "1", "--maxmemory-policy", "noeviction") as full:
        mailbox = RedisMailbox(full.url, unique())
        try:
            (failure,) = await mailbox.store([letter("a")])
            assert isinstance(failure, MailboxAway)
            assert await ids(mailbox) == []
        finally:
            await mailbox.close()


async def test_server_of_a_cluster_that_is_frozen_fails_its_own_letters_only(redis_cluster):
    name = unique()
    mailbox = RedisMailbox(redis_cluster.url, name)
    boxes = [f"@{number}" for number in range(12)]
    stored = await put(mailbox, *(letter("a", box) for box in boxes))
    assert len(stored) == len(boxes)
    frozen = redis_cluster.master_of(f"{name}:mail:{{@0}}")
    its = {box for box in boxes if redis_cluster.master_of(f"{name}:mail:{{{box}}}") is frozen}
    assert 0 < len(its) < len(boxes)
    frozen.pause()
    try:
        places = await mailbox.store([letter("b", box) for box in boxes])
    finally:
        frozen.resume()
        await mailbox.close()
    assert {box for box, place in zip(boxes, places, strict=True) if not isinstance(place, Place)} == its


async def test_a_copy_of_a_letter_that_was_cleared_away_is_stored_anew(mailbox):
    await put(mailbox, letter("a", repeatable=True))
    await mailbox.clear("@1001")
    await put(mailbox, letter("a", repeatable=True))
    assert await ids(mailbox) == ["a"]


async def test_two_who_store_at_the_same_time_make_one_sequence(make_mailbox):
    name = unique()
    one, other = make_mailbox(name), make_mailbox(name)
    await asyncio.gather(
        *(put(box, letter(f"{number}-{n}")) for number in range(30) for n, box in enumerate((one, other)))
    )
    stored = await one.read("@1001", NOWHERE, 100)
    assert len({entry.id for entry in stored}) == 60
    for before, after in itertools.pairwise(stored):
        assert (after.place.after, after.place.after_id) == (before.place.at, before.id)


async def test_what_replicas_do_not_have_is_not_said_to_be_stored(redis):
    mailbox = RedisMailbox(redis.url, unique(), Bounds(replicas=1))
    try:
        (place,) = await mailbox.store([letter("a")])
        assert not place.certain
        assert await ids(mailbox) == ["a"], "though it is there"
    finally:
        await mailbox.close()


async def test_what_replicas_have_is_stored(redis_sentinel):
    mailbox = RedisMailbox(redis_sentinel.url, unique(), Bounds(replicas=1))
    try:
        await put(mailbox, letter("a"), letter("b"))
    finally:
        await mailbox.close()
