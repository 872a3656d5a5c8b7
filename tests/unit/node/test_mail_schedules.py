"""The promises of mail under any schedule of what can happen to mailboxes, nodes and clients.

``MAIL_EXAMPLES=10000`` plays so many.
"""

from __future__ import annotations

import asyncio
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.node.post import BOX, KINDS, NODES, Office

EXAMPLES = int(os.environ.get("MAIL_EXAMPLES", "100"))
CONNS = tuple(KINDS)
BOXES = (BOX, "c2")


def push_user(office: Office, arg: int) -> None:
    office.push(BOX)


def push_kind(office: Office, arg: int) -> None:
    office.push(BOX, ("@web", "@app")[arg % 2])


def push_conn(office: Office, arg: int) -> None:
    office.push("c2")


def push_again(office: Office, arg: int) -> None:
    there = [one.letter for box in BOXES for one in office.kept._alive(box)]
    if there:
        letter = there[arg % len(there)]
        office.push(letter.box, letter.only, letter.id)


def deliver(office: Office, arg: int) -> None:
    office.deliver(0)


def deliver_any(office: Office, arg: int) -> None:
    office.deliver(arg)


def drop(office: Office, arg: int) -> None:
    if office.live:
        del office.live[arg % len(office.live)]


def connect(office: Office, arg: int) -> None:
    office.connect(CONNS[arg % 3], arg % NODES, None)


def come_back(office: Office, arg: int) -> None:
    conn = CONNS[arg % 3]
    last = office.clients_last.get(conn)
    office.connect(conn, arg % NODES, "" if last is None else last.id)


def come_back_from_before(office: Office, arg: int) -> None:
    conn = CONNS[arg % 3]
    mine = [one.id for one in office.records if one.box == ("c2" if conn == "c2" else BOX)]
    office.connect(conn, arg % NODES, mine[arg % len(mine)] if mine else "foreign")


def leave(office: Office, arg: int) -> None:
    office.leave(CONNS[arg % 3])


def kill(office: Office, arg: int) -> None:
    office.kill(arg % NODES)


def fill(office: Office, arg: int) -> None:
    office.fill(CONNS[arg % 3], full=True)


def drink(office: Office, arg: int) -> None:
    office.fill(CONNS[arg % 3], full=False)


def trim(office: Office, arg: int) -> None:
    office.trim(BOXES[arg % 2], 1 + arg // 2)


def answer(office: Office, arg: int) -> None:
    office.doors.open(arg)


def look(office: Office, arg: int) -> None:
    office.look(arg % NODES)


def away(office: Office, arg: int) -> None:
    office.doors.away = not office.doors.away


def lose_tail(office: Office, arg: int) -> None:
    office.lose_tail(BOXES[arg % 2], 1 + arg // 4, 0)


def lose_tail_with_a_clock_behind(office: Office, arg: int) -> None:
    office.lose_tail(BOXES[arg % 2], 1 + arg // 4, arg)


def empty(office: Office, arg: int) -> None:
    office.empty()


def let_time_pass(office: Office, arg: int) -> None:
    office.now_ms += (1, 1, 2, 10, 500, 3000, 12_000)[arg % 7]


EVENTS = (
    *[push_user] * 4,
    *[push_kind] * 2,
    *[push_conn] * 2,
    push_again,
    *[deliver] * 5,
    *[deliver_any] * 2,
    *[drop] * 2,
    connect,
    *[come_back] * 2,
    come_back_from_before,
    leave,
    kill,
    fill,
    drink,
    *[trim] * 2,
    *[answer] * 6,
    away,
    look,
    *[let_time_pass] * 3,
)
LOSSES = (*EVENTS, *[lose_tail] * 3, *[lose_tail_with_a_clock_behind] * 4, empty)


def play(schedule) -> None:
    async def run() -> None:
        office = Office()
        with office.at_work():
            for event, arg in schedule:
                event(office, arg)
                await office.settle()
            await office.finish()

    asyncio.run(run())


def schedules(events):
    step = st.tuples(st.sampled_from(events), st.integers(0, 11))
    return st.lists(step, min_size=20, max_size=80)


quick = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 100,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@quick
@given(schedules(EVENTS))
def test_no_silent_gap_no_disorder_no_duplicate(schedule):
    play(schedule)


@quick
@given(schedules(LOSSES))
def test_nor_where_a_server_loses_what_it_had(schedule):
    play(schedule)
