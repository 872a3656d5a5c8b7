"""Autobahn's group 6: text that is UTF-8 (RFC 3629) and text that is not, by Markus Kuhn's stress test."""

from tests.conformance.cases import BAD_DATA, KOSME, Case, case
from tests.conformance.raw import CONTINUED, PING, PONG, TEXT, fragments, frame

NAMED = "Hello-µ@ßöäüàá-UTF-8!!".encode()
TOO_HIGH = b"\xf4\x90\x80\x80"
BAD = KOSME + b"\xed\xa0\x80" + b"edited"

TOO_LONG_FORMS = [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]
CUT_SHORT = [
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
]
STARTS = ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
SURROGATES = (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)


def surrogate(code: int) -> bytes:
    return chr(code).encode("utf-8", "surrogatepass")


def pairs() -> list[bytes]:
    return [
        surrogate(high) + surrogate(low)
        for high in (0xD800, 0xDB7F, 0xDB80, 0xDBFF)
        for low in (0xDC00, 0xDFFF)
    ]


def no_characters() -> list[bytes]:
    """Code points that are no characters, yet valid: the last two of planes."""
    return [chr(plane << 16 | last).encode() for plane in range(17) for last in (0xFFFE, 0xFFFF)]


SEQUENCES: dict[int, list[bytes]] = {
    5: [b"hello$world", "hello¢world".encode(), "hello€world".encode(), "hello𤭢world".encode(), KOSME],
    6: [KOSME[:size] for size in range(1, len(KOSME) + 1)],
    7: [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    8: TOO_LONG_FORMS,
    9: [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    10: [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    11: [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", TOO_HIGH],
    12: [b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:size] for size in range(2, 7)), bytes(range(0x80, 0xC0))],
    13: [b"".join(bytes((start, 0x20)) for start in range(*span)) for span in STARTS],
    14: CUT_SHORT,
    15: [b"".join(CUT_SHORT)],
    16: [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    17: [
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
    ],
    18: [
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
    ],
    19: [
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xf8\x80\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80\x80",
    ],
    20: [surrogate(code) for code in SURROGATES],
    21: pairs(),
    22: no_characters(),
    23: [chr(code).encode() for code in range(0xFFF9, 0x10000)],
}
VALID = {5: 5, 6: {2, 5, 7, 9, 11}, 7: 4, 9: 4, 11: 4, 22: 34, 23: 7}
"""How many of a sequence's texts are UTF-8, from the first, or which; of the others none is."""


def is_valid(group: int, number: int) -> bool:
    valid = VALID.get(group, 0)
    return number in valid if isinstance(valid, set) else number <= valid


def sequences() -> list[Case]:
    return [
        case(f"6.{group}.{n}", [frame(TEXT, text)], [(TEXT, text)])
        if is_valid(group, n)
        else case(f"6.{group}.{n}", [frame(TEXT, text)], [], BAD_DATA)
        for group, texts in SEQUENCES.items()
        for n, text in enumerate(texts, 1)
    ]


def group_6() -> list[Case]:
    empty = [frame(TEXT, fin=False), frame(CONTINUED, fin=False), frame(CONTINUED)]
    middle = [frame(TEXT, fin=False), frame(CONTINUED, b"middle frame payload", fin=False), frame(CONTINUED)]
    octets = fragments(TEXT, NAMED, 1)
    return [
        case("6.1.1", [frame(TEXT)], [(TEXT, b"")]),
        case("6.1.2", empty, [(TEXT, b"")]),
        case("6.1.3", middle, [(TEXT, b"middle frame payload")]),
        case("6.2.1", [frame(TEXT, NAMED)], [(TEXT, NAMED)]),
        case("6.2.2", fragments(TEXT, NAMED, 12), [(TEXT, NAMED)]),
        case("6.2.3", octets, [(TEXT, NAMED)]),
        case("6.2.4", fragments(TEXT, KOSME, 1), [(TEXT, KOSME)]),
        case("6.3.1", [frame(TEXT, BAD)], [], BAD_DATA),
        case("6.3.2", fragments(TEXT, BAD, 1), [], BAD_DATA),
        *fail_fast(),
        *sequences(),
    ]


def fail_fast() -> list[Case]:
    """What makes the text invalid has come, the rest never comes: the node must not wait for it."""
    first, alive = frame(TEXT, KOSME, fin=False), ([frame(PING)], [(PONG, b"")])

    def in_fragments(number: str, second: bytes) -> Case:
        second_frame = frame(CONTINUED, second, fin=False)
        return Case(number, (([first], []), alive, ([second_frame], [])), (BAD_DATA,))

    def in_one_frame(number: str, second: bytes) -> Case:
        whole = frame(TEXT, KOSME + TOO_HIGH + b"edited")
        head = len(whole) - len(KOSME + TOO_HIGH + b"edited")
        cut = head + len(KOSME)
        parts = (([whole[:cut]], []), ([whole[cut : cut + len(second)]], []))
        return Case(number, parts, (BAD_DATA,))

    return [
        in_fragments("6.4.1", TOO_HIGH),
        in_fragments("6.4.2", TOO_HIGH[:2]),
        in_one_frame("6.4.3", TOO_HIGH),
        in_one_frame("6.4.4", TOO_HIGH[:2]),
    ]
