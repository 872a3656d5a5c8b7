"""``sanic-ws push``."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Literal

import typer

from sanic_ws.cli.common import (
    DEFAULT_URL,
    EXIT_NOT_DELIVERED,
    AmqpUrl,
    AsJson,
    Key,
    Prefix,
    RedisUrl,
    Url,
    call,
    is_for_people,
    print_json,
)
from sanic_ws.cli.receipts import show_receipt
from sanic_ws.core import json
from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.outcomes import Outcome
from sanic_ws.core.requests import (
    DEFAULT_TIMEOUT_S,
    Offline,
    Overflow,
    PushRequest,
    Target,
    WaitFor,
    read_base64,
)
from sanic_ws.errors import InvalidField, InvalidJSON
from sanic_ws.publishing import Publisher


def push(
    conn: Annotated[list[str] | None, typer.Option(help="to a connection; may be repeated")] = None,
    user: Annotated[str | None, typer.Option(help="to a user's devices")] = None,
    tenant: Annotated[str | None, typer.Option(help="the user's tenant")] = None,
    bank: Annotated[str | None, typer.Option(help="the user's bank")] = None,
    from_type: Annotated[str | None, typer.Option(help="only the user's devices of this kind")] = None,
    group: Annotated[str | None, typer.Option(help="to every connection of a group")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="to every connection")] = False,
    type_: Annotated[
        str | None, typer.Option("--type", help="the message's type; message by default")
    ] = None,
    data: Annotated[str | None, typer.Option(help="the message's data, JSON; null by default")] = None,
    raw: Annotated[str | None, typer.Option(help="in their place: text that is sent as it is")] = None,
    raw_base64: Annotated[str | None, typer.Option(help="in their place: a binary frame, base64")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--except", help="a connection that gets nothing")
    ] = None,
    push_id: Annotated[
        str | None, typer.Option("--id", help="the push's id: under the same one it is delivered once")
    ] = None,
    wait: Annotated[
        Literal["written", "ack", "reply"],
        typer.Option(help="for the frame to be written, its clients to confirm it, or to reply"),
    ] = "written",
    wait_for: Annotated[WaitFor, typer.Option(help="which of several devices have to answer")] = "all",
    ttl_s: Annotated[
        float | None, typer.Option("--ttl", help="seconds after which it is not sent any more")
    ] = None,
    overflow: Annotated[Overflow, typer.Option(help="what gives way if the client is slow")] = "drop",
    coalesce_key: Annotated[
        str | None, typer.Option(help="with --overflow coalesce: what only the newest of waits")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="keep it for who is away, for --ttl or 24 h")
    ] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds to wait")] = DEFAULT_TIMEOUT_S,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    redis_url: RedisUrl = None,
    amqp_url: AmqpUrl = None,
    prefix: Prefix = None,
) -> None:
    """Push a message and print the receipt.

    Over a node's HTTP with --url, or straight to the owner's queue with the URLs of Redis and RabbitMQ.
    Exit code 0: delivered, or stored with --store, or confirmed where --wait asks for that; 1: not, see the
    receipt; 2: wrong arguments; 3: nobody could be asked.
    """
    if group is None:
        to = _target(conn or [], user, tenant, bank, from_type, everyone=everyone)
    elif conn or user is not None or everyone:
        raise InvalidField("", _ONE_OF)
    else:
        to = Group(group)
    kind, value, content = _content(type_, data, raw, raw_base64)
    offline: Offline = "store" if store else "fail"
    options = (wait, timeout_s, exclude or [], wait_for, ttl_s, overflow, coalesce_key, offline)
    request = PushRequest(to, kind, value, content, push_id, *options)
    if url is None and redis_url and amqp_url:
        receipt = asyncio.run(_push_direct(request, redis_url, amqp_url, prefix))
    else:
        receipt = _push_http(request, url or DEFAULT_URL, api_key)
    if is_for_people(as_json):
        show_receipt(receipt)
    else:
        print_json(receipt)
    if not _is_done(request, receipt):
        raise typer.Exit(EXIT_NOT_DELIVERED)


def _is_done(request: PushRequest, receipt: dict[str, Any]) -> bool:
    """Say whether what was asked for is done; of what is stored some devices may have it already."""
    if request.offline == "store" and not request.asks:
        return {Outcome.DELIVERED, Outcome.STORED}.issuperset(receipt["counts"])
    return bool(receipt["outcome"] == (Outcome.ACKED if request.asks else Outcome.DELIVERED))


_ONE_OF = "give exactly one of --conn, --user, --group, --all"


def _content(
    kind: str | None, data: str | None, raw: str | None, raw_base64: str | None
) -> tuple[str | None, Any, str | bytes | None]:
    """Return type, data and raw content of what is to be sent."""
    if raw is not None or raw_base64 is not None:
        if not (kind is data is None) or (raw is not None and raw_base64 is not None):
            raise InvalidField("", "give only one of --type with --data, --raw, --raw-base64")
        return None, None, raw if raw_base64 is None else read_base64(raw_base64, "--raw-base64")
    try:
        value = None if data is None else json.loads(data)
    except InvalidJSON as exc:
        raise InvalidField("--data", str(exc)) from None
    return ("message" if kind is None else kind), value, None


def _target(
    conns: list[str],
    user: str | None,
    tenant: str | None,
    bank: str | None,
    from_type: str | None,
    *,
    everyone: bool,
) -> Target | list[Target]:
    if bool(conns) + (user is not None) + everyone != 1:
        raise InvalidField("", _ONE_OF)
    if everyone:
        return Everyone()
    if user is not None:
        return User(user, tenant, bank, from_type)
    return Conn(conns[0]) if len(conns) == 1 else [Conn(conn) for conn in conns]


async def _push_direct(
    request: PushRequest, redis_url: str, amqp_url: str, prefix: str | None
) -> dict[str, Any]:
    async with Publisher(redis_url, amqp_url, prefix) as publisher:
        (receipt,) = await publisher.push_many([request])
    return receipt.to_json()


def _push_http(request: PushRequest, url: str, api_key: str | None) -> dict[str, Any]:
    body = {
        "to": _target_json(request),
        **_content_json(request),
        "id": request.id if request.has_own_id else None,
        "wait": request.wait,
        "wait_for": request.wait_for,
        "timeout_ms": int(request.timeout_s * 1000),
        "except": list(request.exclude),
        "ttl_s": request.ttl_s,
        "overflow": request.overflow,
        "coalesce_key": request.coalesce_key,
        "offline": request.offline,
    }
    receipt: dict[str, Any] = call(url, "/api/v1/push", api_key, body, timeout_s=request.timeout_s + 5)
    return receipt


def _content_json(request: PushRequest) -> dict[str, Any]:
    if isinstance(request.raw, bytes):
        return {"raw_base64": base64.b64encode(request.raw).decode()}
    if request.raw is not None:
        return {"raw": request.raw}
    return {"type": request.type, "data": request.data}


def _target_json(request: PushRequest) -> dict[str, Any]:
    targets = request.targets
    if isinstance(targets[0], Everyone):
        return {"all": True}
    if isinstance(targets[0], Group):
        return {"group": targets[0].name}
    if isinstance(targets[0], User):
        return {"user": targets[0].to_json()}
    conns = [target.id for target in targets if isinstance(target, Conn)]
    return {"conn": conns[0]} if len(conns) == 1 else {"conns": conns}
