"""Who asks for a connection: tokens in a request, and the application's own word."""

from __future__ import annotations

import time

import pytest
from multidict import CIMultiDict
from sanic.request import RequestParameters

from sanic_ws.core.identity import User
from sanic_ws.errors import InvalidToken
from sanic_ws.settings import read_settings
from sanic_ws.websocket.authentication import Authentication, Identity
from sanic_ws.websocket.handshake import Refused
from tests.tokens import SECRET, ec_key, shared_secret

signer = shared_secret()


class Request:
    """A request with these `Authorization` headers and tokens in its query."""

    def __init__(self, *headers, tokens=()):
        self.headers = CIMultiDict([("authorization", header) for header in headers])
        self._query = RequestParameters({"token": list(tokens)} if tokens else {})

    def get_args(self, *, keep_blank_values):
        assert keep_blank_values
        return self._query


def made(hook=None, **settings) -> Authentication:
    return Authentication(read_settings("serve", **BASE, **settings), hook)


BASE = {"redis_url": "memory://", "amqp_url": "memory://", "api_keys": "a:k"}


@pytest.fixture
def authentication():
    return made(jwt_secret=SECRET)


async def refused(authentication, request) -> Refused:
    with pytest.raises(Refused) as caught:
        await authentication.of_request(request)
    return caught.value


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_token_comes_in_the_header(authentication, scheme):
    identity = await authentication.of_request(Request(f"{scheme} {signer.token()}"))
    assert identity.user == User(1001)


async def test_token_comes_in_the_query(authentication):
    assert (await authentication.of_request(Request(tokens=[signer.token()]))).user == User(1001)


async def test_token_may_come_both_ways_if_it_is_one(authentication):
    token = signer.token()
    assert await authentication.of_request(Request(f"Bearer {token}", tokens=[token]))
    error = await refused(authentication, Request(f"Bearer {token}", tokens=[signer.token(7)]))
    assert (error.status, error.field) == (400, "token")
    assert (await refused(authentication, Request(tokens=[token, "x"]))).status == 400


@pytest.mark.parametrize("header", ["Basic dTpw", "", "Digest x"])
async def test_another_scheme_is_no_token(authentication, header):
    assert await authentication.of_request(Request(header)) is None


@pytest.mark.parametrize(
    "request_", [Request("Bearer"), Request("Bearer "), Request("Bearer x y"), Request(tokens=[""])]
)
async def test_bad_token_is_401(authentication, request_):
    error = await refused(authentication, request_)
    assert (error.status, error.code) == (401, "unauthorized")
    assert error.headers["WWW-Authenticate"].startswith("Bearer")


async def test_issuer_and_audience_are_the_operators():
    authentication = made(jwt_secret=SECRET, jwt_issuer="me", jwt_audience="you")
    assert await authentication.of_token(signer.token(iss="me", aud="you"))
    for claims in ({"iss": "me"}, {"aud": "you"}, {"iss": "x", "aud": "you"}, {"iss": "me", "aud": "x"}):
        with pytest.raises(InvalidToken):
            await authentication.of_token(signer.token(**claims))


async def test_public_key_is_used():
    ec_signer = ec_key()
    authentication = made(jwt_public_key=ec_signer.pem)
    assert (await authentication.of_token(ec_signer.token(header={"kid": "any"}))).user == User(1001)


async def test_without_keys_a_token_is_not_looked_at():
    authentication = made()
    assert await authentication.of_request(Request("Bearer nonsense", tokens=["nonsense"])) is None
    assert (authentication.takes_tokens, authentication.needed) == (False, False)


def test_keys_and_hooks_make_authentication_needed_unless_clients_are_trusted():
    for given in ({"jwt_secret": SECRET}, {"jwt_jwks_url": "https://keys.example"}, {"hook": accept}):
        assert made(**given).needed
        assert not made(**given, trust_client_identity=True).needed


async def test_keys_that_cannot_be_had_are_503():
    authentication = made(jwt_jwks_url="http://127.0.0.1:1/")
    error = await refused(authentication, Request(f"Bearer {signer.token()}"))
    assert (error.status, error.code, error.headers) == (503, "unavailable", {"Retry-After": "5"})


async def accept(request):
    return Identity(User(7), time.time() + 60)


async def test_application_says_who_it_is():
    assert (await made(accept).of_request(Request())).user == User(7)


async def test_applications_word_stands_in_place_of_a_token():
    assert (await made(accept, jwt_secret=SECRET).of_request(Request("Bearer nonsense"))).user == User(7)


async def raises(request):
    raise LookupError("no session for very-secret")


async def nobody(request):
    return None


async def something_else(request):
    return User(7)


async def somebody_of_yesterday(request):
    return Identity(User(7), time.time() - 1)


@pytest.mark.parametrize("hook", [raises, nobody, something_else, somebody_of_yesterday])
@pytest.mark.parametrize("trust", [True, False])
async def test_whom_the_application_does_not_know_is_401(hook, trust, caplog):
    error = await refused(made(hook, trust_client_identity=trust), Request())
    assert (error.status, error.code) == (401, "unauthorized")
    assert "very-secret" not in str(error)
    assert "very-secret" not in caplog.text


async def test_what_the_application_raises_is_logged_by_kind_and_place(caplog):
    await refused(made(raises), Request())
    assert "LookupError" in caplog.text
    assert "test_authentication.py" in caplog.text
    await refused(made(something_else), Request())
    assert "returned no Identity returned=User" in caplog.text
