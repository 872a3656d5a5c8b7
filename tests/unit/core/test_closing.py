from __future__ import annotations

import pytest

from sanic_ws.core.closing import CloseCode


@pytest.mark.parametrize("code", [1012, 4401, 4408, 4429])
def test_client_comes_back_by_itself(code):
    assert CloseCode(code).reconnect


@pytest.mark.parametrize("code", [1002, 1007, 1008, 1009, 4403, 4409])
def test_client_stays_away(code):
    assert not CloseCode(code).reconnect


def test_1001_is_never_used_on_purpose():
    assert 1001 not in set(CloseCode)
