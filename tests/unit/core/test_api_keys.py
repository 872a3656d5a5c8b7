from __future__ import annotations

import hashlib

import pytest

from sanic_ws.core.api_keys import ApiKey, parse_api_keys
from sanic_ws.core.identity import Conn, Everyone, Group, User


def key(targets: str) -> ApiKey:
    return ApiKey.parse(f"name:key:push:{targets}")


def test_key_keeps_its_hash_only():
    parsed = ApiKey.parse("backend:a-secret-key:push")
    assert parsed.digest == hashlib.sha256(b"a-secret-key").digest()
    assert (parsed.name, parsed.scopes) == ("backend", frozenset({"push"}))
    assert "a-secret-key" not in repr(parsed)
    assert repr(parsed.digest) not in repr(parsed)


def test_key_without_scopes_has_all():
    assert ApiKey.parse("a:k").scopes == {"push", "read", "admin"}
    assert ApiKey.parse("a:k:").scopes == {"push", "read", "admin"}
    assert ApiKey.parse("a:k::conn=c").scopes == {"push", "read", "admin"}
    assert ApiKey.parse("a:k:push+read").scopes == {"push", "read"}


def test_key_without_targets_reaches_everybody():
    for target in (Conn("c"), User(1), Group("g"), Everyone()):
        assert ApiKey.parse("a:k").reaches(target)


@pytest.mark.parametrize(
    ("targets", "target"),
    [
        ("conn=web-1", Conn("web-1")),
        ("conn=web-*", Conn("web-1")),
        ("conn=web-*", Conn("web-")),
        ("conn=a:b:*", Conn("a:b:c")),
        ("conn=*", Conn("anything")),
        ("user=7", User(7)),
        ("user=7", User("7", from_type="web")),
        ("user=7:9", User(7, 9)),
        ("user=7:9:3", User(7, 9, 3)),
        ("user=7::3", User(7, bank_id=3)),
        ("user=7:*", User(7, 9)),
        ("user=eu-*", User("eu-1", 9)),
        ("user=a%3Ab", User("a:b")),
        ("user=a%2Bb", User("a+b")),
        ("user=a%2A", User("a*")),
        ("tenant=9", User(7, 9)),
        ("tenant=9", User(8, 9, 3)),
        ("tenant=eu-*", User(8, "eu-1")),
        ("group=eu-*", Group("eu-1")),
        ("conn=x+user=7+group=y", User(7)),
    ],
)
def test_allowed_target_is_reached(targets, target):
    assert key(targets).reaches(target)


@pytest.mark.parametrize(
    ("targets", "target"),
    [
        ("conn=web-1", Conn("web-10")),
        ("conn=web-*", Conn("web")),
        ("conn=web-*", Conn("WEB-1")),
        ("conn=*", User("c")),
        ("conn=*", Everyone()),
        ("user=7", User(70)),
        ("user=7", User(7, 9)),
        ("user=7:*", User(7)),
        ("user=7:9", User(7, 90)),
        ("user=*", Conn("7")),
        ("user=*", Everyone()),
        ("user=a*", User("b:a")),
        ("tenant=9", User(7)),
        ("tenant=9", User(9)),
        ("tenant=9", User(7, 90)),
        ("tenant=9", User(7, bank_id=9)),
        ("tenant=9", Conn("9")),
        ("tenant=*", User(7)),
        ("group=eu-*", Conn("eu-1")),
        ("conn=*+user=*+tenant=*+group=*", Everyone()),
    ],
)
def test_any_other_is_not(targets, target):
    assert not key(targets).reaches(target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nokey",
        ":key",
        "name:",
        "name::push",
        "name:a-secret-key:fly",
        "name:a-secret-key:push+",
        "name:a-secret-key:push:",
        "name:a-secret-key:push:conn",
        "name:a-secret-key:push:conn=",
        "name:a-secret-key:push:conn=a+",
        "name:a-secret-key:push:all",
        "name:a-secret-key:push:all=true",
        "name:a-secret-key:push:conn=a*b",
        "name:a-secret-key:push:conn=**",
        "name:a-secret-key:push:session=1",
    ],
)
def test_key_that_is_not_written_as_it_should_be_is_refused(text):
    with pytest.raises(ValueError) as caught:
        ApiKey.parse(text)
    assert "a-secret-key" not in str(caught.value)


def test_short_key_is_known_as_such():
    assert ApiKey.parse("a:" + "k" * 15).is_short
    assert not ApiKey.parse("a:" + "k" * 16).is_short


def test_several_keys_are_read():
    assert [parsed.name for parsed in parse_api_keys(" a:1 , b:2:read ,")] == ["a", "b"]


def test_two_keys_of_one_name_are_both_good():
    old, new = parse_api_keys("backend:old,backend:new:push")
    assert (old.name, new.name) == ("backend", "backend")
    assert old.digest != new.digest


def test_one_key_under_two_names_is_refused():
    with pytest.raises(ValueError, match="'a' and 'b' have the same key") as caught:
        parse_api_keys("a:a-secret-key:push,b:a-secret-key:read")
    assert "a-secret-key" not in str(caught.value)
