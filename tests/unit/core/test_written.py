"""What a node remembers of a push."""

from sanic_ws.core.reports import Said
from sanic_ws.core.written import Ask, Written


def test_nobody_waits_for_a_push_that_was_just_written():
    written = Written("7")
    assert (written.session, written.said, written.reply) == ("7", Said.NOTHING, "")
    assert (written.forgotten_at, written.over_at, written.first) == (0.0, 0.0, False)
    assert (written.asks, written.counts, written.followers) == ([], None, None)


def test_pushes_do_not_share_who_asks():
    one, other = Written("1"), Written("1")
    one.asks.append(Ask(None, 1, reply=True))
    assert other.asks == []
