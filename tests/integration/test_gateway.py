"""A gateway in an application of one's own: handlers for what clients send."""

import sys
from pathlib import Path

import pytest

from sanic_ws import Conn, InvalidField
from sanic_ws.app import Gateway
from sanic_ws.settings import read_settings
from tests.integration.peers import Client, push, unique
from tests.servers import GatewayNode

PROGRAM = [sys.executable, str(Path(__file__).with_name("chat.py"))]


@pytest.fixture(params=["run", "attached"], scope="module")
def application(request):
    arguments = () if request.param == "run" else ("attached",)
    with GatewayNode("dev", *arguments, name="chat", program=PROGRAM) as node:
        yield node


async def test_function_answers_in_turn(application):
    client = await Client.open(application, unique())
    await client.send("length", "hello", "1")
    answer = await client.next("length")
    assert (answer["data"], answer["id"]) == ({"length": 5}, "1")
    await client.close()


async def test_coroutine_function_knows_whose_message_it_is(application):
    client = await Client.open(application, unique(), {"userId": 7, "fromType": "web"})
    await client.send("slowly", None)
    data = (await client.next("slowly"))["data"]
    assert data == {"from": client.conn, "user": {"userId": "7", "fromType": "web"}}
    await client.close()


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("faulty", 1, "internal_error"),
        ("length", 1, "internal_error"),
        ("infinite", "1e999", "invalid_json"),
        ("nobody", 1, "unhandled_type"),
    ],
)
async def test_handler_that_fails_is_told_and_the_connection_lives(application, kind, data, code):
    client = await Client.open(application, unique())
    await client.socket.send(f'{{"type":"{kind}","data":{data},"id":"9"}}')
    assert (await client.next("error"))["data"]["code"] == code
    await client.send("length", "ab")
    assert (await client.next("length"))["data"] == {"length": 2}
    await client.close()


async def test_what_a_handler_raises_is_logged_without_its_text(application):
    client, secret = await Client.open(application, unique()), unique("secret")
    await client.send("faulty", secret)
    await client.next("error")
    await client.close()
    log = application.log.read_text()
    assert "handler for a client message failed error=RuntimeError" in log
    assert "faulty" in log
    assert secret not in log


async def test_handler_pushes_through_its_gateway(application):
    one, other = [await Client.open(application, unique()) for _ in range(2)]
    await one.send("say", "hi", "1")
    assert (await other.next("said"))["data"] == "hi"
    heard = await one.next("heard")
    assert (heard["data"]["delivered"] >= 1, heard["id"]) == (True, "1")
    await one.close()
    await other.close()


async def test_handler_whose_push_breaks_the_contract_is_told(application):
    client = await Client.open(application, unique())
    await client.send("push", {"to": 1}, "1")
    assert (await client.next("error"))["data"]["code"] == "internal_error"
    await client.close()


async def test_gateway_that_does_not_run_cannot_push():
    gateway = Gateway(read_settings("dev"))
    with pytest.raises(RuntimeError, match="does not run"):
        await gateway.push(Conn("c"), "hello")
    with pytest.raises(InvalidField, match="type"):
        await gateway.push(Conn("c"))


async def test_application_with_a_gateway_takes_pushes(application):
    client = await Client.open(application, unique())
    assert (await push(application, {"conn": client.conn}))["outcome"] == "delivered"
    await client.next("hello")
    await client.close()


async def test_routes_of_the_application_stay_its_own(application):
    expected = 200 if "attached" in application._arguments else 404
    assert application.get_status("/own") == expected


@pytest.mark.parametrize("kind", ["ping", "user_info", "join", "connected", "twice"])
def test_type_that_is_taken_is_refused(kind):
    gateway = Gateway(read_settings("dev"))
    gateway.on("twice")(print)
    with pytest.raises(InvalidField):
        gateway.on(kind)(print)
