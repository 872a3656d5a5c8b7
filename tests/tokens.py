"""Tokens and keys as somebody else would make them; neither the package nor its library is used."""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests import leaks

SECRET = "a-shared-secret-of-forty-characters-0123"
HOUR_S = 3600


def encode(data: bytes) -> str:
    """Write bytes as base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(user: Any = 1001, **more: Any) -> dict[str, Any]:
    """Return the claims of a user for an hour; those that are given as None are left out."""
    given = {"userId": user, "exp": int(time.time()) + HOUR_S} | more
    return {name: value for name, value in given.items() if value is not None}


class Signer:
    """Make tokens with a key."""

    def __init__(self, algorithm: str, key: Any) -> None:
        self.algorithm = algorithm
        self._key = key

    def token(self, user: Any = 1001, header: dict[str, Any] | None = None, **more: Any) -> str:
        """Return a token with these claims; a header of the same name wins."""
        return self.sign({"alg": self.algorithm, "typ": "JWT"} | (header or {}), claims(user, **more))

    def sign(self, header: dict[str, Any], body: Any) -> str:
        """Return a token with just this header and this body."""
        message = ".".join(encode(json.dumps(part).encode()) for part in (header, body))
        token = f"{message}.{encode(self._signature(message.encode()))}"
        leaks.note(token)
        return token

    def _signature(self, message: bytes) -> bytes:
        if isinstance(self._key, str):
            return hmac.digest(self._key.encode(), message, hashlib.sha256)
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        numbers = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)

    @property
    def pem(self) -> str:
        """The public key."""
        public = self._key.public_key()
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return public.public_bytes(serialization.Encoding.PEM, kind).decode()

    def jwk(self, kid: str, **more: Any) -> dict[str, Any]:
        """Return the public key as JWK (RFC 7518, section 6)."""
        numbers = self._key.public_key().public_numbers()
        if isinstance(self._key, rsa.RSAPrivateKey):
            fields = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        else:
            fields = {"kty": "EC", "crv": "P-256", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}
        return {"kid": kid, "use": "sig", **fields, **more}


def _number(value: int, length: int = 0) -> str:
    return encode(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def shared_secret(secret: str = SECRET) -> Signer:
    return Signer("HS256", secret)


def rsa_key(bits: int = 2048) -> Signer:
    return Signer("RS256", rsa.generate_private_key(65537, bits))


def ec_key(curve: ec.EllipticCurve | None = None) -> Signer:
    return Signer("ES256", ec.generate_private_key(curve or ec.SECP256R1()))


def unsigned(user: Any = 1001, algorithm: str = "none") -> str:
    """Return a token that nobody signed."""
    header = {"alg": algorithm, "typ": "JWT"}
    return ".".join(encode(json.dumps(part).encode()) for part in (header, claims(user))) + "."


class KeyServer:
    """Serve a key set over HTTP on a loopback port, and count who asks; `gate` holds bodies back."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys}).encode()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                server.gate.wait(30)
                self.wfile.write(server.body)

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, *keys: dict[str, Any]) -> None:
        """Serve other keys from now on."""
        self.body = json.dumps({"keys": keys}).encode()
