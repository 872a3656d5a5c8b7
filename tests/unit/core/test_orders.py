from __future__ import annotations

import pytest

from sanic_ws.core.batch import bound_target, everyone_target, user_target
from sanic_ws.core.identity import User
from sanic_ws.core.mail import NOWHERE, Place, Position, Posted
from sanic_ws.core.orders import Order, bare_target, order_target, read_order_target
from sanic_ws.errors import MalformedBatch

NOBODY: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "order",
    [
        Order("p", once=True),
        Order("p", wait="ack", ticket=1, timeout_ms=2000),
        Order("p", once=True, wait="reply", first=True, ticket=2**63, timeout_ms=60_000),
        Order("p", cancels=True),
        Order("p", overflow="drop_oldest", ticket=3),
        Order("p", overflow="coalesce", key="a key\n? ä 😀", wait="ack", ticket=3),
        Order("p", expires=100.25),
        Order("p", once=True, posted=Posted("@1:2", Place(Position(17, 3), Position(16), "an id, %"))),
        Order("p", posted=Posted("c~1", Place(Position(17), NOWHERE, ""))),
        Order("an id with spaces\n? ä 😀 %20 \x1f"),
    ],
)
@pytest.mark.parametrize(
    "target",
    ["a", bound_target("a", User(1)), user_target(User(1), frozenset({"b"})), everyone_target(NOBODY)],
)
def test_order_is_read_as_it_was_written(order, target):
    written = order_target(order, target, 100.0)
    assert "\n" not in written
    assert read_order_target(written, 100.0) == (order, target)
    assert bare_target(written) == target


@pytest.mark.parametrize("target", ["", "a", "=a 1", "@1 ", "*"])
def test_target_without_an_order_is_bare(target):
    assert bare_target(target) == target


def test_time_for_an_answer_is_bounded():
    order, _ = read_order_target(order_target(Order("p", wait="ack", timeout_ms=10**9), "a"))
    assert order.timeout_ms == 60_000


def test_order_expires_by_the_clock_of_whoever_holds_it():
    written = order_target(Order("p", expires=12.5), "a", 10.0)
    assert read_order_target(written, 1000.0)[0].expires == 1002.5


def test_order_that_has_expired_does_so_at_once():
    written = order_target(Order("p", expires=9.0), "a", 10.0)
    assert read_order_target(written, 1000.0)[0].expires == 1000.001


@pytest.mark.parametrize(
    "target",
    [
        "?",
        "?a 1 1 0 p ",
        "?a 1 1 0 p  ",
        "?z 1 1 0 p  c",
        "?a x 1 0 p  c",
        "?a 1 -1 0 p  c",
        "?a 1 1 x p  c",
        "?a ² 1 0 p  c",
        "?c 1 1 0 p  c",
        "?d 1 1 0 p k c",
        "?a 1 1 0 p  ?a 1 1 0 p  c",
    ],
)
def test_what_is_no_order_is_refused(target):
    with pytest.raises(MalformedBatch):
        read_order_target(target)
