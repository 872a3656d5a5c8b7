from __future__ import annotations

import time
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from sanic_ws.core.identity import User
from sanic_ws.core.tokens import (
    MAX_KEYS,
    MAX_TOKEN_CHARS,
    key_id,
    public_key,
    read_key_set,
    read_token,
    secret_key,
)
from sanic_ws.errors import InvalidToken
from tests.tokens import SECRET, ec_key, encode, rsa_key, shared_secret, unsigned

KEY = secret_key(SECRET)
signer = shared_secret()
rsa_signer = rsa_key()
ec_signer = ec_key()
TOO_MANY_GROUPS = "the token's claim groups: must be at most 100, of at most 4096 characters in all"
CLAIMS = ["exp", "nbf", "iat", "jti", "sub", "userId", "tenantId", "bankId", "fromType", "groups", "iss"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "kty", "crv", "x"]), inner)
    ),
    max_leaves=8,
)


def refused(token: str, key=KEY, **how) -> str:
    with pytest.raises(InvalidToken) as caught:
        read_token(token, key, **how)
    return str(caught.value)


def test_token_says_who_its_bearer_is_and_until_when():
    exp = int(time.time()) + 60
    token = signer.token(1001, tenantId=7, bankId="b", fromType="web", groups=["eu", "all"], exp=exp)
    identity = read_token(token, KEY)
    assert identity.user == User(1001, 7, "b", "web")
    assert (identity.expires_at, identity.groups) == (exp, ("eu", "all"))


@pytest.mark.parametrize(
    ("claimed", "user"),
    [
        ({"user": "eve"}, User("eve")),
        ({"user": None, "sub": "eve"}, User("eve")),
        ({"user": None, "sub": 1001}, User("1001")),
        ({"user": 0, "sub": "eve"}, User("eve")),
        ({"user": "adam", "sub": "eve"}, User("adam")),
    ],
)
def test_user_is_userid_or_else_sub(claimed, user):
    assert read_token(signer.token(**claimed), KEY).user == user


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        ({"exp": None}, "the token lacks exp"),
        ({"exp": int(time.time()) - 1}, "the token has expired"),
        ({"exp": 0}, "the token has expired"),
        ({"exp": "soon"}, "the token cannot be read"),
        ({"exp": float("inf")}, "the token cannot be read"),
        ({"exp": float("nan")}, "the token cannot be read"),
        ({"exp": [1]}, "the token cannot be read"),
        ({"exp": 10**400}, "the token cannot be read"),
        ({"nbf": int(time.time()) + 86_400}, "the token is not valid yet"),
        ({"user": None}, "the token names no user"),
        ({"user": 0}, "the token names no user"),
        ({"user": True}, "the token's claim userId: must be an integer or a string"),
        ({"tenantId": []}, "the token's claim tenantId: must be an integer or a string"),
        ({"groups": "eu"}, "the token's claim groups: must be a list of strings"),
        ({"groups": [1]}, "the token's claim groups: must be a string of 1 to 128 characters"),
        ({"groups": ["g" * 129]}, "the token's claim groups: must be a string of 1 to 128 characters"),
        ({"groups": [f"g{n}" for n in range(101)]}, TOO_MANY_GROUPS),
    ],
)
def test_token_that_proves_nothing_is_refused(claimed, reason):
    assert refused(signer.token(**claimed)) == reason


@pytest.mark.parametrize("claimed", [{"iat": int(time.time()) + 60}, {"nbf": int(time.time())}])
def test_clock_that_is_a_little_ahead_does_no_harm(claimed):
    assert read_token(signer.token(**claimed), KEY).user == User(1001)


def test_skew_does_not_prolong():
    assert refused(signer.token(exp=time.time() - 0.001)) == "the token has expired"


def test_issuer_and_audience_are_checked_where_they_are_set():
    token = signer.token(iss="me", aud=["you", "they"])
    assert read_token(token, KEY, issuer="me", audience="you")
    assert read_token(token, KEY)
    assert refused(token, issuer="m") == "the token is of another issuer"
    assert refused(token, audience="yo") == "the token is for another audience"
    assert refused(signer.token(), issuer="me") == "the token lacks iss"
    assert refused(signer.token(), audience="you") == "the token lacks aud"


@pytest.mark.parametrize(("key", "of"), [("RS256", rsa_signer), ("ES256", ec_signer)])
def test_algorithm_follows_from_the_public_key(key, of):
    checked = public_key(of.pem)
    assert checked.algorithm == key
    assert read_token(of.token(), checked).user == User(1001)


@pytest.mark.parametrize("of", [rsa_signer, ec_signer])
def test_public_key_is_no_secret(of):
    """The old trick: a token that is signed with the public key, as if that were a secret."""
    assert refused(shared_secret(of.pem).token(), public_key(of.pem)) == "the token is signed in another way"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "RS256", None, 1, ["HS256"]])
def test_unsigned_token_is_refused(algorithm):
    for key in (KEY, public_key(rsa_signer.pem)):
        assert refused(unsigned(algorithm=algorithm), key)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "RS256", "ES256", "none", "hs256"])
def test_token_does_not_choose_the_algorithm(algorithm):
    assert refused(signer.token(header={"alg": algorithm})) == "the token is signed in another way"


def test_wrong_signature_is_refused():
    token = signer.token()
    head, body, signature = token.split(".")
    assert refused(f"{head}.{body}.{signature[:-2]}AA") == "the token's signature is wrong"
    assert refused(f"{head}.{encode(b'{}')}.{signature}") == "the token's signature is wrong"
    assert refused(shared_secret(SECRET + "x").token()) == "the token's signature is wrong"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "ä.ö.ü",
        "\ud800.a.b",
        "eyJ9.e30.",
        "bnVsbA.e30.x",
        "\0.\0.\0",
    ],
)
def test_what_is_no_token_is_refused(token):
    with pytest.raises(InvalidToken, match="cannot be read"):
        key_id(token)
    assert refused(token)


@pytest.mark.parametrize("body", [[], "text", 1, None])
def test_body_that_is_no_object_is_refused(body):
    assert refused(signer.sign({"alg": "HS256"}, body)) == "the token cannot be read"


def test_header_that_the_gateway_would_have_to_understand_is_refused():
    """RFC 7515, section 4.1.11."""
    header = {"crit": ["http://example/new"], "http://example/new": True}
    assert refused(signer.token(header=header)) == "the token cannot be read"


def test_long_token_is_not_even_read():
    with pytest.raises(InvalidToken, match="too long"):
        key_id("a" * (MAX_TOKEN_CHARS + 1))


def test_key_id_is_what_the_header_says():
    assert key_id(signer.token()) is None
    assert key_id(signer.token(header={"kid": "k1", "jku": "https://elsewhere.example"})) == "k1"
    with pytest.raises(InvalidToken):
        key_id(signer.token(header={"kid": 1}))


@pytest.mark.parametrize("secret", ["s" * 31, "ä" * 15, rsa_signer.pem])
def test_weak_secret_is_refused(secret):
    with pytest.raises(ValueError) as caught:
        secret_key(secret)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("secret", ["s" * 32, "ä" * 16])
def test_secret_of_32_bytes_is_accepted(secret):
    assert secret_key(secret).algorithm == "HS256"


def test_public_key_must_be_strong_and_public():
    for pem in (rsa_key(1024).pem, ec_key(ec.SECP384R1()).pem):
        with pytest.raises(ValueError, match="2048 bits, or on the curve P-256"):
            public_key(pem)
    for pem in ("", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "ä", "\ud800"):
        with pytest.raises(ValueError, match="must be a public key in PEM"):
            public_key(pem)


def test_keys_do_not_show_what_they_hold():
    assert SECRET not in repr(KEY)


def test_key_set_is_read_by_id():
    keys = read_key_set({"keys": [rsa_signer.jwk("r", alg="RS256"), ec_signer.jwk("e")]})
    assert {kid: key.algorithm for kid, key in keys.items()} == {"r": "RS256", "e": "ES256"}
    assert read_token(ec_signer.token(), keys["e"]).user == User(1001)


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "kid": "o", "k": encode(SECRET.encode())},
        {"kty": "oct", "kid": "o", "k": encode(SECRET.encode()), "alg": "HS256"},
        rsa_signer.jwk("r", alg="PS256"),
        rsa_signer.jwk("r", alg="HS256"),
        rsa_signer.jwk("r", alg="none"),
        rsa_signer.jwk("r", use="enc"),
        rsa_key(1024).jwk("r"),
        ec_signer.jwk("e", crv="P-384"),
        ec_signer.jwk("e", x="AAAA"),
        {"kty": "RSA", "kid": "r"},
        {"kty": ["RSA"]},
        {},
        "text",
        None,
    ],
)
def test_key_of_another_kind_is_left_out(entry):
    assert read_key_set({"keys": [entry, ec_signer.jwk("good")]}).keys() == {"good"}
    with pytest.raises(ValueError, match="no key that can be used"):
        read_key_set({"keys": [entry]})


@pytest.mark.parametrize("value", [None, [], {}, {"keys": {}}, {"keys": [{}] * (MAX_KEYS + 1)}])
def test_what_is_no_key_set_is_refused(value):
    with pytest.raises(ValueError, match="list of at most"):
        read_key_set(value)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.text(max_size=60) | st.tuples(json_values, json_values).map(lambda parts: signer.sign(*parts)))
def test_whatever_comes_is_refused_in_an_orderly_way(text):
    for key in (KEY, public_key(rsa_signer.pem)):
        with pytest.raises(InvalidToken):
            read_token(text, key)
    with suppress(InvalidToken):
        key_id(text)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.dictionaries(st.sampled_from(CLAIMS), json_values))
def test_whatever_is_claimed_is_read_or_refused(claimed):
    with suppress(InvalidToken):
        assert read_token(signer.token(**{"user": 1, **claimed}), KEY).user.user_id


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(json_values)
def test_whatever_is_served_is_a_key_set_or_refused(value):
    with suppress(ValueError):
        assert read_key_set({"keys": [value, {"kty": "RSA", "n": value, "e": value}]})
