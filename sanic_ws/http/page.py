"""The OpenAPI document as a page: plain HTML, without scripts and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sanic_ws.http.shapes import Schema

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin: 2rem 0 .25rem; font-family: ui-monospace, monospace; font-size: 1rem; }
h4 { margin: 1rem 0 .25rem; font-size: .9rem; color: var(--dim); }
p { margin: .25rem 0; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: .25rem .75rem .25rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; width: 12rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
nav ul { list-style: none; padding: 0; }
b { font-weight: 600; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_NOTED = {
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "{} or more",
    "maxItems": "at most {}",
    "pattern": "matches {}",
    "format": "{}",
    "default": "{} if left out",
}


def render(document: Mapping[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"].items()
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(info['summary'])}. "
        'For programs: <a href="/docs/openapi.json">openapi.json</a>, and for what goes over WebSocket and '
        'AMQP <a href="/docs/asyncapi.json">asyncapi.json</a>.'
        f"<nav><ul>{''.join(_entry(name, operation) for name, operation in operations)}</ul></nav>"
        f"<h2>Calls</h2>{''.join(part for one in operations for part in _operation(*one))}"
        f"<h2>Schemas</h2>{''.join(part for one in schemas for part in _schema(*one))}</html>"
    )


def _entry(name: str, operation: Mapping[str, Any]) -> str:
    return f'<li><a href="#{escape(operation["operationId"])}"><code>{escape(name)}</code></a>'


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(operation["operationId"])}">{escape(name)}</h3>'
    yield f"<p>{_prose(operation['summary'])}"
    yield f"<p>{_prose(operation.get('description', ''))}"
    for scopes in (scope for need in operation.get("security", ()) for scope in need.values()):
        yield f"<p>Needs an API key with the scope <code>{escape(', '.join(scopes))}</code>."
    if "parameters" in operation:
        yield "<h4>Parameters</h4>"
        yield _table(
            (parameter["name"], _field(parameter["schema"], need=parameter["required"]))
            for parameter in operation["parameters"]
        )
    if "requestBody" in operation:
        yield f"<h4>Body</h4>{_table(_contents(operation['requestBody']))}"
    yield "<h4>Answers</h4>"
    yield _table(
        (
            f"{status} {HTTPStatus(int(status)).phrase}",
            "<br>".join(schema for _, schema in _contents(response)),
            _prose(response["description"]),
        )
        for status, response in operation["responses"].items()
    )


def _contents(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(media_type, _type(one["schema"])) for media_type, one in body.get("content", {}).items()]


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f'<h3 id="{escape(name)}">{escape(name)}</h3>'
    yield f"<p>{_prose(schema.get('description', ''))}"
    yield f"<p>{_type({word: value for word, value in schema.items() if word != 'description'})}"


def _properties(schema: Schema) -> str:
    required = schema.get("required", ())
    return _table((name, _field(one, need=name in required)) for name, one in schema["properties"].items())


def _field(schema: Schema, *, need: bool) -> str:
    return f"{'<b>required</b>, ' if need else ''}{_type(schema)}"


def _type(schema: Schema) -> str:
    """Say in HTML what a schema allows."""
    about = f"; {_prose(schema['description'])}" if "description" in schema else ""
    return _kind(schema) + "".join(f", {note}" for note in _notes(schema)) + about


def _kind(schema: Schema) -> str:
    for word, show in _KINDS.items():
        if word in schema:
            return show(schema)
    return "any JSON"


def _link(schema: Schema) -> str:
    name = escape(schema["$ref"].rpartition("/")[2])
    return f'<a href="#{name}">{name}</a>'


def _names(kinds: str | list[str]) -> str:
    return escape(kinds if isinstance(kinds, str) else " or ".join(kinds))


_KINDS: dict[str, Callable[[Schema], str]] = {
    "$ref": _link,
    "const": lambda schema: _code(schema["const"]),
    "enum": lambda schema: " · ".join(_code(value) for value in schema["enum"]),
    "oneOf": lambda schema: " or ".join(_type(one) for one in schema["oneOf"]),
    "anyOf": lambda schema: " or ".join(_type(one) for one in schema["anyOf"]),
    "items": lambda schema: f"list of {_type(schema['items'])}",
    "properties": _properties,
    "type": lambda schema: _names(schema["type"]),
}


def _notes(schema: Schema) -> Iterator[str]:
    for word, text in _NOTED.items():
        if word in schema:
            yield text.format(
                _code(schema[word]) if word in ("pattern", "default") else escape(str(schema[word]))
            )
    if "not" in schema:
        yield f"not {_kind(schema['not'])}"


def _table(rows: Iterable[Iterable[str]]) -> str:
    """Make a table; the first cell of a row is text, the others are HTML."""
    lines = []
    for name, *cells in rows:
        lines.append(f"<tr><td><code>{escape(name)}</code>{''.join(f'<td>{cell}' for cell in cells)}")
    return f"<table>{''.join(lines)}</table>"


def _code(value: object) -> str:
    return f"<code>{escape(json.dumps(value))}</code>"


def _prose(text: str) -> str:
    """Make HTML of text with `code` in it."""
    parts = text.replace("``", "`").split("`")
    return "".join(f"<code>{escape(p)}</code>" if n % 2 else escape(p) for n, p in enumerate(parts))
