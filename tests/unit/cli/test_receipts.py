"""A receipt on a terminal."""

from __future__ import annotations

import pytest

from sanic_ws.cli.receipts import show_receipt


@pytest.fixture
def shown(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    def shown(**receipt):
        show_receipt({"id": "p-1", **receipt})
        return capsys.readouterr().out.splitlines()

    return shown


def delivery(conn="a", outcome="delivered", **more):
    return {"conn": conn, "node": "n-1", "route": "direct", "outcome": outcome, "latency_ms": 1.25, **more}


def test_one_delivery_is_one_line(shown):
    lines = shown(outcome="delivered", counts={"delivered": 1}, deliveries=[delivery()])
    assert lines == ["delivered  a  direct  n-1  1.2 ms  id p-1"]


def test_reply_is_shown(shown):
    (line,) = shown(outcome="acked", counts={"acked": 1}, deliveries=[delivery(reply={"a": 1})])
    assert '{"a":1}' in line


def test_several_deliveries_are_counted_and_listed(shown):
    offline = {"conn": "b", "node": None, "route": None, "outcome": "offline", "latency_ms": None}
    lines = shown(outcome="partial", counts={"delivered": 1, "offline": 1}, deliveries=[delivery(), offline])
    assert lines == [
        "partial  1 delivered, 1 offline  id p-1",
        "  delivered  a  direct  n-1  1.2 ms",
        "  offline  b",
    ]


def test_push_to_many_is_counted(shown):
    assert shown(outcome="delivered", counts={"delivered": 1200}) == ["delivered  1,200 delivered  id p-1"]


def test_nobody_is_shown(shown):
    assert shown(outcome="offline", counts={}, deliveries=[]) == ["offline  id p-1"]


def test_what_others_have_sent_moves_no_cursor(shown):
    (line,) = shown(outcome="acked", counts={}, deliveries=[delivery(reply="\x1b[2J\x9b2J")])
    assert line.isprintable()
    assert "\\x9b" in line
