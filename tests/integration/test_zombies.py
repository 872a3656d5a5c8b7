"""A node that stood still for longer than its lease must not go on as if nothing had happened."""

import asyncio

import pytest

from tests.integration.peers import call, connection_info, eventually, node_ids, only, push, push_body, unique


@pytest.fixture
def frozen(make_cluster):
    """Three nodes with short leases; the first one may be paused."""
    own = make_cluster(3, lease_s=1)
    yield own.nodes
    own.nodes[0].resume()


async def test_its_client_that_went_elsewhere_is_closed_and_gets_pushes_once(frozen, connect):
    zombie, other, third = frozen
    before = await connect(zombie, unique())
    zombie.pause()
    again = await connect(other, before.conn)
    await lease_ends(third, zombie)
    zombie.resume()
    assert (await before.closed())[0] == 4409
    delivery = only(await push(third, {"conn": before.conn}))
    assert (delivery["outcome"], delivery["node"], delivery["route"]) == (
        "delivered",
        other.node_id,
        "direct",
    )
    assert [m["type"] for m in await again.rest()] == ["hello"]


async def test_its_client_that_stayed_is_registered_again(frozen, connect):
    zombie, _, third = frozen
    client = await connect(zombie, unique())
    zombie.pause()
    await lease_ends(third, zombie)
    assert await connection_info(third, client.conn) is None
    zombie.resume()

    async def found():
        return await connection_info(third, client.conn)

    assert (await eventually(found, "the lease to run again"))["node"] == zombie.node_id
    assert only(await push(third, {"conn": client.conn}))["outcome"] == "delivered"
    assert await asyncio.to_thread(zombie.get_status, "/livez") == 200


async def test_push_that_it_reads_late_is_not_delivered_after_its_time(frozen, connect):
    zombie, _, third = frozen
    client = await connect(zombie, unique())
    await push(third, {"conn": client.conn}, type="first")
    zombie.pause()
    receipt = await push_late(third, {"conn": client.conn})
    assert receipt["outcome"] == "unknown"
    await lease_ends(third, zombie)
    zombie.resume()
    await eventually(lambda: zombie.get_status("/readyz") == 200, "the node to be ready again")
    assert [m["type"] for m in await client.rest()] == ["first"]


async def push_late(node, to):
    """Push with little time; whatever its outcome is, return the receipt."""
    answer = await call(node, "POST", "/api/v1/push", push_body(to, type="late", timeout_ms=200))
    return answer.json


async def lease_ends(node, of):
    """Wait until a node is not listed any more."""

    async def gone():
        return of.node_id not in await node_ids(node)

    await eventually(gone, "the end of the lease")
