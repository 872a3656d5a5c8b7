"""Writes what is made from the chart's values.yaml: its README and values.schema.json.

In values.yaml a key with a comment is a value, and one without is a group of values. What `config` may hold
comes from `sanic_ws.settings`. `tests/deploy/test_values.py` fails where a file is not what this writes.
"""

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sanic_ws.settings import Settings

CHART = Path(__file__).parents[1] / "helm" / "sanic-ws"
SECRET = {"redis_url", "amqp_url", "api_keys", "jwt_secret"}
OWN = {"mode", "port", "workers", "node_name"}
"""Settings that the templates set."""

RULES: dict[str, dict[str, Any]] = {
    "replicaCount": {"minimum": 0},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.repository": {"minLength": 1},
    "image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "service.type": {"enum": ["ClusterIP", "NodePort"]},
    "service.port": {"minimum": 1, "maximum": 65535},
    "serviceInternal.port": {"minimum": 1, "maximum": 65535},
    "containerPort": {"minimum": 1024, "maximum": 65535},
    "preStopSeconds": {"minimum": 0},
    "terminationMarginSeconds": {"minimum": 5},
    "terminationGracePeriodSeconds": {"minimum": 1},
    "podDisruptionBudget.minAvailable": {"type": ["integer", "string"]},
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"]},
    **{
        f"{group}.{name}": {"minimum": 1}
        for group in ("autoscaling", "keda")
        for name in ("minReplicas", "maxReplicas", "targetConnections")
    },
    **{
        f"prometheusRule.{name}": {"exclusiveMinimum": 0, "maximum": 1}
        for name in ("unknownRatio", "overloadedRatio", "fallbackRatio", "connectionsRatio", "refusedRatio")
    },
}
"""What a default does not tell of a value."""

Schema = dict[str, Any]


@dataclass
class Value:
    """A value of the chart: where it is, what it is unless given, and what its comment says."""

    path: str
    default: Any
    text: str


def read_values(text: str) -> list[Value]:
    """Return the values in the order of the file.

    Raises:
        ValueError: a value has no comment.
    """
    lines = text.splitlines()
    return list(_walk(yaml.compose(text), "", lines))


def make_schema(values: list[Value]) -> Schema:
    """Return the JSON schema (draft 7) of values.yaml."""
    schema = _group()
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    for value in values:
        *groups, name = value.path.split(".")
        place = schema
        for group in groups:
            place = place["properties"].setdefault(group, _group())
        place["properties"][name] = {"description": value.text, **_describe(value)}
    # Helm hands these to every chart that is part of another one.
    schema["properties"]["global"] = {"type": "object"}
    return schema


def make_readme(values: list[Value]) -> str:
    """Return the chart's README."""
    rows = [f"| `{v.path}` | `{_shown(v.default)}` | {v.text.replace('|', chr(92) + '|')} |" for v in values]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return "\n".join(
        [
            f"# {chart['name']}",
            "",
            f"{chart['description']}.",
            "How to install, scale and watch it: README of the project, 'Deploy' and 'Operate'.",
            "",
            "This file and `values.schema.json` are made from `values.yaml` by `python scripts/chart.py`.",
            "",
            "| value | default | is |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def files() -> dict[Path, str]:
    """Return what is made, by file."""
    values = read_values((CHART / "values.yaml").read_text())
    schema = json.dumps(make_schema(values), indent=1, ensure_ascii=False)
    return {CHART / "README.md": make_readme(values), CHART / "values.schema.json": f"{schema}\n"}


def _walk(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, child in node.value:
        path = prefix + key.value
        text = _comment(lines, key, child)
        if text:
            yield Value(path, yaml.safe_load(yaml.serialize(child)), text)
        elif isinstance(child, yaml.MappingNode) and child.value:
            yield from _walk(child, f"{path}.", lines)
        else:
            raise ValueError(f"{path} has no comment")


def _comment(lines: list[str], key: yaml.Node, child: yaml.Node) -> str:
    """Return the comment behind a value, or else the one right above its key."""
    if child.start_mark.line == key.start_mark.line:
        behind = lines[child.end_mark.line][child.end_mark.column :].strip()
        if behind.startswith("#"):
            return behind.lstrip("# ")
    above: list[str] = []
    number = key.start_mark.line
    while (number := number - 1) >= 0 and lines[number].strip().startswith("#"):
        above.insert(0, lines[number].strip().lstrip("# "))
    # The head of the file ends with an empty line.
    return " ".join(above)


def _group() -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _describe(value: Value) -> Schema:
    if value.path == "config":
        return _group() | {"properties": _settings()}
    return {"type": _type(value.default)} | RULES.get(value.path, {})


def _type(default: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(default)]


def _settings() -> Schema:
    kept = {name: field for name, field in Settings.model_fields.items() if name not in SECRET | OWN}
    return {
        name.upper(): {"description": field.description or "", **_setting(field.annotation)}
        for name, field in kept.items()
    }


def _setting(annotation: Any) -> Schema:
    if typing.get_origin(annotation) is tuple:
        return {"type": ["string", "array"], "items": {"type": "string"}}
    plain = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if annotation in plain:
        return {"type": plain[annotation]}
    if typing.get_origin(annotation) is typing.Annotated:
        return _setting(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return {"enum": list(typing.get_args(annotation))}
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {}
    raise ValueError(f"a setting of the type {annotation} is new to the chart")


def _shown(default: object) -> str:
    return json.dumps(default, ensure_ascii=False).replace("|", "\\|")


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
