"""The opening handshake (RFC 6455, section 4.2) and the hand-over of the socket from Sanic.

Sanic reads the request and would write a refusal. Once accepted, the transport changes its protocol:
Sanic's own one forgets it, so that the end of Sanic's task for the request does not close it.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.utils import accept_key

from sanic_ws.core.identity import check_conn
from sanic_ws.core.messages import MAX_PUSH_ID_CHARS
from sanic_ws.core.proxies import find_client
from sanic_ws.errors import InvalidField, SanicWsError
from sanic_ws.websocket.compression import agree

if TYPE_CHECKING:
    from sanic.request import Request
    from sanic.server import HttpProtocol

    from sanic_ws.core.closing import CloseCode
    from sanic_ws.core.proxies import Network
    from sanic_ws.settings import Settings
    from sanic_ws.websocket.connection import Connection

SIGN_BYTES = 16


class Refused(SanicWsError):  # noqa: N818 - what happened to the handshake
    """Report a handshake that is answered with an HTTP error, or with a close of its own.

    Args:
        status: of the answer.
        code: snake_case, for programs.
        message: for people.
        field: what is wrong, if one thing is.
        retry_after_s: when to try again, if that may help.
        close_code: with which the connection is closed as soon as it is open, instead of the HTTP error: all
            that a page in a browser gets to see.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        retry_after_s: int | None = None,
        close_code: CloseCode | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.close_code = close_code
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class Accepted(NamedTuple):
    """Hold what was agreed on with a client.

    Attributes:
        greeting: the answer to its request.
        window_bits: of permessage-deflate; 0: messages are not compressed.
    """

    greeting: bytes
    window_bits: int = 0


def accept(request: Request[Any, Any], settings: Settings, *, own_pages: bool = False) -> Accepted:
    """Check an upgrade request (RFC 6455, section 4.2.1); return the answer that accepts it.

    Args:
        request: it.
        settings: the operator's.
        own_pages: whether it is for this host's own pages, whatever origins the settings allow.

    Raises:
        Refused: it is no valid upgrade (400), or comes from a page elsewhere (403).
    """
    headers = request.headers
    if request.method != "GET" or headers.get("upgrade", "").lower() != "websocket":
        raise Refused(400, "not_a_websocket", "this address is for WebSocket connections only")
    _check_origin(request, _own_origins(request) if own_pages else settings.allowed_origins)
    if "upgrade" not in {
        token.strip().lower() for token in ",".join(headers.getall("connection", [])).split(",")
    }:
        raise Refused(400, "bad_handshake", "Connection: must hold Upgrade")
    if request.version != "1.1":
        raise Refused(400, "bad_handshake", "HTTP/1.1 is needed")
    if headers.getall("sec-websocket-version", []) != ["13"]:
        raise Refused(400, "bad_handshake", "Sec-WebSocket-Version: must be 13")
    keys = headers.getall("sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refused(400, "bad_handshake", "Sec-WebSocket-Key: must be 16 bytes in base64, once")
    return _agree(request, settings, _ACCEPTED + accept_key(keys[0].strip()).encode())


_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_KEY_BYTES = 16


def _agree(request: Request[Any, Any], settings: Settings, answer: bytes) -> Accepted:
    """Answer what the client offers: extensions (RFC 6455, section 9.1) and subprotocols (section 4.2.2)."""
    window_bits = 0
    offers = _joined(request, "sec-websocket-extensions")
    if settings.compression and offers:
        try:
            window_bits, agreed = agree(offers)
        except InvalidHeader:
            raise Refused(400, "bad_handshake", "Sec-WebSocket-Extensions: cannot be read") from None
        if window_bits:
            answer += f"\r\nSec-WebSocket-Extensions: {agreed}".encode()
    offered = _joined(request, "sec-websocket-protocol")
    if settings.subprotocols and offered:
        chosen = _choose(offered, settings.subprotocols)
        if chosen:
            answer += f"\r\nSec-WebSocket-Protocol: {chosen}".encode()
    return Accepted(answer + b"\r\n\r\n", window_bits)


def _joined(request: Request[Any, Any], name: str) -> str:
    """Return a header that may be given in several pieces (RFC 9110, section 5.3)."""
    return ", ".join(request.headers.getall(name, []))


def _choose(offered: str, known: tuple[str, ...]) -> str | None:
    try:
        wanted = parse_subprotocol(offered)
    except InvalidHeader:
        raise Refused(400, "bad_handshake", "Sec-WebSocket-Protocol: cannot be read") from None
    return next((name for name in wanted if name in known), None)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _check_origin(request: Request[Any, Any], origins: tuple[str, ...]) -> None:
    """Refuse pages from elsewhere (RFC 6455, section 10.2); a client without a page sends no origin."""
    origin = request.headers.get("origin")
    if origin is not None and "*" not in origins and origin not in origins:
        raise Refused(403, "origin_not_allowed", "pages of this origin may not connect")


def _own_origins(request: Request[Any, Any]) -> tuple[str, ...]:
    """Return the origins of this host's own pages; which scheme they have only a proxy may know."""
    host = request.headers.get("host", "").lower()
    return (f"https://{host}", f"http://{host}")


def read_sign(request: Request[Any, Any]) -> str:
    """Return the connection id that the client chose, or a new one.

    Raises:
        Refused: it is not one.
    """
    given = request.get_args(keep_blank_values=True).getlist("sign")
    if not given:
        return secrets.token_urlsafe(SIGN_BYTES)
    if len(given) > 1:
        raise Refused(400, "invalid_field", "sign: must be given once", "sign")
    try:
        return check_conn(given[0], "sign")
    except InvalidField as exc:
        raise Refused(400, "invalid_field", str(exc), exc.field) from None


def read_since(request: Request[Any, Any]) -> str | None:
    """Return the id of the push behind which the client wants to go on, if it does; empty: from the first.

    Raises:
        Refused: it is not one.
    """
    given = request.get_args(keep_blank_values=True).getlist("since")
    if not given:
        return None
    if len(given) > 1:
        raise Refused(400, "invalid_field", "since: must be given once", "since")
    if len(given[0]) > MAX_PUSH_ID_CHARS:
        raise Refused(400, "invalid_field", f"since: must be at most {MAX_PUSH_ID_CHARS} characters", "since")
    return str(given[0])


def client_address(request: Request[Any, Any], trusted: tuple[Network, ...]) -> str:
    """Return the address by which the client is counted, see `find_client`."""
    headers = request.headers
    forwarded_for = headers.getall("x-forwarded-for", [])
    return find_client(request.ip, forwarded_for, headers.getall("forwarded", []), trusted)


def hand_over(request: Request[Any, Any], connection: Connection, greeting: bytes) -> None:
    """Give the request's transport to a connection, with what the client has sent already."""
    before = cast("HttpProtocol", request.protocol)
    transport = before.transport
    assert transport is not None
    transport.write(greeting)
    connection.connection_made(transport)
    transport.set_protocol(connection)
    before.connections.discard(before)
    # Sanic closes what it still holds when its task for the request ends.
    before.transport = None
    if transport.is_reading() is False:
        transport.resume_reading()
    # After that: what it answers to these may be so much that it stops reading.
    early = bytes(before.recv_buffer)
    if early:
        before.recv_buffer.clear()
        connection.data_received(early)
