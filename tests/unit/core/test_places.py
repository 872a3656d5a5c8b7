from __future__ import annotations

import random

import pytest

from sanic_ws.core.places import Places


class Node:
    """Takes connections in as the gateway does; `here` holds those that may be replaced."""

    def __init__(self, most: int, most_of_an_address: int = 0):
        self.places = Places(most, most_of_an_address)
        self.here: dict[str, str] = {}

    def admit(self, conn: str, address: str = "a") -> bool:
        replaced = self.here.get(conn)
        if self.places.crowded(conn, address, replaced) or self.places.full(conn, replaced):
            return False
        self.places.take(conn, address)
        return True

    def connect(self, conn: str, address: str = "a") -> bool:
        if not self.admit(conn, address):
            return False
        before, self.here[conn] = self.here.get(conn), address
        if before is not None:
            self.places.free(conn, before)
        return True

    def leave(self, conn: str) -> None:
        self.places.free(conn, self.here.pop(conn))


def test_node_is_full():
    node = Node(2)
    assert [node.connect(conn) for conn in "xyz"] == [True, True, False]
    node.leave("x")
    assert node.connect("z")
    assert len(node.places) == 2


def test_address_has_its_own_limit():
    node = Node(10, 2)
    assert [node.connect(f"a{n}", "a") for n in range(3)] == [True, True, False]
    assert node.connect("b", "b")
    node.leave("a0")
    assert node.connect("a2", "a")


def test_nothing_is_kept_of_an_address_that_has_gone():
    node = Node(10, 2)
    node.connect("x", "a")
    node.leave("x")
    assert not node.places._of_address


@pytest.mark.parametrize("limits", [(2, 0), (10, 2)])
def test_one_that_replaces_another_is_not_refused_because_of_it(limits):
    node = Node(*limits)
    node.connect("x"), node.connect("y")
    for _ in range(5):
        assert node.connect("x")
        assert not node.connect("z")
    assert len(node.places) == 2


@pytest.mark.parametrize("limits", [(2, 0), (10, 2)])
def test_one_place_is_not_taken_over_twice(limits):
    node = Node(*limits)
    node.connect("x"), node.connect("y")
    assert [node.admit("x") for _ in range(3)] == [True, False, False]
    node.places.free("x", "a")
    assert node.admit("x")


def test_place_elsewhere_makes_no_room_at_a_crowded_address():
    node = Node(10, 1)
    node.connect("x", "a"), node.connect("y", "b")
    assert not node.connect("x", "b")
    assert node.connect("x", "c")
    assert node.connect("z", "a")


def test_it_never_holds_more_than_one_beyond_for_each_connection():
    rng = random.Random(7)
    node = Node(5, 3)
    under_way: list[tuple[str, str]] = []
    for _ in range(20_000):
        conn, address = rng.choice("stuvwxyz"), rng.choice("ab")
        match rng.randrange(4):
            case 0:
                if node.admit(conn, address):
                    under_way.append((conn, address))
            case 1 if under_way:
                node.places.free(*under_way.pop(rng.randrange(len(under_way))))
            case 2 if under_way:
                conn, address = under_way.pop(rng.randrange(len(under_way)))
                before, node.here[conn] = node.here.get(conn), address
                if before is not None:
                    node.places.free(conn, before)
            case 3 if conn in node.here:
                node.leave(conn)
        held = len(node.here) + len(under_way)
        assert len(node.places) == held <= 5 + len(node.places._heirs)
        assert len(node.places._heirs) <= 8
