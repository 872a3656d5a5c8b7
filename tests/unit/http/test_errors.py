from __future__ import annotations

import json
from types import SimpleNamespace

from sanic_ws.http.errors import Errors


def test_fault_of_ours_is_logged_without_the_address_and_told_without_the_trace(caplog):
    template = "/api/v1/connections/<conn:str>"
    request = SimpleNamespace(method="GET", path="/api/v1/connections/some-sign", uri_template=template)
    answer = Errors().default(request, RuntimeError("a fault"))
    assert answer.status == 500
    assert json.loads(answer.body)["error"]["code"] == "internal_error"
    assert b"a fault" not in answer.body
    assert "RuntimeError" in caplog.text
    assert "a fault" not in caplog.text
    assert template in caplog.text
    assert "some-sign" not in caplog.text
