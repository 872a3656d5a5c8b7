"""The client's half of permessage-deflate (RFC 7692), and Autobahn's groups 12 and 13."""

import json
import random
import zlib
from dataclasses import dataclass

from tests.conformance.raw import BINARY, TEXT, Frame, RawClient, fragments

TAIL = b"\0\0\xff\xff"
NAME = "permessage-deflate"
DEFAULT_OFFER = f"{NAME}; client_no_context_takeover; client_max_window_bits"


def read_agreement(header: str) -> dict[str, str | None]:
    """Read the parameters of the one extension that a node knows; each may be there once."""
    name, *parameters = [part.strip() for part in header.split(";")]
    assert name == NAME
    pairs = [parameter.partition("=") for parameter in parameters]
    agreed = {key: value if equals else None for key, equals, value in pairs}
    assert len(agreed) == len(parameters), header
    return agreed


class Deflate:
    """Compress and decompress as it was agreed, and hold the node to it."""

    def __init__(self, header: str) -> None:
        agreed = read_agreement(header)
        assert set(agreed) <= {
            "client_no_context_takeover",
            "server_no_context_takeover",
            "client_max_window_bits",
            "server_max_window_bits",
        }
        self.agreed = agreed
        self.deflate_bits = int(agreed.get("client_max_window_bits") or 15)
        self.inflate_bits = int(agreed.get("server_max_window_bits") or 15)
        self._deflate = zlib.compressobj(wbits=-self.deflate_bits)
        self._inflate = zlib.decompressobj(-self.inflate_bits)

    def compress(self, payload: bytes) -> bytes:
        if "client_no_context_takeover" in self.agreed:
            self._deflate = zlib.compressobj(wbits=-self.deflate_bits)
        data = self._deflate.compress(payload) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(TAIL)
        return data[:-4]

    def decompress(self, frame: Frame) -> bytes:
        if not frame.compressed:
            return frame.payload
        if "server_no_context_takeover" in self.agreed:
            self._inflate = zlib.decompressobj(-self.inflate_bits)
        return self._inflate.decompress(frame.payload + TAIL)

    async def send(self, client: RawClient, kind: int, payload: bytes, fragment: int = 0) -> None:
        data = self.compress(payload)
        await client.send(*fragments(kind, data, fragment or max(len(data), 1), rsv=4))


# (size of a message, of a fragment); Autobahn sends each 1,000 times
SIZES = [
    *((size, 0) for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)),
    *((size, 256) for size in (8192, 16384, 32768, 65536, 131072)),
    *((131072, fragment) for fragment in (1024, 4096, 32768)),
]
TIMES = 5
OFFERS = {
    1: [DEFAULT_OFFER],
    2: [f"{DEFAULT_OFFER}; server_no_context_takeover"],
    3: [f"{DEFAULT_OFFER}; server_max_window_bits=9"],
    4: [f"{DEFAULT_OFFER}; server_max_window_bits=15"],
    5: [f"{DEFAULT_OFFER}; server_no_context_takeover; server_max_window_bits=9"],
    6: [f"{DEFAULT_OFFER}; server_no_context_takeover; server_max_window_bits=15"],
    7: [
        f"{DEFAULT_OFFER}; server_no_context_takeover; server_max_window_bits=9",
        f"{DEFAULT_OFFER}; server_no_context_takeover",
        DEFAULT_OFFER,
    ],
}


def _rows() -> str:
    draw = random.Random(1)
    rows = ({"id": n, "name": f"täsk {draw.random()}", "done": n % 3 == 0} for n in range(4000))
    return json.dumps(list(rows), ensure_ascii=False)


def _image() -> bytes:
    draw = random.Random(2)
    return bytes((x * y >> 7) + draw.randrange(8) & 0xFF for y in range(512) for x in range(512))


def _prose() -> bytes:
    draw = random.Random(3)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(1, 9))) for _ in range(800)]
    return " ".join(draw.choices(words, k=40_000)).encode()


def _page() -> str:
    draw = random.Random(4)
    return "".join(f'<li class="entry"><a href="/{draw.random()}">{n}</a></li>\n' for n in range(5000))


DATA: dict[int, tuple[int, bytes]] = {
    1: (TEXT, _rows().encode()),
    2: (BINARY, _image()),
    3: (BINARY, _prose()),
    4: (TEXT, _page().encode()),
    5: (BINARY, random.Random(5).randbytes(1 << 18)),
}
"""What stands in place of Autobahn's files: JSON, an image, prose, HTML, and what is compressed already."""


@dataclass(frozen=True)
class Compressed:
    """Some messages with compression.

    Attributes:
        id: Autobahn's number.
        offers: of the client, the best first.
        data: which of `DATA` they are cut from.
        size: of a message, in octets; a character that would be cut is left out.
        fragment: the size of its fragments; 0: it is whole.
    """

    id: str
    offers: tuple[str, ...]
    data: int
    size: int
    fragment: int

    def messages(self) -> list[tuple[int, bytes]]:
        kind, data = DATA[self.data]
        starts = range(0, TIMES * self.size, self.size)
        cut = [(data + data)[start % len(data) :][: self.size] for start in starts]
        if kind == TEXT:
            cut = [part.decode(errors="ignore").encode() for part in cut]
        return [(kind, part) for part in cut]


def groups_12_and_13() -> list[Compressed]:
    return [
        Compressed(f"{group}.{part}.{n}", tuple(offers), data, size, fragment)
        for group, part, offers, data in [
            *((12, data, [DEFAULT_OFFER], data) for data in DATA),
            *((13, part, offers, 1) for part, offers in OFFERS.items()),
        ]
        for n, (size, fragment) in enumerate(SIZES, 1)
    ]
