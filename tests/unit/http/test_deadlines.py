from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from sanic.http import Stage

from sanic_ws.http.deadlines import Deadlines

CONFIG = SimpleNamespace(
    ACCESS_LOG=False,
    REQUEST_TIMEOUT=10,
    RESPONSE_TIMEOUT=90,
    KEEP_ALIVE_TIMEOUT=75,
    REQUEST_MAX_SIZE=1000,
    REQUEST_BUFFER_SIZE=1000,
)
APP = SimpleNamespace(config=CONFIG, handle_request=None, error_handler=None, request_class=None)


@pytest.fixture
async def protocol():
    made = Deadlines(loop=asyncio.get_running_loop(), app=APP)
    made.recv_buffer = bytearray()
    return made


def at(protocol, stage):
    protocol._http = SimpleNamespace(stage=stage)
    protocol._time = 1.0


async def test_first_byte_of_a_request_starts_its_time(protocol):
    at(protocol, Stage.IDLE)
    protocol.data_received(b"G")
    assert protocol._time > 1.0
    assert bytes(protocol.recv_buffer) == b"G"


async def test_byte_that_comes_before_there_is_a_request_at_all_starts_its_time(protocol):
    protocol.data_received(b"G")
    assert protocol._time > 0


@pytest.mark.parametrize("stage", [Stage.REQUEST, Stage.HANDLER, Stage.RESPONSE, Stage.FAILED])
async def test_more_bytes_of_a_request_give_it_no_more_time(protocol, stage):
    at(protocol, stage)
    protocol.data_received(b"E")
    assert protocol._time == 1.0
    assert bytes(protocol.recv_buffer) == b"E"


async def test_silence_from_the_start_is_no_keep_alive(protocol):
    assert protocol.keep_alive_timeout == CONFIG.REQUEST_TIMEOUT
    at(protocol, Stage.IDLE)
    protocol.data_received(b"G")
    assert protocol.keep_alive_timeout == CONFIG.KEEP_ALIVE_TIMEOUT
