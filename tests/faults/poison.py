"""Messages that no node and no publisher can read."""

import json
import struct

BATCH_HEAD = struct.Struct("<4sQdIIII")
REPLY_HEAD = struct.Struct("<4sQII")
HUGE = 0xFFFFFFFF


def batch(targets: bytes, items: int, rest: bytes = b"", *, magic: bytes = b"SWB1", size: int | None = None):
    """Write a batch as its layout says (`sanic_ws.core.batch`), right or wrong."""
    length = len(targets) if size is None else size
    return BATCH_HEAD.pack(magic, 7, 1e9, 60_000, 0, items, length) + targets + rest


def reply(node: bytes, details: bytes, answers: bytes, *, magic: bytes = b"SWR1", size: int | None = None):
    """Write a reply, right or wrong."""
    length = len(node) if size is None else size
    return REPLY_HEAD.pack(magic, 7, length, len(details)) + node + details + answers


def one(target: bytes) -> bytes:
    """Write a batch with one frame for a target."""
    return batch(target, 1, struct.pack("<I", 2) + b"\x81\x00")


BATCHES = [
    b"\x00",
    b"SWB1",
    b"\xff" * 100,
    json.dumps({"to": {"conn": "c"}, "type": "t"}).encode(),
    bytes(1 << 20),
    batch(b"c", 1, struct.pack("<I", 2) + b"\x81\x00", magic=b"SWB9"),
    batch(b"c", 1, struct.pack("<I", 99) + b"\x81\x00"),
    batch(b"c", 1, struct.pack("<I", HUGE)),
    batch(b"c", HUGE),
    batch(b"c", 1, size=HUGE),
    batch(b"c", 2, struct.pack("<II", 0, 0)),
    batch(b"\xff\xfe", 1, struct.pack("<I", 0)),
    one(b"!c notanumber"),
    one(b"!"),
    one(b"@"),
    one(b"@\x1f"),
]
REPLIES = [
    b"\x00",
    b"SWR1",
    b"\xff" * 100,
    bytes(1 << 20),
    reply(b"n", b"", b"\x01", magic=b"SWR9"),
    reply(b"n", b"", b"\x01", size=HUGE),
    reply(b"\xff", b"", b"\x01"),
    reply(b"n", b"{not json", b"\x06"),
    reply(b"n", b'{"0":[["c"]]}', b"\x06"),
    reply(b"n", b'["a"]', b"\x06"),
    reply(b"n", b"", b"\xee"),
]
