from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.requests import PushRequest, new_push_id, read_push_request
from sanic_ws.errors import InvalidField

PUSH = {"to": {"conn": "a"}, "type": "t"}


def field_of(call, *args, **kwargs) -> str:
    with pytest.raises(InvalidField) as caught:
        call(*args, **kwargs)
    return caught.value.field


def message(frame: bytes) -> dict:
    return json.loads(frame[2:])


def test_ids_that_are_made_differ_and_fit():
    ids = {new_push_id() for _ in range(100)}
    assert len(ids) == 100
    assert max(map(len, ids)) <= 64


def test_ids_of_a_process_that_was_forked_are_others():
    with ProcessPoolExecutor(1, get_context("fork")) as forked:
        there = {forked.submit(new_push_id).result() for _ in range(100)}
    assert len(there) == 100
    assert there.isdisjoint({new_push_id() for _ in range(100)})


def test_request_gets_an_id_where_it_has_none():
    assert PushRequest(Conn("a"), "t").id
    assert PushRequest(Conn("a"), "t", id="mine").id == "mine"


def test_frame_holds_type_data_id_and_time():
    frame = PushRequest(Conn("a"), "t", {"n": 1}, id="7").frame()
    sent = message(frame)
    assert frame[0] == 0x81
    assert (sent["type"], sent["data"], sent["id"]) == ("t", {"n": 1}, "7")
    assert set(sent) == {"type", "data", "id", "time"}


def test_raw_text_is_sent_as_it_is():
    assert PushRequest(Conn("a"), raw="ä").frame() == b"\x81\x02\xc3\xa4"


def test_raw_bytes_are_a_binary_frame():
    assert PushRequest(Conn("a"), raw=b"\xff").frame() == b"\x82\x01\xff"


@pytest.mark.parametrize("data", [float("nan"), object(), "\ud800"])
def test_data_without_a_json_form_are_refused(data):
    assert field_of(PushRequest(Conn("a"), "t", data).frame) == "data"


def test_raw_text_that_is_no_unicode_is_refused():
    assert field_of(PushRequest(Conn("a"), raw="\ud800").frame) == "raw"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"type": "t", "id": ""}, "id"),
        ({"type": "t", "id": "i" * 65}, "id"),
        ({"type": "t", "id": 5}, "id"),
        ({"type": "t", "id": "\ud800"}, "id"),
        ({"type": "t", "wait": "later"}, "wait"),
        ({"type": "t", "wait": None}, "wait"),
        ({"type": "t", "wait_for": "first"}, "wait_for"),
        ({"type": "t", "wait": "none", "wait_for": "first"}, "wait_for"),
        ({"type": "t", "wait": "ack", "wait_for": "some"}, "wait_for"),
        ({"raw": "x", "wait": "ack"}, "wait"),
        ({"raw": b"x", "wait": "reply"}, "wait"),
        ({"type": "t", "timeout_s": 0}, "timeout_s"),
        ({"type": "t", "timeout_s": -1}, "timeout_s"),
        ({"type": "t", "timeout_s": 61}, "timeout_s"),
        ({"type": "t", "timeout_s": float("nan")}, "timeout_s"),
        ({"type": "t", "exclude": "abc"}, "except"),
        ({"type": "t", "ttl_s": 0}, "ttl_s"),
        ({"type": "t", "ttl_s": float("nan")}, "ttl_s"),
        ({"type": "t", "ttl_s": float("inf")}, "ttl_s"),
        ({"type": "t", "overflow": "newest"}, "overflow"),
        ({"type": "t", "overflow": "coalesce"}, "coalesce_key"),
        ({"type": "t", "overflow": "coalesce", "coalesce_key": ""}, "coalesce_key"),
        ({"type": "t", "overflow": "coalesce", "coalesce_key": "k" * 129}, "coalesce_key"),
        ({"type": "t", "overflow": "coalesce", "coalesce_key": "\ud800"}, "coalesce_key"),
        ({"type": "t", "overflow": "drop_oldest", "coalesce_key": "k"}, "coalesce_key"),
        ({"type": "t", "coalesce_key": "k"}, "coalesce_key"),
        ({}, "type"),
        ({"type": "t", "raw": "x"}, "type"),
        ({"type": "connected"}, "type"),
    ],
)
def test_argument_that_breaks_the_contract_is_named(arguments, field):
    assert field_of(PushRequest, Conn("a"), **arguments) == field


@pytest.mark.parametrize("to", [Everyone(), Group("g")])
@pytest.mark.parametrize("wait", ["ack", "reply"])
def test_many_cannot_be_asked(to, wait):
    assert field_of(PushRequest, to, "t", wait=wait) == "wait"


@pytest.mark.parametrize("to", [Conn("a"), [Conn("a"), Conn("b")], User(1), [User(1), User(2)]])
def test_connections_and_users_can_be_asked(to):
    request = PushRequest(to, "t", wait="reply", wait_for="first")
    assert request.asks


def test_request_knows_whether_its_id_was_given():
    assert not PushRequest(Conn("a"), "t").has_own_id
    assert PushRequest(Conn("a"), "t", id="mine").has_own_id
    assert not read_push_request({**PUSH, "id": None}).has_own_id


@pytest.mark.parametrize("to", [Conn("a"), User(1), Group("g"), Everyone()])
def test_one_target_is_a_list_of_one(to):
    assert list(PushRequest(to, "t").targets) == [to]


def test_several_targets_stay_in_order():
    to = [Conn("b"), User(1), Conn("a")]
    assert list(PushRequest(to, "t").targets) == to


@pytest.mark.parametrize("to", [[], [Everyone()], ["a"], [Conn("a"), Group("g")], [Conn("a")] * 1001])
def test_what_is_no_target_is_refused(to):
    assert field_of(lambda: PushRequest(to, "t").targets) == "to"


@pytest.mark.parametrize("to", [None, 5, "abc"])
def test_what_is_nothing_like_a_target_is_refused(to):
    assert field_of(lambda: PushRequest(to, "t").targets) == "to"


@pytest.mark.parametrize("name", ["", "g" * 129, 5, None, "\ud800"])
def test_what_no_group_is_called_is_refused(name):
    assert field_of(Group, name) == "group"


def test_connections_and_users_are_left_out():
    exclude = ["a", Conn("b"), User(1, 7), User("x y", from_type="web")]
    assert PushRequest(Group("g"), "t", exclude=exclude).left_out == {"a", "b", "@1:7", "@x%20y;web"}


@pytest.mark.parametrize(
    ("to", "exclude", "field"),
    [
        (Everyone(), ["a b"], "except[0]"),
        (Everyone(), ["a", "@1"], "except[1]"),
        (Everyone(), ["a"] * 1001, "except"),
    ],
)
def test_what_cannot_be_left_out_is_refused(to, exclude, field):
    assert field_of(lambda: PushRequest(to, "t", exclude=exclude).left_out) == field


@pytest.mark.parametrize(
    ("to", "targets"),
    [
        ({"conn": "a"}, [Conn("a")]),
        ({"conns": ["a", "b"]}, [Conn("a"), Conn("b")]),
        ({"user": {"userId": 1, "tenantId": 7, "fromType": "web"}}, [User(1, 7, None, "web")]),
        ({"users": [{"userId": 1}, {"userId": 2}]}, [User(1), User(2)]),
        ({"group": "news/ä"}, [Group("news/ä")]),
        ({"all": True}, [Everyone()]),
    ],
)
def test_every_target_of_the_contract_is_read(to, targets):
    assert list(read_push_request({"to": to, "type": "t"}).targets) == targets


def test_whole_request_is_read():
    value = {
        "to": {"conn": "a"},
        "type": "t",
        "data": [1],
        "id": "7",
        "wait": "ack",
        "wait_for": "first",
        "timeout_ms": 1500,
        "except": ["b", {"user": {"userId": 1}}],
        "offline": "fail",
        "ttl_s": 0.5,
        "overflow": "coalesce",
        "coalesce_key": "k",
    }
    request = read_push_request(value)
    assert (request.type, request.data, request.id, request.wait) == ("t", [1], "7", "ack")
    assert (request.timeout_s, list(request.exclude), request.wait_for) == (1.5, ["b", User(1)], "first")
    assert (request.ttl_s, request.overflow, request.coalesce_key) == (0.5, "coalesce", "k")


def test_contracts_own_example_is_read_but_for_what_comes_later():
    value = {
        "to": {"conn": "abc"},
        "type": "task_count",
        "data": {"count": 3},
        "wait": "written",
        "timeout_ms": 2000,
        "except": ["conn-9"],
        "offline": "fail",
        "ttl_s": 86400,
    }
    assert read_push_request(value).type == "task_count"


def test_raw_and_base64_are_read():
    assert read_push_request({"to": {"conn": "a"}, "raw": "x"}).raw == "x"
    assert read_push_request({"to": {"conn": "a"}, "raw_base64": "/w=="}).raw == b"\xff"
    assert read_push_request({"to": {"conn": "a"}, "raw_base64": ""}).raw == b""


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, ""),
        ([], ""),
        ({"type": "t"}, "to"),
        ({**PUSH, "too": 1}, "too"),
        ({**PUSH, "type": None}, "type"),
        ({**PUSH, "type": "error"}, "type"),
        ({"to": {"conn": "a"}}, "type"),
        ({**PUSH, "to": "a"}, "to"),
        ({**PUSH, "to": {}}, "to"),
        ({**PUSH, "to": {"conn": "a", "all": True}}, "to"),
        ({**PUSH, "to": {"planet": 1}}, "to.planet"),
        ({**PUSH, "to": {"group": ""}}, "to.group"),
        ({**PUSH, "to": {"group": 5}}, "to.group"),
        ({**PUSH, "to": {"conn": "a b"}}, "to.conn"),
        ({**PUSH, "to": {"conns": []}}, "to.conns"),
        ({**PUSH, "to": {"conns": "abc"}}, "to.conns"),
        ({**PUSH, "to": {"conns": ["a"] * 1001}}, "to.conns"),
        ({**PUSH, "to": {"conns": ["a", 5]}}, "to.conns[1]"),
        ({**PUSH, "to": {"user": 5}}, "to.user"),
        ({**PUSH, "to": {"user": {"userId": 0}}}, "to.user.userId"),
        ({**PUSH, "to": {"users": [{"userId": 1}, {}]}}, "to.users[1].userId"),
        ({**PUSH, "to": {"all": False}}, "to.all"),
        ({**PUSH, "to": {"all": 1}}, "to.all"),
        ({**PUSH, "raw": "x"}, "raw"),
        ({**PUSH, "raw_base64": "eA=="}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw": 5}, "raw"),
        ({"to": {"conn": "a"}, "raw": "x", "raw_base64": "eA=="}, "raw"),
        ({"to": {"conn": "a"}, "raw_base64": "?"}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": 5}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": "ä"}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": "/x=="}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": "eA"}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": "eA==\n"}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": "_-=="}, "raw_base64"),
        ({"to": {"conn": "a"}, "raw_base64": None}, "raw_base64"),
        ({**PUSH, "id": ""}, "id"),
        ({**PUSH, "wait": "later"}, "wait"),
        ({**PUSH, "wait_for": "first"}, "wait_for"),
        ({**PUSH, "wait": "ack", "wait_for": []}, "wait_for"),
        ({**PUSH, "wait": "ack", "wait_for": None}, "wait_for"),
        ({"to": {"all": True}, "type": "t", "wait": "ack"}, "wait"),
        ({"to": {"conn": "a"}, "raw": "x", "wait": "ack"}, "wait"),
        ({"to": {"conn": "a"}, "raw_base64": "eA==", "wait": "reply"}, "wait"),
        ({**PUSH, "wait": []}, "wait"),
        ({**PUSH, "timeout_ms": "5"}, "timeout_ms"),
        ({**PUSH, "timeout_ms": True}, "timeout_ms"),
        ({**PUSH, "timeout_ms": 0}, "timeout_ms"),
        ({**PUSH, "timeout_ms": 60_001}, "timeout_ms"),
        ({**PUSH, "timeout_ms": 10**400}, "timeout_ms"),
        ({**PUSH, "ttl_s": "5"}, "ttl_s"),
        ({**PUSH, "ttl_s": True}, "ttl_s"),
        ({**PUSH, "ttl_s": 10**400}, "ttl_s"),
        ({**PUSH, "overflow": None}, "overflow"),
        ({**PUSH, "overflow": []}, "overflow"),
        ({**PUSH, "overflow": "coalesce", "coalesce_key": 5}, "coalesce_key"),
        ({**PUSH, "except": "a"}, "except"),
        ({**PUSH, "except": ["a", ""]}, "except[1]"),
        ({**PUSH, "except": [{"conn": "a"}]}, "except[0]"),
        ({**PUSH, "except": [{"user": {"userId": 0}}]}, "except[0].user.userId"),
        ({**PUSH, "except": [{"user": {"userId": 1, "x": 2}}]}, "except[0].user.x"),
        ({**PUSH, "offline": "keep"}, "offline"),
        ({**PUSH, "offline": None}, "offline"),
        ({**PUSH, "offline": []}, "offline"),
        ({"to": {"all": True}, "type": "t", "offline": "store"}, "offline"),
        ({"to": {"group": "g"}, "type": "t", "offline": "store"}, "offline"),
        ({"to": {"conn": "a"}, "raw": "x", "offline": "store"}, "offline"),
        ({"to": {"conn": "a"}, "raw_base64": "eA==", "offline": "store"}, "offline"),
        ({**PUSH, "offline": "store", "except": ["b"]}, "except"),
        ({**PUSH, "offline": "store", "overflow": "drop_oldest"}, "overflow"),
        ({**PUSH, "offline": "store", "overflow": "coalesce", "coalesce_key": "k"}, "overflow"),
        ({**PUSH, "offline": "store", "ttl_s": 30 * 24 * 3600 + 1}, "ttl_s"),
        (
            {**PUSH, "to": {"conns": ["a", "b"]}, "offline": "store", "wait": "ack", "wait_for": "first"},
            "wait_for",
        ),
    ],
)
def test_field_that_breaks_the_contract_is_named(value, field):
    assert field_of(read_push_request, value) == field
