from __future__ import annotations

import pytest

from sanic_ws.core.closing import CloseCode, describe_close


@pytest.mark.parametrize("code", [1012, 4401, 4408, 4429])
def test_client_comes_back_by_itself(code):
    assert CloseCode(code).reconnect


@pytest.mark.parametrize("code", [1002, 1007, 1008, 1009, 4403, 4409])
def test_client_stays_away(code):
    assert not CloseCode(code).reconnect


def test_1001_is_never_used_on_purpose():
    assert 1001 not in set(CloseCode)


@pytest.mark.parametrize("code", CloseCode)
def test_every_code_is_described(code):
    assert describe_close(code, "") != describe_close(4999, "")


def test_reason_is_told_but_for_when_to_come_back():
    assert describe_close(4401, "the token has expired") == "the token has expired"
    assert describe_close(1012, "retry_after_ms=5") == "the node is leaving"
    assert describe_close(1006, "") == "closed by the other side"
    assert describe_close(1006, "the connection was lost") == "the connection was lost"
