"""The proxy does what it says: otherwise the faults that it plays prove nothing."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.faults.proxy import Proxies, Proxy
from tests.integration.peers import eventually
from tests.servers import LOOPBACK, free_port

pytestmark = pytest.mark.beside

GUARD_S = 30.0


class Echo:
    """A server that sends back what it gets, and says what became of its connections."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received = b""
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while data := await reader.read(65536):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.ends.put_nowait("end")
        except ConnectionError:
            self.ends.put_nowait("reset")
        writer.close()

    async def end(self) -> str:
        return await asyncio.wait_for(self.ends.get(), GUARD_S)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    made = Echo()
    server = await asyncio.start_server(made.serve, LOOPBACK, made.port)
    yield made
    server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    async with Proxy(echo.port) as opened:
        yield opened


class Caller:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, proxy: Proxy) -> "Caller":
        return cls(*await asyncio.open_connection(LOOPBACK, proxy.port))

    async def say(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), GUARD_S)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
async def call(proxy: Proxy) -> AsyncIterator:
    callers: list[Caller] = []

    async def open_caller() -> Caller:
        callers.append(await Caller.open(proxy))
        return callers[-1]

    yield open_caller
    await proxy.pass_on()
    await asyncio.gather(*(caller.close() for caller in callers))


async def test_passes_both_ways(call):
    caller = await call()
    assert await caller.say(b"hello") == b"hello"
    body = bytes(range(256)) * 40_000
    assert await caller.say(body) == body


async def test_passes_the_end_on_and_the_rest_of_the_answer_with_it(call, echo, proxy):
    caller = await call()
    caller.writer.write(b"last")
    caller.writer.write_eof()
    assert await asyncio.wait_for(caller.reader.read(), GUARD_S) == b"last"
    assert await echo.end() == "end"
    await caller.close()
    await eventually(lambda: proxy.connections == 0, "the proxy to forget the connection")


async def test_refuses_new_connections_and_leaves_the_open_ones(call, proxy):
    before = await call()
    await proxy.refuse()
    with pytest.raises(OSError) as refused:
        await Caller.open(proxy)
    assert refused.value.errno == errno.ECONNREFUSED
    assert await before.say(b"still") == b"still"
    await proxy.pass_on()
    after = await call()
    assert await after.say(b"again") == b"again"


async def test_black_hole_freezes_what_is_open_and_delivers_it_late(call, proxy, echo):
    caller = await call()
    await caller.say(b"before")
    proxy.black_hole()
    caller.writer.write(b"during")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.reader.read(1), 0.2)
    assert echo.received == b"before"
    await proxy.pass_on()
    assert await asyncio.wait_for(caller.reader.readexactly(6), GUARD_S) == b"during"


async def test_black_hole_swallows_what_is_new_and_resets_it_at_the_end(call, proxy, echo):
    proxy.black_hole()
    caller = await call()
    caller.writer.write(b"lost")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.reader.read(1), 0.2)
    await proxy.pass_on()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(caller.reader.read(1), GUARD_S)
    assert echo.received == b""


async def test_one_that_hangs_up_in_a_black_hole_is_noticed_only_after_it(call, proxy, echo):
    caller = await call()
    await caller.say(b"x")
    proxy.black_hole()
    caller.writer.write(b"late")
    await caller.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(echo.ends.get(), 0.2)
    await proxy.pass_on()
    await echo.end()
    assert echo.received == b"xlate"


async def test_half_open_freezes_what_is_open_for_good_and_passes_what_is_new(call, proxy):
    before = await call()
    await before.say(b"x")
    proxy.half_open()
    after = await call()
    assert await after.say(b"new") == b"new"
    before.writer.write(b"old")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(before.reader.read(1), 0.2)


async def test_delays_both_ways_in_order(call, proxy):
    loop = asyncio.get_running_loop()
    caller = await call()
    await caller.say(b"warm")
    proxy.delay(0.1)
    started = loop.time()
    for number in range(10):
        caller.writer.write(b"%d" % number)
        await asyncio.sleep(0)
    assert await asyncio.wait_for(caller.reader.readexactly(10), GUARD_S) == b"0123456789"
    assert loop.time() - started >= 0.2
    proxy.delay(0)
    assert await caller.say(b"after") == b"after"


async def test_cut_resets_both_ends_and_new_ones_pass(call, proxy, echo):
    caller = await call()
    await caller.say(b"x")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(caller.reader.read(1), GUARD_S)
    assert await echo.end() == "reset"
    assert proxy.connections == 0 or await eventually(lambda: proxy.connections == 0, "forgotten")
    after = await call()
    assert await after.say(b"new") == b"new"


async def test_cut_in_a_black_hole_works_too(call, proxy, echo):
    caller = await call()
    await caller.say(b"x")
    proxy.black_hole()
    proxy.cut()
    assert await echo.end() == "reset"
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(caller.reader.read(1), GUARD_S)


async def test_reset_of_one_end_reaches_the_other(call, proxy, echo):
    caller = await call()
    await caller.say(b"x")
    caller.writer.transport.abort()
    await echo.end()


async def test_slow_reader_holds_the_sender_back(proxy, call):
    caller = await call()
    await caller.say(b"x")
    caller.writer.transport.pause_reading()
    body = bytes(64 << 20)
    caller.writer.write(body)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.writer.drain(), 0.5)
    assert caller.writer.transport.get_write_buffer_size() > len(body) // 4
    caller.writer.transport.abort()


async def test_server_that_is_away_resets_the_caller():
    async with Proxy(free_port()) as proxy:
        caller = await Caller.open(proxy)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(caller.reader.read(1), GUARD_S)
        await caller.close()


async def test_several_do_the_same_at_once(echo):
    async with Proxy(echo.port) as one, Proxy(echo.port) as other:
        both = Proxies([one, other])
        callers = [await Caller.open(proxy) for proxy in both.all]
        both.cut()
        for caller in callers:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(caller.reader.read(1), GUARD_S)
            await caller.close()
