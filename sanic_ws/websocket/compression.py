"""permessage-deflate (RFC 7692): what is agreed on, and frames compressed once for all who agreed.

Neither side keeps a context from one message to the next: that bounds the memory, and lets one compressed
frame be written to every connection.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from sanic_ws.core.frames import compressed_frame, payload_start, split_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension
    from websockets.typing import ExtensionParameter

WINDOW_BITS = 12
LEVEL, MEMORY_LEVEL = 3, 5
SHORTEST_BYTES = 128
"""Of a frame that is compressed: shorter ones gain nothing."""
KEPT_BYTES = 4 << 20
"""Of frames, plain and compressed, that a compressor keeps for the next connections."""

_DATA = frozenset((0x81, 0x82))
_TAIL_BYTES = 4


@lru_cache(maxsize=256)
def agree(offers: str) -> tuple[int, str]:
    """Answer what a client offers in ``Sec-WebSocket-Extensions``.

    Returns:
        The bits of the window to compress with and the answer's header; 0 and nothing: no compression.

    Raises:
        InvalidHeader: of websockets; it is not written as the header has to be.
    """
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
    )
    none: Sequence[Extension] = ()
    for name, offered in parse_extension(offers):
        if name != factory.name:
            continue
        try:
            answer, _ = factory.process_request_params(offered, none)
        except NegotiationError:
            continue
        return _window_bits(answer), build_extension([(name, answer)])
    return 0, ""


def _window_bits(answer: Sequence[ExtensionParameter]) -> int:
    return int(dict(answer)["server_max_window_bits"] or WINDOW_BITS)


class Compressor:
    """Compress frames with a window; frames that come again soon only once.

    Args:
        window_bits: of the window, 9 to 15.
    """

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._kept: dict[bytes, bytes] = {}
        self._kept_bytes = 0

    def translate(self, frames: bytes) -> bytes:
        """Return what to write instead of a whole frame, or of several that were joined."""
        if len(frames) < SHORTEST_BYTES:
            return frames
        kept = self._kept.get(frames)
        if kept is not None:
            return kept
        apart = split_frames(frames)
        if len(apart) != 1:
            return b"".join(self.translate(frame) for frame in apart) or frames
        compressed = self._compress(frames)
        self._keep(frames, compressed)
        return compressed

    def _compress(self, frame: bytes) -> bytes:
        if frame[0] not in _DATA:
            return frame
        deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -self._window_bits, MEMORY_LEVEL)
        payload = memoryview(frame)[payload_start(frame) :]
        compressed = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
        if len(compressed) - _TAIL_BYTES >= len(payload):
            return frame
        return compressed_frame(frame, compressed[:-_TAIL_BYTES])

    def _keep(self, frame: bytes, compressed: bytes) -> None:
        self._kept[frame] = compressed
        self._kept_bytes += len(frame) + len(compressed)
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            self._kept_bytes -= len(oldest) + len(self._kept.pop(oldest))


@lru_cache(maxsize=16)
def compressor(window_bits: int) -> Compressor:
    """Return the compressor that all connections of this process with such a window share."""
    return Compressor(window_bits)
