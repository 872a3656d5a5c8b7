from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanic_ws.core.identity import Conn, User, check_conn, check_id, user_from_json
from sanic_ws.errors import InvalidField

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
maybe = st.none() | texts | st.integers(-(10**30), 10**30)
quick = settings(max_examples=200, derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize("conn", ["a", "A0._~:-", "x" * 128])
def test_connection_id_is_accepted(conn):
    assert check_conn(conn) == conn
    assert Conn(conn).id == conn


@pytest.mark.parametrize(
    "conn", ["", "x" * 129, "a b", "a/b", "ä", "a\n", "a\0", "@a", "*", "!a", 1, None, b"a"]
)
def test_connection_id_is_refused(conn):
    with pytest.raises(InvalidField) as caught:
        Conn(conn)
    assert caught.value.field == "conn"


@pytest.mark.parametrize("value", [None, 0, "0", ""])
def test_nothing_zero_and_empty_are_no_id(value):
    assert check_id(value, "x") is None


@pytest.mark.parametrize(
    ("value", "text"), [(1001, "1001"), ("1001", "1001"), (-5, "-5"), ("00", "00"), ("a" * 128, "a" * 128)]
)
def test_ids_are_compared_as_text(value, text):
    assert check_id(value, "x") == text


@pytest.mark.parametrize("value", [True, False, 1.5, [], {}, b"a", "a" * 129, 10**128, -(10**128), "\ud800"])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(InvalidField) as caught:
        check_id(value, "tenantId")
    assert caught.value.field == "tenantId"


def test_id_of_128_digits_is_accepted_and_of_129_refused():
    assert check_id(10**127, "x") == "1" + "0" * 127
    with pytest.raises(InvalidField):
        check_id(-(10**127) * 10, "x")


def test_negative_integer_longer_than_128_characters_is_refused():
    with pytest.raises(InvalidField):
        check_id(-(10**127), "x")


@pytest.mark.parametrize("value", [0, "", "0", None])
def test_user_must_be_somebody(value):
    with pytest.raises(InvalidField) as caught:
        User(value)
    assert caught.value.field == "userId"


def test_integer_and_text_name_the_same_user():
    assert User(1001, 7) == User("1001", "7")
    assert len({User(1001), User("1001")}) == 1


def test_users_of_different_tenant_bank_or_device_differ():
    users = [User(1), User(1, 1), User(1, None, 1), User(1, None, None, 1)]
    assert len(set(users)) == 4
    assert len({user.key for user in users}) == 3
    assert User(1) != "1"


def test_device_is_no_part_of_the_key():
    assert User(1, 2, 3, "web").key == User(1, 2, 3, "app").key


@quick
@given(st.tuples(texts, maybe, maybe), st.tuples(texts, maybe, maybe))
def test_key_is_injective(one, other):
    if "0" in (one[0], other[0]):
        return
    first, second = User(*one), User(*other)
    same = [getattr(first, name) == getattr(second, name) for name in ("user_id", "tenant_id", "bank_id")]
    assert (first.key == second.key) is all(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (User("a:b"), User("a", "b")),
        (User("a", "b:c"), User("a", "b", "c")),
        (User("a%3Ab"), User("a:b")),
        (User("a", None, "b"), User("a", "b")),
        (User("_tenant_"), User(1, "tenant_")),
    ],
)
def test_ids_with_separators_make_no_two_users_one(one, other):
    assert one.key != other.key


@quick
@given(texts, maybe, maybe, maybe)
def test_token_comes_out_as_it_went_in(user, tenant, bank, kind):
    if user == "0":
        return
    given_user = User(user, tenant, bank, kind)
    assert User.from_token(given_user.token) == given_user
    assert given_user.token.isascii()
    assert not set(given_user.token) & set(" \n\t,")


def test_json_leaves_out_what_is_absent():
    assert User(1, bank_id=3, from_type="web").to_json() == {"userId": "1", "bankId": "3", "fromType": "web"}
    assert repr(User(1, 2)) == "User(userId='1', tenantId='2')"


def test_user_is_read_from_json():
    value = {"userId": 1, "tenantId": "2", "bankId": 3, "fromType": "web", "more": True}
    assert user_from_json(value) == User(1, 2, 3, "web")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "to.user"),
        ([1], "to.user"),
        ({}, "to.user.userId"),
        ({"userId": 0}, "to.user.userId"),
        ({"userId": True}, "to.user.userId"),
        ({"userId": 1, "tenantId": []}, "to.user.tenantId"),
        ({"userId": 1, "bankId": 1.5}, "to.user.bankId"),
        ({"userId": 1, "fromType": {}}, "to.user.fromType"),
    ],
)
def test_bad_user_names_the_field(value, field):
    with pytest.raises(InvalidField) as caught:
        user_from_json(value, "to.user")
    assert caught.value.field == field


def test_field_has_no_prefix_where_there_is_none():
    with pytest.raises(InvalidField) as caught:
        user_from_json({"userId": 0}, "")
    assert caught.value.field == "userId"
