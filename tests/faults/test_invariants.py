"""The checker finds every lie that is planted, and calls nothing a lie that is none."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from tests.faults.invariants import LAG_S, check, report
from tests.faults.logs import ABNORMAL, REPLACED, SLOW, Absence, ClientLog, Frame, PushLog, Session

pytestmark = pytest.mark.beside

NODE, OTHER = "node-a", "node-b"


def session(opened_at: float | None, closed_at: float | None = None, **fields: Any) -> Session:
    made = Session("ws://a", (opened_at or 0.0) - 0.1, NODE, opened_at, closed_at=closed_at)
    made.ended_at = closed_at
    made.code = None if closed_at is None else ABNORMAL
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def pushed(outcome: str | None, sequence: int = 0, **fields: Any) -> PushLog:
    push = PushLog(f"p.{sequence}", "p", sequence, "c", 10.0 + sequence, ended_at=10.5 + sequence)
    push.outcome = outcome
    push.node = NODE if outcome == "delivered" else None
    for name, value in fields.items():
        setattr(push, name, value)
    return push


def frame(sequence: int = 0, at: float | None = None, number: int = 0) -> Frame:
    return Frame(f"p.{sequence}", "p", sequence, 10.4 + sequence if at is None else at, number)


def found(
    pushes: list[PushLog],
    sessions: list[Session],
    frames: Sequence[Frame] = (),
    absences: Sequence[Absence] = (),
) -> list[str]:
    return [v.kind for v in check(pushes, {"c": ClientLog("c", sessions, list(frames))}, absences)]


class TestDelivered:
    LIE: ClassVar = ["delivered without a frame"]

    def test_with_its_frame_is_true(self):
        assert found([pushed("delivered")], [session(1)], [frame()]) == []

    def test_without_a_frame_is_a_lie(self):
        assert found([pushed("delivered")], [session(1)]) == self.LIE

    def test_with_another_pushs_frame_is_a_lie(self):
        pushes = [pushed("delivered"), pushed("delivered", 1)]
        assert found(pushes, [session(1)], [frame(1)]) == self.LIE

    def test_frame_may_be_read_after_the_receipt(self):
        assert found([pushed("delivered")], [session(1)], [frame(at=99.0)]) == []

    def test_node_that_was_killed_is_no_excuse(self):
        assert found([pushed("delivered")], [session(1, 10.2)]) == self.LIE

    @pytest.mark.parametrize("closed_at", [10.2, 10.6])
    def test_client_that_cut_the_socket_itself_may_have_lost_it(self, closed_at):
        assert found([pushed("delivered")], [session(1, closed_at, by_client=True)]) == []

    def test_client_that_had_cut_the_socket_before_has_not(self):
        assert found([pushed("delivered")], [session(1, 9.9, by_client=True), session(9.95)]) == self.LIE

    def test_what_it_cut_on_another_node_is_no_excuse(self):
        cut = session(1, 10.2, by_client=True, node=OTHER)
        assert found([pushed("delivered")], [cut, session(9)]) == self.LIE

    def test_client_that_stopped_reading_and_was_cut_off_may_have_lost_it(self):
        assert found([pushed("delivered")], [session(1, 30, stuck=True, code=SLOW)]) == []

    def test_client_that_stopped_reading_and_was_not_cut_off_has_it(self):
        assert found([pushed("delivered")], [session(1, 30, stuck=True)]) == self.LIE


class TestOffline:
    LIE: ClassVar = ["offline although the client was connected"]

    def test_while_nobody_is_connected_is_true(self):
        assert found([pushed("offline")], []) == []
        assert found([pushed("offline")], [session(1, 5), session(20)]) == []

    def test_while_connected_all_the_time_is_a_lie(self):
        assert found([pushed("offline")], [session(9.99)]) == self.LIE
        assert found([pushed("offline")], [session(1, 60)]) == self.LIE

    def test_when_the_session_opened_during_the_push_is_true(self):
        assert found([pushed("offline")], [session(10.01)]) == []

    def test_when_the_session_ended_during_the_push_is_true(self):
        assert found([pushed("offline")], [session(1, 10.3)]) == []

    def test_client_may_learn_a_little_late_that_it_has_ended(self):
        assert found([pushed("offline")], [session(1, 10.5 + LAG_S / 2)]) == []
        assert found([pushed("offline")], [session(1, 10.6 + LAG_S)]) == self.LIE

    def test_client_that_does_not_read_learns_very_late_that_it_has_ended(self):
        assert found([pushed("offline")], [session(1, 30, stuck=True, unread_since=10.2)]) == []
        assert found([pushed("offline")], [session(1, 30, stuck=True)]) == self.LIE

    def test_while_one_session_replaced_the_other_is_a_lie(self):
        replaced = session(1, 10.3, code=REPLACED)
        assert found([pushed("offline")], [replaced, session(10.2, node=OTHER)]) == self.LIE

    def test_while_one_was_lost_just_when_the_other_came_is_true(self):
        assert found([pushed("offline")], [session(1, 10.3), session(10.2, node=OTHER)]) == []

    def test_in_the_gap_between_two_sessions_is_true(self):
        replaced = session(1, 10.1, code=REPLACED)
        assert found([pushed("offline")], [replaced, session(10.2, node=OTHER)]) == []

    def test_session_that_never_opened_does_not_count(self):
        assert found([pushed("offline")], [session(None)]) == []

    def test_although_the_frame_arrived_is_a_lie(self):
        kinds = found([pushed("offline")], [session(10.1)], [frame()])
        assert kinds == ["offline although the frame arrived"]

    def test_user_that_was_not_bound_yet_is_offline(self):
        push = pushed("offline", by_user=True)
        assert found([push], [session(1, bound_at=10.2)]) == []
        assert found([push], [session(1, bound_at=9.0)]) == self.LIE

    def test_node_that_could_not_renew_its_lease_is_not_believed_in(self):
        assert found([pushed("offline")], [session(1)], [], [Absence(NODE, 3, 5, 12)]) == []

    def test_node_whose_lease_still_ran_is_believed_in(self):
        assert found([pushed("offline")], [session(1)], [], [Absence(NODE, 15, 9, 12)]) == self.LIE

    def test_node_that_has_come_back_is_believed_in(self):
        assert found([pushed("offline")], [session(1)], [], [Absence(NODE, 3, 2, 9)]) == self.LIE

    def test_absence_of_another_node_is_no_excuse(self):
        assert found([pushed("offline")], [session(1)], [], [Absence(OTHER, 3, 5, 12)]) == self.LIE


@pytest.mark.parametrize("outcome", ["unavailable", "overloaded"])
def test_certainly_not_sent_although_the_frame_arrived_is_a_lie(outcome):
    assert found([pushed(outcome)], [session(1)]) == []
    assert found([pushed(outcome)], [session(1)], [frame(at=99.0)]) == [
        f"{outcome} although the frame arrived"
    ]


@pytest.mark.parametrize("outcome", ["unknown", None])
def test_what_promises_nothing_is_no_lie(outcome):
    assert found([pushed(outcome)], [session(1)]) == []
    assert found([pushed(outcome)], [session(1)], [frame()]) == []


def test_push_without_an_end_is_found():
    assert found([pushed(None, ended_at=None)], [session(1)]) == ["a push without an end"]


class TestOrder:
    WRONG: ClassVar = ["out of order"]

    def both(self, **fields: Any) -> list[PushLog]:
        return [pushed("delivered", n, **fields) for n in range(2)]

    def test_as_they_were_made_is_right(self):
        assert found(self.both(), [session(1)], [frame(0), frame(1)]) == []

    def test_the_other_way_round_is_wrong(self):
        assert found(self.both(), [session(1)], [frame(1), frame(0)]) == self.WRONG

    def test_the_other_way_round_on_a_later_session_is_wrong(self):
        sessions = [session(1, 12.0), session(13, node=OTHER)]
        assert found(self.both(), sessions, [frame(1), frame(0, 14.0, 1)]) == self.WRONG

    def test_two_sessions_at_the_same_time_are_read_in_any_order(self):
        sessions = [session(1, 12.0, code=REPLACED), session(11, node=OTHER)]
        assert found(self.both(), sessions, [frame(1), frame(0, 11.5, 1)]) == []

    def test_copy_on_a_later_session_has_no_place_in_the_order(self):
        sessions = [session(1, 12.0), session(13, node=OTHER)]
        assert found(self.both(), sessions, [frame(0), frame(1), frame(0, 14.0, 1)]) == []

    def test_a_user_and_a_connection_are_two_targets(self):
        pushes = [pushed("delivered"), pushed("delivered", 1, by_user=True)]
        assert found(pushes, [session(1, bound_at=1)], [frame(1), frame(0)]) == []

    def test_calls_that_overlap_on_several_connections_have_no_order(self):
        late = self.both(in_order=False, ended_at=99.0)
        assert found(late, [session(1)], [frame(1), frame(0)]) == []
        unknown = [pushed("unknown", in_order=False), pushed("delivered", 1, in_order=False)]
        assert found(unknown, [session(1)], [frame(1), frame(0)]) == []
        one_by_one = self.both(in_order=False)
        assert found(one_by_one, [session(1)], [frame(1), frame(0)]) == self.WRONG

    def test_two_publishers_have_no_order(self):
        pushes = [pushed("delivered"), pushed("delivered", 1, publisher="q")]
        frames = [Frame("p.1", "q", 1, 10.1, 0), frame(0)]
        assert found(pushes, [session(1)], frames) == []


class TestFrames:
    def test_twice_on_one_session_is_wrong(self):
        kinds = found([pushed("delivered")], [session(1)], [frame(), frame()])
        assert kinds == ["a frame twice on one session"]

    def test_on_two_sessions_is_not_this(self):
        sessions = [session(1, 10.6, code=REPLACED), session(10.2)]
        assert found([pushed("delivered")], sessions, [frame(), frame(number=1)]) == []

    def test_that_nobody_pushed_is_found(self):
        assert found([], [session(1)], [frame()]) == ["a frame that nobody pushed"]

    def test_at_the_wrong_client_is_found(self):
        push = pushed("delivered")
        clients = {"c": ClientLog("c", [session(1)], [frame()]), "d": ClientLog("d", [session(1)], [frame()])}
        assert [v.kind for v in check([push], clients)] == ["a frame at the wrong client"]


def test_report_tells_all_that_is_needed_to_understand_it():
    absence = Absence(OTHER, 3, 2)
    clients = {"c": ClientLog("c", [session(1)], [])}
    text = report(check([pushed("delivered", route="direct")], clients, [absence]))
    for part in ("delivered without a frame", "p.0", "direct", NODE, "opened_at -9.000", "node-b away"):
        assert part in text
