"""WebSocket frames from a server (RFC 6455, section 5.2): unmasked and whole."""

from __future__ import annotations

import struct

_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88
_PING = 0x89
_PONG = 0x8A
_COMPRESSED = 0x40
_SHORT, _MEDIUM = 126, 65536
_HEADS = {126: 4, 127: 10}
_SHORTEST, _MAX_REASON = 2, 123


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


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping (RFC 6455, section 5.5.3)."""
    return _frame(_PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame with a code and a reason of at most 123 bytes (RFC 6455, section 5.5.1)."""
    shown = reason.encode()[:_MAX_REASON].decode(errors="ignore")
    return repeated_close_frame(struct.pack("!H", code) + shown.encode())


def repeated_close_frame(payload: bytes) -> bytes:
    """Return the answer to a close frame: the same."""
    return _frame(_CLOSE, payload)


def compressed_frame(frame: bytes, payload: bytes) -> bytes:
    """Return a frame with its payload compressed (RFC 7692, section 6)."""
    return _frame(frame[0] | _COMPRESSED, payload)


def payload_start(frame: bytes, start: int = 0) -> int:
    """Return where the payload of the frame that starts here begins."""
    return start + _HEADS.get(frame[start + 1], 2)


def payload_bytes(frame: bytes) -> int:
    """Return how long the payload of a frame is."""
    return len(frame) - payload_start(frame)


def split_frames(frames: bytes) -> list[bytes]:
    """Cut a server's frames that were joined apart; none, if these bytes are no whole frames."""
    found: list[bytes] = []
    start = 0
    while len(frames) - start >= _SHORTEST:
        payload = payload_start(frames, start)
        length = frames[start + 1] if payload == start + 2 else int.from_bytes(frames[start + 2 : payload])
        if payload + length > len(frames):
            break
        found.append(frames[start : payload + length])
        start = payload + length
    return found if start == len(frames) else []
