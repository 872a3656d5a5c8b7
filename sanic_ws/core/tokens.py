"""Tokens (JWT, RFC 7519): who a client is, by whose word, and until when.

The algorithm follows from the key, never from the token (RFC 8725, section 3.1): HS256 for a secret,
RS256 for an RSA key, ES256 for one on the curve P-256.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sanic_ws.core.groups import check_groups
from sanic_ws.core.identity import User, check_id
from sanic_ws.errors import InvalidField, InvalidToken

MAX_TOKEN_CHARS = 8192
MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2."""
MIN_RSA_BITS = 2048
MAX_KEYS = 100
SKEW_S = 2.0
"""How far the clock of whoever made a token may be ahead."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Say who a client has proven to be.

    Args:
        user: the user.
        expires_at: when the proof ends and the connection with it, in seconds since the epoch; None: never.
        groups: what the client's connection is in for as long as this proof counts.

    Raises:
        InvalidField: a group is not called as one may be, or they are too many.
    """

    user: User
    expires_at: float | None = None
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_groups(self.groups, "groups")


@dataclass(frozen=True, slots=True)
class Key:
    """Hold what tokens are checked with, and the one algorithm that they must be signed with."""

    algorithm: str
    material: Any = field(repr=False)


def secret_key(secret: str) -> Key:
    """Return the key for a shared secret.

    Raises:
        ValueError: it is shorter than 32 bytes, or no secret at all.
    """
    if "-----BEGIN" in secret:
        raise ValueError("holds a PEM key, which is no secret to share")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"must be at least {MIN_SECRET_BYTES} bytes long")
    return Key("HS256", secret.encode())


def public_key(pem: str) -> Key:
    """Return the key for a public key as PEM (RFC 7468).

    Raises:
        ValueError: it is none, or neither RSA of at least 2048 bits nor on the curve P-256.
    """
    try:
        material = load_pem_public_key(pem.encode())
    except Exception:  # noqa: BLE001 - many kinds, and none may show what was in it
        raise ValueError("must be a public key in PEM (BEGIN PUBLIC KEY)") from None
    key = _key(material)
    if key is None:
        raise ValueError(f"must be an RSA key of at least {MIN_RSA_BITS} bits, or on the curve P-256")
    return key


def _key(material: object) -> Key | None:
    if isinstance(material, RSAPublicKey) and material.key_size >= MIN_RSA_BITS:
        return Key("RS256", material)
    if isinstance(material, EllipticCurvePublicKey) and isinstance(material.curve, SECP256R1):
        return Key("ES256", material)
    return None


def read_key_set(value: Any) -> dict[str, Key]:
    """Read a JWK set (RFC 7517) to keys by id; what is of another kind, or for another use, is left out.

    Raises:
        ValueError: it is no key set, or holds no key that can be used.
    """
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"is no list of at most {MAX_KEYS} keys")
    keys = {}
    for entry in entries:
        key = _read_jwk(entry) if isinstance(entry, dict) else None
        if key is not None:
            keys[str(entry.get("kid", ""))] = key
    if not keys:
        raise ValueError("holds no key that can be used")
    return keys


def _read_jwk(entry: dict[str, Any]) -> Key | None:
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    if algorithm is None or entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        return _key(jwt.PyJWK(entry, algorithm).key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None


def key_id(token: str) -> str | None:
    """Return which key a token says that it was signed with; nothing else of its header counts.

    Raises:
        InvalidToken: it is no token.
    """
    if len(token) > MAX_TOKEN_CHARS:
        raise InvalidToken("the token is too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise InvalidToken("the token cannot be read") from None
    return None if kid is None else str(kid)


def read_token(token: str, key: Key, issuer: str | None = None, audience: str | None = None) -> Identity:
    """Check a token and return who its bearer is.

    Args:
        token: in compact form.
        key: whose signature it must have.
        issuer: what ``iss`` must be; None: anything.
        audience: what ``aud`` must be or hold; None: anything.

    Raises:
        InvalidToken: it is not signed with the key, not valid now, not for us, or names no user.
    """
    try:
        claims = jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            # `iat` says nothing about validity (RFC 7519, section 4.1.6); `sub` may be a number here,
            # as `userId` may.
            options={
                "require": ["exp"],
                "verify_aud": audience is not None,
                "verify_iat": False,
                "verify_iss": issuer is not None,
                "verify_sub": False,
            },
            issuer=issuer,
            audience=audience,
            leeway=SKEW_S,
        )
        expires_at = float(claims["exp"])
    except jwt.PyJWTError as exc:
        raise InvalidToken(_reason(exc)) from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidToken("the token cannot be read") from None
    if not expires_at > time.time():
        raise InvalidToken("the token has expired")
    return _identity(claims, expires_at)


def _reason(exc: jwt.PyJWTError) -> str:
    """Say what is wrong in words of ours: the library's may quote the token."""
    if isinstance(exc, jwt.MissingRequiredClaimError):
        return f"the token lacks {exc.claim}"
    return next(
        (text for kind, text in _REASONS.items() if isinstance(exc, kind)), "the token cannot be read"
    )


_REASONS = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidAlgorithmError: "the token is signed in another way",
    jwt.InvalidSignatureError: "the token's signature is wrong",
}


def _identity(claims: dict[str, Any], expires_at: float) -> Identity:
    try:
        user_id = check_id(claims.get("userId"), "userId") or check_id(claims.get("sub"), "sub")
        if user_id is None:
            raise InvalidToken("the token names no user")
        user = User(user_id, claims.get("tenantId"), claims.get("bankId"), claims.get("fromType"))
    except InvalidField as exc:
        raise InvalidToken(f"the token's claim {exc}") from None
    groups = claims.get("groups") or []
    if not isinstance(groups, list):
        raise InvalidToken("the token's claim groups: must be a list of strings")
    try:
        return Identity(user, expires_at, tuple(groups))
    except InvalidField as exc:
        raise InvalidToken(f"the token's claim groups: {exc.reason}") from None
