"""Calling a node over HTTP, with its answers made up."""

from __future__ import annotations

import io
import json
from urllib.error import HTTPError, URLError

import pytest

from sanic_ws.cli.common import CallRefused, call, plain, print_json
from sanic_ws.errors import InvalidField, SanicWsError

RECEIPT = {"id": "p", "outcome": "unknown"}


@pytest.fixture
def http(monkeypatch):
    """Answer every request with `http.answer`, or raise it."""

    class Http:
        answer: object = b"{}"
        request = None

        def __call__(self, request, timeout):
            self.request = request
            if isinstance(self.answer, Exception):
                raise self.answer
            return io.BytesIO(self.answer)

    http = Http()
    monkeypatch.setattr("urllib.request.urlopen", http)
    return http


def http_error(status: int, body: bytes) -> HTTPError:
    return HTTPError("http://node", status, "", {}, io.BytesIO(body))


def test_answer_is_read(http):
    http.answer = b'{"a": 1}'
    assert call("http://node/", "/api/v1/nodes", None) == {"a": 1}
    assert (http.request.full_url, http.request.get_method()) == ("http://node/api/v1/nodes", "GET")


def test_body_and_key_are_sent(http):
    call("http://node", "/x", "k", {"b": 2})
    assert json.loads(http.request.data) == {"b": 2}
    assert http.request.get_header("Authorization") == "Bearer k"
    assert http.request.get_method() == "POST"


@pytest.mark.parametrize("url", ["ws://node", "ws://node/ws", "http://node/ws", "http://node"])
def test_clients_address_will_do_too(http, url):
    call(url, "/x", None)
    assert http.request.full_url == "http://node/x"


def test_secure_clients_address_stays_secure(http):
    call("wss://node/ws", "/x", None)
    assert http.request.full_url == "https://node/x"


@pytest.mark.parametrize("url", ["node:8000", "ftp://node", "file:///etc/passwd", ""])
def test_what_is_no_address_is_refused(http, url):
    with pytest.raises(InvalidField):
        call(url, "/x", None)
    assert http.request is None


@pytest.mark.parametrize("status", [503, 504])
def test_receipt_with_an_error_status_is_a_receipt(http, status):
    http.answer = http_error(status, json.dumps(RECEIPT).encode())
    assert call("http://node", "/x", None) == RECEIPT


def test_error_of_the_node_is_told(http):
    http.answer = http_error(401, b'{"error": {"code": "unauthorized", "message": "no such key"}}')
    with pytest.raises(InvalidField, match="no such key"):
        call("http://node", "/x", None)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": {}}', b'{"error": "text"}', b"{broken"])
def test_error_of_something_else_is_told_by_its_status(http, body):
    http.answer = http_error(502, body)
    with pytest.raises(SanicWsError, match="502"):
        call("http://node", "/x", None)


@pytest.mark.parametrize("status", [401, 404])
def test_refusal_has_its_status(http, status):
    http.answer = http_error(status, b"{}")
    with pytest.raises(CallRefused) as caught:
        call("http://node", "/x", None)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_node_that_cannot_do_it_now_is_no_wrong_argument(http, status):
    http.answer = http_error(status, b'{"error": {"message": "later"}}')
    with pytest.raises(SanicWsError, match="later") as caught:
        call("http://node", "/x", None)
    assert not isinstance(caught.value, InvalidField)


def test_method_may_be_given(http):
    call("http://node", "/x", None, method="DELETE")
    assert http.request.get_method() == "DELETE"


def test_json_for_programs_has_no_colours(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_json({"a": "ä\x1b"})
    assert capsys.readouterr().out == '{\n  "a": "ä\\u001b"\n}\n'


def test_plain_text_stays_and_control_characters_do_not():
    assert plain("täxt {}") == "täxt {}"
    assert plain("a\x1b[2J\x9b\r\u202e") == "a\\x1b[2J\\x9b\\r\\u202e"


@pytest.mark.parametrize("error", [URLError(ConnectionRefusedError(111, "refused")), TimeoutError("slow")])
def test_node_that_does_not_answer_is_told(http, error):
    http.answer = error
    with pytest.raises(SanicWsError, match="does not answer"):
        call("http://node", "/x", None)


def test_answer_that_is_no_json_is_told(http):
    http.answer = b"<html>"
    with pytest.raises(SanicWsError):
        call("http://node", "/x", None)
