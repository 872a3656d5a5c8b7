import json

import pytest

from sanic_ws.core.frames import payload_start
from sanic_ws.core.mail import NOWHERE, Place, Position
from sanic_ws.core.reading import MEMORY, Meeting, Reader, durable_frame

START = Position(1000)


def place(at, after=None, after_id=""):
    """Return a place; numbers are milliseconds."""
    before = NOWHERE if after is None else Position(after)
    return Place(Position(at), before, after_id or ("" if after is None else f"m{after}"))


def reader(start=START, **more):
    return Reader("c1", "web", start, **more)


def read(one, *letters, sent=True):
    """Pass letters, each at a number and behind the one before it."""
    for at, after in letters:
        one.passed(place(at, after), f"m{at}", sent=sent)
    return one


def test_the_first_letter_follows_whatever_was_before_the_session():
    assert reader().meet(place(1001), "a") is Meeting.NEXT
    assert reader().meet(place(1001, 900), "a") is Meeting.NEXT
    assert reader().meet(place(1001, 1000), "a") is Meeting.NEXT


def test_what_was_stored_before_the_session_is_not_for_it():
    assert reader().meet(place(1000), "a") is Meeting.MISSED
    assert reader().meet(place(900), "a") is Meeting.MISSED


def test_a_letter_behind_one_that_was_not_seen_is_ahead():
    assert reader().meet(place(1002, 1001), "a") is Meeting.AHEAD
    one = read(reader(), (1001, None))
    assert one.meet(place(1002, 1001), "m1002") is Meeting.NEXT
    assert one.meet(place(1003, 1002), "m1003") is Meeting.AHEAD


def test_what_was_passed_is_past():
    one = read(reader(), (1001, None), (1002, 1001))
    assert one.meet(place(1001), "m1001") is Meeting.PAST
    assert one.meet(place(1002, 1001), "m1002") is Meeting.PAST
    read(one, (1003, 1002), sent=False)
    assert one.meet(place(1003, 1002), "m1003") is Meeting.PAST


def test_what_a_client_has_from_elsewhere_is_past_wherever_it_lies():
    one = reader()
    one.skip("x")
    assert one.meet(place(1001), "x") is Meeting.PAST


def test_a_session_that_goes_on_behind_a_letter_gets_what_follows_that():
    one = reader(last_id="m1000")
    assert one.meet(place(1001, 1000), "m1001") is Meeting.NEXT
    assert one.prev(place(1001, 1000)) == "m1000"
    assert one.meet(place(1000, 990), "m1000") is Meeting.PAST
    assert one.meet(place(1002, 999), "m1002") is Meeting.AHEAD, "where it stood is not there any more"


def test_a_session_from_the_beginning_takes_only_the_first_letter_of_all():
    assert reader(NOWHERE).meet(place(5), "a") is Meeting.NEXT
    assert reader(NOWHERE).meet(place(5, 4), "a") is Meeting.AHEAD


@pytest.mark.parametrize(
    ("only", "takes"),
    [("", True), ("c1", True), ("c2", False), ("@web", True), ("@app", False), ("@app,@web", True)],
)
def test_letters_for_others_are_not_taken(only, takes):
    assert reader().takes(only) is takes


def test_without_a_kind_only_letters_for_all_and_for_the_connection_are_taken():
    one = Reader("c1", "", START)
    assert [one.takes(only) for only in ("", "c1", "@web")] == [True, True, False]


class TestPrev:
    def test_is_what_the_client_got_last_though_others_lie_between(self):
        one = read(read(reader(), (1001, None)), (1002, 1001), sent=False)
        assert one.prev(place(1003, 1002)) == "m1001"
        assert one.whole

    def test_of_the_first_is_what_lies_before_it(self):
        assert reader().prev(place(1001, 900)) == "m900"
        assert reader().prev(place(1001)) == ""

    def test_tells_of_a_gap(self):
        one = read(reader(), (1001, None))
        assert one.prev(place(1003, 1002)) == "m1002"
        read(one, (1003, 1002))
        assert not one.whole
        assert one.prev(place(1004, 1003)) == "m1003"

    def test_tells_of_a_gap_before_a_letter_for_others(self):
        one = read(read(reader(), (1001, None)), (1003, 1002), sent=False)
        assert one.prev(place(1004, 1003)) == "m1003"

    def test_tells_of_a_letter_that_is_lost(self):
        one = read(reader(), (1001, None))
        one.passed(place(1002, 1001), "m1002", sent=False, lost=True)
        assert one.prev(place(1003, 1002)) == "m1002"
        assert not one.whole

    def test_tells_of_a_mailbox_that_began_anew(self):
        one = read(reader(), (1001, None))
        assert one.meet(place(1002), "m1002") is Meeting.AHEAD
        assert one.prev(place(1002)) == ""


class TestServerThatLostItsTail:
    def test_what_follows_a_letter_that_is_left_is_next(self):
        one = read(reader(), (1001, 999), (1002, 1001), (1003, 1002))
        assert one.meet(place(1004, 1001), "new") is Meeting.NEXT
        assert one.prev(place(1004, 1001)) == "m1003"
        assert one.meet(place(1004, 999), "new") is Meeting.NEXT, "all that it had got is lost"

    def test_with_a_clock_behind_the_new_ones_are_taken_for_what_they_are(self):
        one = read(reader(), (1001, 999), (1005, 1001), (1008, 1005))
        assert one.meet(place(1003, 1001), "new") is Meeting.NEXT
        one.passed(place(1003, 1001), "new", sent=True)
        assert one.at == Position(1003)
        assert one.meet(place(1004, 1003, "new"), "newer") is Meeting.NEXT

    def test_at_the_very_place_of_one_that_is_lost(self):
        one = read(reader(), (1001, 999), (1005, 1001))
        assert one.meet(place(1005, 1001), "new") is Meeting.NEXT

    def test_with_a_clock_behind_what_was_not_seen_is_read(self):
        one = read(reader(), (1001, 999), (1005, 1001), (1008, 1005))
        assert one.meet(place(1004, 1003, "new"), "newer") is Meeting.AHEAD
        assert one.at == Position(1001)

    def test_unseen_before_one_with_a_place_of_its_own_is_read(self):
        one = read(reader(), (1001, 999), (1005, 1001), (1008, 1005))
        assert one.meet(place(1010, 1003, "new"), "newer") is Meeting.AHEAD
        assert one.at == Position(1001)

    def test_behind_one_at_the_very_place_of_another_that_one_is_read(self):
        one = read(reader(), (1001, 999), (1005, 1001))
        assert one.meet(place(1010, 1005, "new"), "newer", live=True) is Meeting.AHEAD
        assert one.at == Position(1001)
        assert one.meet(place(1005, 1001), "new") is Meeting.NEXT

    def test_live_ones_are_looked_for_in_the_mailbox_where_that_is_in_doubt(self):
        one = read(reader(), (1001, 999), (1005, 1001))
        assert one.meet(place(1010, 1001), "new", live=True) is Meeting.AHEAD
        assert one.meet(place(1010, 1001), "new") is Meeting.NEXT
        assert one.meet(place(1003, 1001), "late", live=True) is Meeting.AHEAD

    def test_what_was_sent_is_not_sent_again(self):
        one = read(reader(), (1001, 999), (1005, 1001))
        one.passed(place(1003, 1001), "new", sent=True)
        assert one.meet(place(1005, 1001), "m1005") is Meeting.PAST

    def test_a_letter_in_a_gap_is_not_taken_for_one(self):
        one = read(reader(), (1001, 999), (1005, 1004))
        assert one.meet(place(1003, 1001), "m1003") is Meeting.MISSED
        assert one.at == Position(1005)

    def test_what_lies_before_all_that_is_remembered_is_not_sent(self):
        one = reader()
        for at in range(1002, 1002 + 2 * MEMORY):
            one.passed(place(at, at - 1), f"m{at}", sent=False)
        assert one.meet(place(1002, 1001), "m1002") is Meeting.MISSED
        assert one.meet(place(1001 + 2 * MEMORY, 2 * MEMORY), f"m{1001 + 2 * MEMORY}") is Meeting.PAST
        assert len(one._passed) == MEMORY


class TestFrame:
    def test_names_the_one_before(self):
        frame = durable_frame(b'{"type":"t","data":1,"id":"b"}', 'a"\\')
        message = json.loads(frame[payload_start(frame) :])
        assert message == {"type": "t", "data": 1, "id": "b", "prev": 'a"\\'}

    def test_says_that_there_is_none_before(self):
        frame = durable_frame(b'{"type":"t"}', "")
        assert frame[payload_start(frame) :] == b'{"type":"t","prev":null}'


def test_letter_before_the_first_after_a_lost_tail_was_not_sent():
    """It is known by the one behind it, and was trimmed before this session could read it."""
    reader = Reader("c", "web", NOWHERE)
    behind = Place(Position(1000, 5), Position(1000, 4), "trimmed")
    reader.meet(behind, "behind")
    reader.passed(behind, "behind", sent=False)
    lost = Place(Position(1000, 5), Position(1000, 4), "lost before")
    assert reader.meet(lost, "lost", live=True) is Meeting.AHEAD
    reader.meet(behind, "behind")
    reader.passed(behind, "behind", sent=False)
    trimmed = Place(Position(1000, 4), Position(1000, 3), "kept")
    assert reader.meet(trimmed, "trimmed", live=True) is Meeting.MISSED


def test_letter_that_had_expired_when_it_was_read_was_not_sent():
    reader = Reader("c", "web", NOWHERE)
    place = Place(Position(1000), NOWHERE, "")
    reader.passed(place, "expired", sent=False, lost=True)
    assert reader.meet(place, "expired", live=True) is Meeting.MISSED
