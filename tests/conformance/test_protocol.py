"""Autobahn's groups 1 to 7 over a real socket."""

import pytest

from tests.conformance.cases import (
    NORMAL,
    Case,
    group_1,
    group_2,
    group_3,
    group_4,
    group_5,
    group_7,
)
from tests.conformance.raw import CLOSE, RawClient, close_payload, frame
from tests.conformance.utf8 import group_6

CASES = [*group_1(), *group_2(), *group_3(), *group_4(), *group_5(), *group_6(), *group_7()]


def test_every_number_is_there_once():
    numbers = [case.id for case in CASES]
    assert len(set(numbers)) == len(numbers)
    counts = [sum(number.startswith(f"{group}.") for number in numbers) for group in range(1, 8)]
    assert counts == [16, 11, 7, 10, 20, 145, 37]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_case(echo_node, open_raw, case: Case):
    client = await open_raw(echo_node)
    for sent, answers in case.parts:
        await client.send(*sent, chop=case.chop)
        for kind, payload in answers:
            answer = await client.next()
            assert (answer.opcode, answer.payload) == (kind, payload)
    if case.code:
        await closed_by_the_node(client, case.code)
    else:
        await closed_by_the_client(client)


async def closed_by_the_node(client: RawClient, codes: tuple[int | None, ...]) -> None:
    answer = await client.next()
    assert (answer.opcode, answer.code in codes) == (CLOSE, True), answer
    client.writer.write_eof()
    assert await client.ended() == b""


async def closed_by_the_client(client: RawClient) -> None:
    await client.send(frame(CLOSE, close_payload(NORMAL)))
    answer = await client.next()
    assert (answer.opcode, answer.payload) == (CLOSE, close_payload(NORMAL))
    assert await client.ended() == b""
