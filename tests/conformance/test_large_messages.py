"""Autobahn's groups 9 and 10: large messages, in one frame and in many, and however they are cut."""

import pytest

from tests.conformance.cases import Large, groups_9_and_10
from tests.conformance.test_protocol import closed_by_the_client

CASES = groups_9_and_10()


def test_every_number_is_there_once():
    assert len({case.id for case in CASES}) == len(CASES) == 55


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_case(echo_node, open_raw, case: Large):
    client = await open_raw(echo_node)
    payload, frames = case.payload, case.frames
    for _ in range(case.times):
        await client.send(*frames, chop=case.chop)
        answer = await client.next()
        assert (answer.opcode, len(answer.payload)) == (case.kind, case.size)
        assert answer.payload == payload
    await closed_by_the_client(client)
