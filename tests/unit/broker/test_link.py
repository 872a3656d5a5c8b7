"""What the broker's library may log."""

import logging

import pytest
from aiormq.channel import log

import sanic_ws.broker.link  # noqa: F401 - it is what is tested


@pytest.mark.parametrize(
    "text", ["Unhandled message %r returning", "message_id if None on returned message %r"]
)
def test_no_payload_is_logged(text, caplog):
    with caplog.at_level(logging.DEBUG):
        log.error(text, b"a secret")
        log.error("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
