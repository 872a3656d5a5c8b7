"""WebSocket frames from a server (RFC 6455, section 5.2): unmasked and whole."""

from __future__ import annotations

import struct

_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88
_PING = 0x89
_SHORT, _MEDIUM = 126, 65536


def _frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < _SHORT:
        return bytes((head, size)) + payload
    if size < _MEDIUM:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def text_frame(payload: bytes) -> bytes:
    """Return a text frame; the payload is UTF-8."""
    return _frame(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """Return a binary frame."""
    return _frame(_BINARY, payload)


def ping_frame(payload: bytes = b"") -> bytes:
    """Return a ping of at most 125 bytes (RFC 6455, section 5.5.2)."""
    return _frame(_PING, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame with a code and a reason of at most 123 bytes (RFC 6455, section 5.5.1)."""
    return _frame(_CLOSE, struct.pack("!H", code) + reason.encode()[:123])
