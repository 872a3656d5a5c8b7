from __future__ import annotations

import pytest

from sanic_ws.client.address import Address
from sanic_ws.errors import InvalidField


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://node:8000/ws", "ws://node:8000/ws"),
        ("http://node:8000", "ws://node:8000/ws"),
        ("https://push.example.com/", "wss://push.example.com/ws"),
        ("wss://example.com/push/ws/", "wss://example.com/push/ws"),
        ("http://[::1]:8000", "ws://[::1]:8000/ws"),
    ],
)
def test_address_is_completed(url, address):
    assert str(Address(url)) == address


@pytest.mark.parametrize(
    "url",
    ["", "node:8000", "ftp://node", "ws://", "ws://a:b@node", "ws://node/ws?sign=a", "ws://n:x", "ws://[n"],
)
def test_what_is_none_is_refused(url):
    with pytest.raises(InvalidField, match="url"):
        Address(url)


def test_ids_are_in_the_query():
    address = Address("ws://node")
    assert address.query("a:b", None) == "ws://node/ws?sign=a%3Ab"
    assert address.query("a", "") == "ws://node/ws?sign=a&since="
    assert address.query("a", "x&y") == "ws://node/ws?sign=a&since=x%26y"
