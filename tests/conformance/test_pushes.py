"""Pushes to clients that agreed on compression and to those that did not."""

import json

from tests.conformance.deflate import DEFAULT_OFFER, Deflate
from tests.conformance.raw import BINARY, TEXT, frame
from tests.integration.peers import Client, push, unique

COMPRESSED = {"headers": {"Sec-WebSocket-Extensions": DEFAULT_OFFER}}
DATA = [{"n": number, "what": "the same for all"} for number in range(50)]


async def open_on_ws(open_raw, node, sign, **options):
    client = await open_raw(node, path=f"/ws?sign={sign}", **options)
    assert json.loads((await client.next()).payload)["type"] == "connected"
    return client


async def test_push_to_all_is_the_same_frame_for_all_who_agreed_on_the_same(compressing_node, open_raw):
    agreed = [await open_on_ws(open_raw, compressing_node, unique(), **COMPRESSED) for _ in range(3)]
    plain = await open_on_ws(open_raw, compressing_node, unique())
    receipt = await push(compressing_node, {"all": True}, type="news", data=DATA)
    assert receipt["counts"] == {"delivered": 4}
    frames = [await client.next() for client in agreed]
    assert frames[0] == frames[1] == frames[2]
    message = await plain.next()
    assert (message.compressed, json.loads(message.payload)["data"]) == (False, DATA)
    assert frames[0].compressed
    assert Deflate(agreed[0].headers["sec-websocket-extensions"]).decompress(frames[0]) == message.payload
    assert len(frames[0].payload) < len(message.payload) / 4


async def test_pushes_that_come_together_keep_their_order_and_kind(compressing_node, open_raw):
    sign = unique()
    client = await open_on_ws(open_raw, compressing_node, sign, **COMPRESSED)
    deflate = Deflate(client.headers["sec-websocket-extensions"])
    texts = ["short", "long " * 200, "short again", "other " * 200]
    for text in texts:
        await push(compressing_node, {"conn": sign}, raw=text)
    await push(compressing_node, {"conn": sign}, raw_base64="AAAA" * 100)
    got = [await client.next() for _ in range(5)]
    assert [deflate.decompress(message) for message in got[:4]] == [text.encode() for text in texts]
    assert (got[4].opcode, deflate.decompress(got[4])) == (BINARY, bytes(300))
    assert [message.compressed for message in got] == [False, True, False, True, True]


async def test_what_the_node_answers_is_read_by_a_client_that_compresses(compressing_node, open_raw):
    client = await open_on_ws(open_raw, compressing_node, unique(), **COMPRESSED)
    deflate = Deflate(client.headers["sec-websocket-extensions"])
    await deflate.send(client, TEXT, json.dumps({"type": "ping", "data": DATA}).encode())
    assert json.loads(deflate.decompress(await client.next()))["data"] == DATA
    await client.send(frame(TEXT, b'{"type":"ping","data":1}'))
    assert json.loads(deflate.decompress(await client.next()))["data"] == 1


async def test_client_of_websockets_is_pushed_to_with_its_own_offer(compressing_node):
    client = await Client.open(compressing_node, unique())
    assert "permessage-deflate" in client.socket.response.headers["Sec-WebSocket-Extensions"]
    await push(compressing_node, {"conn": client.conn}, type="news", data=DATA)
    assert (await client.next("news"))["data"] == DATA
    await client.close()
