"""The AsyncAPI 3.0 document: what clients say and hear over WebSocket, and back ends over AMQP.

It is made of the schemas, of the types and close codes that the code knows, and of the broker's names. What
is sent and received is told from the gateway's side, as AsyncAPI has it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sanic_ws import __version__
from sanic_ws.broker.names import Names
from sanic_ws.core.closing import CloseCode
from sanic_ws.http.message_schemas import EVENTS, FROM_CLIENT, FROM_NODE, INBOUND, USER_OF_EVENT
from sanic_ws.http.openapi import JSON
from sanic_ws.http.schemas import SCHEMAS
from sanic_ws.http.shapes import TEXT, ref
from sanic_ws.http.sockets import QUERY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sanic_ws.http.shapes import Schema

    Part = dict[str, Any]

_CONTENT_TYPES = {"text": "text/plain", "binary": "application/octet-stream"}
_SHARED = {**SCHEMAS, "UserIds": USER_OF_EVENT}
_AMQP = "0.3.0"
_TRACE: Schema = {**TEXT, "description": "W3C Trace Context, with traces on"}
_CALL_PROPERTIES: Schema = {
    "type": "object",
    "description": "AMQP properties, and the header traceparent",
    "properties": {
        "reply_to": {**TEXT, "description": "a queue for the receipt; without it nobody is told"},
        "correlation_id": {**TEXT, "description": "comes back with the receipt"},
        "expiration": {**TEXT, "description": "milliseconds after which the call is not wanted any more"},
        "traceparent": _TRACE,
    },
}
_ANSWER_PROPERTIES: Schema = {"type": "object", "properties": {"correlation_id": TEXT}}
_CORRELATION = {"location": "$message.header#/correlation_id"}


def document(*, prefix: str, host: str, secure: bool, takes_tokens: bool) -> dict[str, Any]:
    """Return the document of a gateway.

    Args:
        prefix: of its broker's objects.
        host: where clients reach it, with the port.
        secure: whether they do over TLS.
        takes_tokens: whether clients prove who they are with tokens.
    """
    messages = _messages()
    names = Names(prefix, None)
    components = {"messages": messages, "schemas": _used(messages)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sanic_ws",
            "version": __version__,
            "description": "WebSocket push gateway: what clients and back ends say and hear",
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON,
        "servers": {
            "gateway": _gateway(host, secure=secure, takes_tokens=takes_tokens),
            "rabbitmq": {
                "host": "{host}",
                "protocol": "amqp",
                "protocolVersion": "0-9-1",
                "description": "as AMQP_URL says; a node with memory:// has none",
                "variables": {"host": {"default": "127.0.0.1:5672"}},
            },
        },
        "channels": _channels(names, messages),
        "operations": _operations(messages),
        "components": components | ({"securitySchemes": _SCHEMES} if takes_tokens else {}),
    }


_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "token": {"type": "httpApiKey", "in": "query", "name": "token", "description": "JWT"},
}


def _gateway(host: str, *, secure: bool, takes_tokens: bool) -> Part:
    server: Part = {"host": host, "protocol": "wss" if secure else "ws", "description": "any node"}
    if takes_tokens:
        server["description"] += "; the token comes at the handshake, or in a first message `auth`"
        server["security"] = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SCHEMES]
    return server


def _messages() -> dict[str, Part]:
    """Return all messages, by who says them and their types."""
    spoken = {f"node.{kind}": _message(kind, schema) for kind, schema in FROM_NODE.items()}
    spoken |= {f"client.{kind}": _message(kind, schema) for kind, schema in FROM_CLIENT.items()}
    spoken |= {f"event.{kind}": _message(kind, schema) for kind, schema in EVENTS.items()}
    inbound = _message("inbound", INBOUND)
    inbound["headers"] = {"type": "object", "properties": {"traceparent": _TRACE}}
    return spoken | {
        "inbound": inbound,
        "call": _call("call", "a push, or several", _CALL_PROPERTIES, "Push", "Batch"),
        "answer": _call("answer", "what became of it", _ANSWER_PROPERTIES, "Receipt", "Receipts", "Error"),
    }


def _message(kind: str, schema: Schema) -> Part:
    message = {"name": kind, "contentType": _CONTENT_TYPES.get(kind, JSON), "payload": schema}
    return message | ({"summary": schema["description"]} if "description" in schema else {})


def _call(kind: str, about: str, properties: Schema, *names: str) -> Part:
    payload = {"description": about, "anyOf": [ref(name) for name in names]}
    return _message(kind, payload) | {"headers": properties, "correlationId": _CORRELATION}


def _channels(names: Names, messages: Iterable[str]) -> dict[str, Part]:
    clients = _channel("gateway", "/ws", "a client's connection", messages, "node.", "client.")
    clients["bindings"] = {"ws": {"method": "GET", "query": {"type": "object", "properties": QUERY}}}
    clients["x-close-codes"] = {
        str(code.value): {"name": code.name.lower(), "why": code.why, "reconnect": code.reconnect}
        for code in CloseCode
    }
    calls = _channel("rabbitmq", names.rpc, "pushes from any language", messages, "call")
    queue = {"name": names.rpc, "durable": True, "exclusive": False, "autoDelete": False}
    calls["bindings"] = {"amqp": {"is": "queue", "queue": queue, "bindingVersion": _AMQP}}
    return {
        "clients": clients,
        "calls": calls,
        "answers": _channel("rabbitmq", None, "the queue that a call's reply_to names", messages, "answer"),
        "inbound": _topic(names.inbound, "what clients send to back ends", messages, "inbound"),
        "events": _topic(names.events, "connections and users that come and go", messages, "event."),
    }


def _channel(server: str, address: str | None, about: str, messages: Iterable[str], *own: str) -> Part:
    return {
        "address": address,
        "description": about,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in messages if name.startswith(own)
        },
    }


def _topic(exchange: str, about: str, messages: Iterable[str], own: str) -> Part:
    """Describe a topic exchange, whose routing key is the message's type."""
    channel = _channel("rabbitmq", "{type}", about, messages, own)
    channel["parameters"] = {"type": {"description": "the message's type, which is its routing key"}}
    described = {"name": exchange, "type": "topic", "durable": True, "autoDelete": False}
    channel["bindings"] = {"amqp": {"is": "routingKey", "exchange": described, "bindingVersion": _AMQP}}
    return channel


def _operations(messages: Iterable[str]) -> dict[str, Part]:
    calls = _operation("receive", "calls", "carry out what back ends ask for", messages, "call")
    calls["reply"] = {
        "address": {"location": "$message.header#/reply_to"},
        "channel": {"$ref": "#/channels/answers"},
        "messages": [{"$ref": "#/channels/answers/messages/answer"}],
    }
    return {
        "hear": _operation("receive", "clients", "take what a client says", messages, "client."),
        "tell": _operation("send", "clients", "tell a client, pushes included", messages, "node."),
        "carryOut": calls,
        "handOut": _operation("send", "inbound", "hand out what a client says", messages, "inbound"),
        "announce": _operation("send", "events", "tell who comes and who goes", messages, "event."),
    }


def _operation(action: str, channel: str, about: str, messages: Iterable[str], own: str) -> Part:
    at = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": at},
        "summary": about,
        "messages": [{"$ref": f"{at}/messages/{name}"} for name in messages if name.startswith(own)],
    }


def _used(messages: Mapping[str, Part]) -> dict[str, Schema]:
    """Return the shared schemas that messages refer to, and those that these refer to."""
    used: dict[str, Schema] = {}
    new = _references([messages, QUERY])
    while new:
        used |= {name: _SHARED[name] for name in new}
        new = _references(used) - used.keys()
    return dict(sorted(used.items()))


def _references(value: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(value)))
