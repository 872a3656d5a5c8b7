"""The cases of Autobahn|Testsuite's groups 1 to 7, 9 and 10, written anew from RFC 6455 under its numbers.

All are expected to be 'OK', none only 'NON-STRICT'.
"""

from dataclasses import dataclass

from tests.conformance.raw import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    close_payload,
    fragments,
    frame,
)

KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
KIB, MIB = 1 << 10, 1 << 20
NORMAL, PROTOCOL_ERROR, BAD_DATA = 1000, 1002, 1007
FRAME_WISE, OCTET_WISE = 0, 1

Answer = tuple[int, bytes]
Part = tuple[list[bytes], list[Answer]]


@dataclass(frozen=True)
class Case:
    """What is sent and what has to come.

    Attributes:
        id: Autobahn's number.
        parts: frames to send, and the answers to wait for before the next part.
        code: the node's close code; None: the connection lives, and closes cleanly when the client wants.
        chop: how the octets are cut on their way: all at once, frame by frame, or in so many octets.
    """

    id: str
    parts: tuple[Part, ...]
    code: tuple[int | None, ...] = ()
    chop: int | None = None


def case(
    number: str,
    sent: list[bytes],
    answers: list[Answer] | None = None,
    *code: int | None,
    chop: int | None = None,
) -> Case:
    return Case(number, ((sent, answers or []),), code, chop)


def numbered(prefix: str, cases: list[tuple[list[bytes], list[Answer], tuple[int | None, ...], int | None]]):
    return [
        case(f"{prefix}.{n}", sent, answers, *code, chop=chop)
        for n, (sent, answers, code, chop) in enumerate(cases, 1)
    ]


# 1: messages of every form of length

LENGTHS = [(0, None), (125, None), (126, None), (127, None), (128, None), (65535, None), (65536, None)]


def group_1() -> list[Case]:
    return [
        case(f"1.{kind}.{n}", [frame(kind, octet * size)], [(kind, octet * size)], chop=chop)
        for kind, octet in ((TEXT, b"*"), (BINARY, b"\xfe"))
        for n, (size, chop) in enumerate([*LENGTHS, (65536, 997)], 1)
    ]


# 2: pings and pongs

HELLO = b"Hello, world!"
ALL_KINDS_OF_OCTETS = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"


def group_2() -> list[Case]:
    unasked = frame(PONG, b"unsolicited pong payload")
    ten = [b"payload-%d" % n for n in range(10)]
    ten_pings, ten_pongs = [frame(PING, text) for text in ten], [(PONG, text) for text in ten]
    longest = b"\xfe" * 125
    return [
        case("2.1", [frame(PING)], [(PONG, b"")]),
        case("2.2", [frame(PING, HELLO)], [(PONG, HELLO)]),
        case("2.3", [frame(PING, ALL_KINDS_OF_OCTETS)], [(PONG, ALL_KINDS_OF_OCTETS)]),
        case("2.4", [frame(PING, longest)], [(PONG, longest)]),
        case("2.5", [frame(PING, b"\xfe" * 126)], [], PROTOCOL_ERROR),
        case("2.6", [frame(PING, longest)], [(PONG, longest)], chop=OCTET_WISE),
        case("2.7", [frame(PONG)]),
        case("2.8", [unasked]),
        case("2.9", [unasked, frame(PING, b"ping payload")], [(PONG, b"ping payload")]),
        case("2.10", ten_pings, ten_pongs),
        case("2.11", ten_pings, ten_pongs, chop=OCTET_WISE),
    ]


# 3: reserved bits

TEXT_HELLO, ECHOED = frame(TEXT, HELLO), (TEXT, HELLO)


def group_3() -> list[Case]:
    def after_hello(number: str, rsv: int, chop: int | None) -> Case:
        sent = [TEXT_HELLO, frame(TEXT, HELLO, rsv=rsv), frame(PING)]
        return case(number, sent, [ECHOED], PROTOCOL_ERROR, chop=chop)

    return [
        case("3.1", [frame(TEXT, HELLO, rsv=1)], [], PROTOCOL_ERROR),
        after_hello("3.2", 2, None),
        after_hello("3.3", 3, FRAME_WISE),
        after_hello("3.4", 4, OCTET_WISE),
        case("3.5", [frame(BINARY, ALL_KINDS_OF_OCTETS, rsv=5)], [], PROTOCOL_ERROR),
        case("3.6", [frame(PING, HELLO, rsv=6)], [], PROTOCOL_ERROR),
        case("3.7", [frame(CLOSE, rsv=7)], [], PROTOCOL_ERROR),
    ]


# 4: opcodes that are reserved


def group_4() -> list[Case]:
    cases = []
    for part, opcode in ((1, 3), (2, 11)):
        alone = [frame(opcode)], [frame(opcode + 1, b"reserved opcode payload")]
        cases += [case(f"4.{part}.{n}", sent, [], PROTOCOL_ERROR) for n, sent in enumerate(alone, 1)]
        for n, payload, chop in ((3, b"", None), (4, HELLO, None), (5, HELLO, OCTET_WISE)):
            sent = [TEXT_HELLO, frame(opcode + n - 1, payload), frame(PING)]
            cases.append(case(f"4.{part}.{n}", sent, [ECHOED], PROTOCOL_ERROR, chop=chop))
    return cases


# 5: fragments

ONE, TWO = b"fragment1", b"fragment2"
FIRST, LAST = frame(TEXT, ONE, fin=False), frame(CONTINUED, TWO)
WHOLE = (TEXT, ONE + TWO)
IN_BETWEEN = frame(PING, b"ping payload")
CHOPS = (None, FRAME_WISE, OCTET_WISE)


def group_5() -> list[Case]:
    strange = b"non-continuation payload"
    twice = [frame(TEXT, TWO, fin=False), frame(CONTINUED, b"fragment3")]
    cases = [
        case("5.1", [frame(PING, ONE, fin=False), LAST], [], PROTOCOL_ERROR),
        case("5.2", [frame(PONG, ONE, fin=False), LAST], [], PROTOCOL_ERROR),
        case("5.15", [FIRST, LAST, frame(CONTINUED, fin=False), TEXT_HELLO], [WHOLE], PROTOCOL_ERROR),
        case("5.16", [frame(CONTINUED, ONE, fin=False), *twice] * 2, [], PROTOCOL_ERROR),
        case("5.17", [frame(CONTINUED, ONE), *twice] * 2, [], PROTOCOL_ERROR),
        case("5.18", [FIRST, frame(TEXT, TWO)], [], PROTOCOL_ERROR),
    ]
    for n, chop in enumerate(CHOPS):
        answers = [(PONG, b"ping payload"), WHOLE]
        cases += [
            case(f"5.{3 + n}", [FIRST, LAST], [WHOLE], chop=chop),
            case(f"5.{6 + n}", [FIRST, IN_BETWEEN, LAST], answers, chop=chop),
            case(f"5.{9 + n}", [frame(CONTINUED, strange), TEXT_HELLO], [], PROTOCOL_ERROR, chop=chop),
            case(
                f"5.{12 + n}",
                [frame(CONTINUED, strange, fin=False), TEXT_HELLO],
                [],
                PROTOCOL_ERROR,
                chop=chop,
            ),
        ]
    return [*cases, *(Case(f"5.{19 + n}", five_fragments(), (), chop) for n, chop in enumerate(CHOPS[:2]))]


def five_fragments() -> tuple[Part, ...]:
    """Two fragments and a ping, whose pong has to come before the other fragments are sent."""
    parts = [b"fragment%d" % n for n in range(1, 6)]
    first, *between, last = parts
    middle = [frame(CONTINUED, part, fin=False) for part in between]
    pings = [b"pongme 1!", b"pongme 2!"]
    return (
        ([frame(TEXT, first, fin=False), middle[0], frame(PING, pings[0])], [(PONG, pings[0])]),
        (
            [*middle[1:], frame(PING, pings[1]), frame(CONTINUED, last)],
            [(PONG, pings[1]), (TEXT, b"".join(parts))],
        ),
    )


# 7: closing


def group_7() -> list[Case]:
    normal = frame(CLOSE, close_payload(NORMAL))
    long = b"BAsd7&jh23" * (256 * KIB // 10)
    bad_reason = KOSME + b"\xed\xa0\x80edited"
    return [
        case("7.1.1", [TEXT_HELLO], [ECHOED]),
        case("7.1.2", [normal, frame(CLOSE)], [], NORMAL),
        case("7.1.3", [normal, frame(PING)], [], NORMAL),
        case("7.1.4", [normal, TEXT_HELLO], [], NORMAL),
        case("7.1.5", [FIRST, normal, LAST], [], NORMAL),
        case("7.1.6", [frame(TEXT, long), TEXT_HELLO, normal, frame(PING)], [(TEXT, long), ECHOED], NORMAL),
        case("7.3.1", [frame(CLOSE)], [], None),
        case("7.3.2", [frame(CLOSE, b"a")], [], PROTOCOL_ERROR),
        case("7.3.3", [normal], [], NORMAL),
        case("7.3.4", [frame(CLOSE, close_payload(NORMAL, b"Hello World!"))], [], NORMAL),
        case("7.3.5", [frame(CLOSE, close_payload(NORMAL, b"*" * 123))], [], NORMAL),
        case("7.3.6", [frame(CLOSE, close_payload(NORMAL, b"*" * 124))], [], PROTOCOL_ERROR),
        case("7.5.1", [frame(CLOSE, close_payload(NORMAL, bad_reason))], [], PROTOCOL_ERROR, BAD_DATA),
        *(
            case(f"7.7.{n}", [frame(CLOSE, close_payload(code))], [], code)
            for n, code in enumerate(GOOD_CODES, 1)
        ),
        *(
            case(f"7.9.{n}", [frame(CLOSE, close_payload(code))], [], PROTOCOL_ERROR)
            for n, code in enumerate(BAD_CODES, 1)
        ),
        *(
            case(f"7.13.{n}", [frame(CLOSE, close_payload(code))], [], PROTOCOL_ERROR)
            for n, code in enumerate((5000, 65535), 1)
        ),
    ]


GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)


# 9: large messages; 10: a message cut into fragments by itself

LARGE = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
FRAGMENT_SIZES = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
CHOP_SIZES = (64, 128, 256, 512, KIB, 2 * KIB)
MANY = 100
"""Messages in turn; Autobahn sends 1,000."""
SMALL = (0, 16, 64, 256, KIB, 4 * KIB)


@dataclass(frozen=True)
class Large:
    """A message that is built when its turn comes: together they would fill the memory.

    Attributes:
        id: Autobahn's number.
        kind: text or binary.
        size: of the message.
        fragment: the size of its fragments; 0: it is whole.
        chop: as in `Case`.
        times: how often it is sent, one after the other.
    """

    id: str
    kind: int
    size: int
    fragment: int = 0
    chop: int | None = None
    times: int = 1

    @property
    def payload(self) -> bytes:
        pattern = b"BAsd7&jh23" if self.kind == TEXT else b"\x00\xfe\x23\xfa\xf0"
        return (pattern * (self.size // len(pattern) + 1))[: self.size]

    @property
    def frames(self) -> list[bytes]:
        return fragments(self.kind, self.payload, self.fragment or max(self.size, 1))


def groups_9_and_10() -> list[Large]:
    cases = [Large("10.1.1", TEXT, 65536, fragment=1300)]
    for kind in (TEXT, BINARY):
        cases += [
            *(Large(f"9.{kind}.{n}", kind, size) for n, size in enumerate(LARGE, 1)),
            *(Large(f"9.{kind + 2}.{n}", kind, 4 * MIB, size) for n, size in enumerate(FRAGMENT_SIZES, 1)),
            *(Large(f"9.{kind + 4}.{n}", kind, MIB, chop=size) for n, size in enumerate(CHOP_SIZES, 1)),
            *(Large(f"9.{kind + 6}.{n}", kind, size, times=MANY) for n, size in enumerate(SMALL, 1)),
        ]
    return cases
