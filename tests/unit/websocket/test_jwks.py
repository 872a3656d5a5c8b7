"""The keys of clients' tokens: when they are fetched, and what is done where they cannot be."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from urllib.request import ProxyHandler, build_opener

import pytest

from sanic_ws.errors import InvalidToken, KeysUnavailable
from sanic_ws.websocket import jwks
from sanic_ws.websocket.jwks import KeySet, fetch_keys
from tests.integration.peers import eventually
from tests.tokens import KeyServer, ec_key

signer = ec_key()


class Address:
    """What is at an address: `answer` is given or raised; `gate` keeps whoever asks waiting."""

    def __init__(self, *kids):
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        self.answer: bytes | Exception = b""
        self.hold(*kids)

    def hold(self, *kids):
        self.answer = json.dumps({"keys": [signer.jwk(kid) for kid in kids]}).encode()

    def fetch(self, url):
        self.asked += 1
        assert self.gate.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(jwks, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def address():
    return Address("k1")


@pytest.fixture
def keys(address):
    return KeySet("https://keys.example", address.fetch)


async def test_key_is_fetched_when_it_is_first_asked_for_and_kept(keys, address):
    for _ in range(3):
        assert (await keys.find("k1")).algorithm == "ES256"
    assert (address.asked, len(keys)) == (1, 1)


async def test_unknown_key_is_asked_for_once_in_30_s(keys, address, clock):
    await keys.refresh()
    for _ in range(3):
        with pytest.raises(InvalidToken):
            await keys.find("k2")
    assert address.asked == 2
    address.hold("k1", "k2")
    clock[0] += 29.9
    with pytest.raises(InvalidToken):
        await keys.find("k2")
    clock[0] += 0.2
    assert await keys.find("k2")
    assert address.asked == 3


async def test_those_who_ask_at_once_share_one_fetch(keys, address):
    address.gate.clear()
    asking = [asyncio.create_task(keys.find("k1")) for _ in range(10)]
    await eventually(lambda: address.asked, "one to ask")
    asking.append(asyncio.create_task(keys.find("k1")))
    await asyncio.sleep(0)
    address.gate.set()
    assert all(await asyncio.gather(*asking))
    assert address.asked == 1


async def test_client_that_goes_away_does_not_end_the_fetch_for_others(keys, address):
    address.gate.clear()
    first, second = (asyncio.create_task(keys.find("k1")) for _ in range(2))
    await eventually(lambda: address.asked, "one to ask")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    address.gate.set()
    assert await second


@pytest.mark.parametrize(
    "answer", [OSError("refused"), TimeoutError(), ValueError("too large"), b"", b"{", b"[]", b'{"keys":[]}']
)
async def test_failed_fetch_keeps_the_old_keys(keys, address, answer, caplog):
    await keys.refresh()
    address.answer = answer
    assert not await keys.refresh()
    assert await keys.find("k1")
    assert "SANIC_WS_JWT_JWKS_URL" in caplog.text
    assert "keys.example" not in caplog.text


async def test_withdrawn_key_is_not_kept(keys, address):
    await keys.refresh()
    address.hold("k2")
    assert await keys.refresh()
    with pytest.raises(InvalidToken):
        await keys.find("k1")


async def test_without_any_keys_nothing_can_be_said(keys, address, clock):
    address.answer = OSError()
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            await keys.find("k1")
    assert address.asked == 1


async def test_token_without_an_id_is_for_the_only_key(keys, address):
    assert await keys.find(None)
    address.hold("k1", "k2")
    await keys.refresh()
    with pytest.raises(InvalidToken):
        await keys.find(None)
    assert address.asked == 2


async def test_keys_are_fetched_again_in_the_background(keys, address, monkeypatch):
    monkeypatch.setattr(jwks, "REFRESH_S", 0.001)
    monkeypatch.setattr(jwks, "RETRY_S", 0.001)
    task = asyncio.create_task(keys.run())
    await eventually(lambda: address.asked > 2, "them to be fetched again")
    address.answer = OSError()
    asked = address.asked
    await eventually(lambda: address.asked > asked + 2, "it to be tried again")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await eventually(lambda: keys._refreshing is None, "the last one to end")


async def test_they_are_fetched_over_http():
    with KeyServer(signer.jwk("k1")) as server:
        keys = KeySet(server.url)
        assert await keys.find("k1")
        assert server.asked == ["/keys"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(status):
    with KeyServer() as elsewhere, KeyServer() as server:
        server.status, server.headers = status, {"Location": elsewhere.url}
        with pytest.raises(OSError) as caught:
            fetch_keys(server.url)
        caught.value.close()
        assert elsewhere.asked == []


@pytest.mark.parametrize("status", [404, 500])
def test_error_is_no_key_set(status):
    with KeyServer(signer.jwk("k1")) as server:
        server.status = status
        with pytest.raises(OSError) as caught:
            fetch_keys(server.url)
        caught.value.close()


def test_answer_that_is_too_large_is_not_read_to_its_end():
    with KeyServer() as server:
        server.body = b" " * (jwks.MAX_BYTES + 1)
        with pytest.raises(ValueError, match="too large"):
            fetch_keys(server.url)


def test_answer_that_takes_too_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.05)
    with KeyServer(signer.jwk("k1")) as server:
        server.gate.clear()
        with pytest.raises(TimeoutError):
            fetch_keys(server.url)
        server.gate.set()
        monkeypatch.setattr(jwks, "TIMEOUT_S", -1.0)
        monkeypatch.setattr(jwks, "build_opener", lambda *_: SimpleNamespace(open=urlopen))
        with pytest.raises(TimeoutError):
            fetch_keys(server.url)


def urlopen(request, timeout):
    """Give a little at a time, always in time."""
    return build_opener(ProxyHandler({})).open(request, timeout=10)
