"""The connection below a link: which address it takes, TLS on it, and that nothing stays of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from sanic_ws.client.link import Ended, open_link
from sanic_ws.errors import ClientAway
from tests.certificates import Certificates
from tests.servers import LOOPBACK, free_port


def ignore(content, binary):
    pass


def dial(url, tls=None):
    return open_link(url, {}, ignore, tls=tls, max_message_bytes=1000, timeout_s=10)


@asynccontextmanager
async def silent_server():
    """Take a request and never answer; yields the address, and the events of its coming and of its end."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def accept(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        writer.close()
        ended.set()

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    async with server:
        yield f"ws://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/ws", asked, ended


async def test_handshake_that_is_cancelled_leaves_no_connection():
    async with silent_server() as (url, asked, ended):
        dialling = asyncio.create_task(dial(url))
        await asyncio.wait_for(asked.wait(), 10)
        dialling.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await dialling


async def test_connecting_that_is_cancelled_leaves_no_socket(monkeypatch):
    asked = asyncio.Event()

    async def never(self, sock, address):
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", never)
    dialling = asyncio.create_task(dial(f"ws://{LOOPBACK}:1/ws"))
    await asyncio.wait_for(asked.wait(), 10)
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling


@pytest.fixture
def addresses(monkeypatch):
    """Let a name have these addresses, whatever it is."""

    def set_addresses(*given):
        async def getaddrinfo(self, host, port, **options):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in given]

        monkeypatch.setattr(asyncio.SelectorEventLoop, "getaddrinfo", getaddrinfo)

    return set_addresses


async def test_second_address_is_taken_where_the_first_does_not_answer(addresses):
    addresses("127.0.0.2", LOOPBACK)
    async with serve(lambda connection: connection.wait_closed(), LOOPBACK, free_port()) as server:
        link = await dial(f"ws://two.test:{server.sockets[0].getsockname()[1]}/ws")
        await link.close()
        assert await link.ended == Ended(1000, "")


@pytest.mark.parametrize(("given", "said"), [([], "has no address"), ([LOOPBACK], "Connect call failed")])
async def test_name_without_an_address_that_answers_is_told(addresses, given, said):
    addresses(*given)
    with pytest.raises(ClientAway, match=said):
        await dial(f"ws://none.test:{free_port()}/ws")


async def test_certificate_is_checked(tmp_path):
    files = Certificates.write(tmp_path, "localhost")
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(files.certificate, files.key)
    port = free_port()
    async with serve(lambda connection: connection.wait_closed(), LOOPBACK, port, ssl=own):
        with pytest.raises(ClientAway, match="CERTIFICATE_VERIFY_FAILED"):
            await dial(f"wss://localhost:{port}/ws")
        known = ssl.create_default_context(cafile=files.ca)
        with pytest.raises(ClientAway, match="mismatch"):
            await dial(f"wss://{LOOPBACK}:{port}/ws", known)
        link = await dial(f"wss://localhost:{port}/ws", known)
        await link.close()
        assert await link.ended == Ended(1000, "")
