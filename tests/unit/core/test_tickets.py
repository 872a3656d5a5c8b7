from __future__ import annotations

import base64

import pytest

from sanic_ws.core.api_keys import parse_api_keys
from sanic_ws.core.tickets import TICKET_S, is_ticket, make_ticket

NOW = 1_800_000_000.5
KEYS = parse_api_keys("ops:the-first-key,ops:the-second-key:admin,reader:the-third-key:read+push")
FIRST, SECOND, READER = KEYS


@pytest.mark.parametrize("key", [FIRST, SECOND])
def test_ticket_of_any_admin_is_good_for_a_minute(key):
    ticket = make_ticket(key, NOW)
    assert is_ticket(ticket, KEYS, NOW)
    assert is_ticket(ticket, KEYS[::-1], NOW + TICKET_S - 1)
    assert not is_ticket(ticket, KEYS, NOW + TICKET_S)


def test_two_tickets_of_one_moment_are_not_the_same():
    assert make_ticket(FIRST, NOW) != make_ticket(FIRST, NOW)


def test_key_that_is_not_known_or_may_not_everything_makes_none():
    (stranger,) = parse_api_keys("ops:a-key-of-elsewhere")
    assert not is_ticket(make_ticket(stranger, NOW), KEYS, NOW)
    assert not is_ticket(make_ticket(READER, NOW), KEYS, NOW)
    assert not is_ticket(make_ticket(FIRST, NOW), (), NOW)


def test_ticket_says_neither_the_key_nor_its_digest():
    text, _, _ = make_ticket(FIRST, NOW).partition(".")
    content = base64.urlsafe_b64decode(text + "==")
    assert b"the-first-key" not in content
    assert FIRST.digest not in content


@pytest.mark.parametrize("change", [-1, 0, 3, 30])
def test_ticket_that_was_changed_is_none(change):
    ticket = make_ticket(FIRST, NOW)
    changed = bytearray(ticket.encode())
    changed[change] ^= 4
    assert not is_ticket(changed.decode(), KEYS, NOW)


@pytest.mark.parametrize("text", ["", ".", "..", "x", "x.", ".x", "\ud800.\ud800", "Ä.Ä", "a" * 10_000])
def test_what_is_no_ticket_is_none(text):
    assert not is_ticket(text, KEYS, NOW)


@pytest.mark.parametrize("name", ["a.b", "Ä\udcff", "a\x1fb", "a\nb"])
def test_name_may_be_anything(name):
    (key,) = parse_api_keys(f"{name}:some-key-of-theirs")
    ticket = make_ticket(key, NOW)
    assert is_ticket(ticket, [key], NOW)
    assert not is_ticket(ticket, [key], NOW + TICKET_S)
