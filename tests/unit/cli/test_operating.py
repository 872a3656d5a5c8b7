"""Kick and drain, with a node's answers made up."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sanic_ws.cli import app
from sanic_ws.cli.common import CallRefused


@pytest.fixture
def node(monkeypatch):
    """Stand in for a node's HTTP; holds what was asked, and gives `node.answer`, or raises it."""

    class Node(list):
        answer = None

        def __call__(self, url, path, api_key, *, method):
            self.append((url, method, path, api_key))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    node = Node()
    monkeypatch.setattr("sanic_ws.cli.operating.call", node)
    return node


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_kick_closes_a_connection(node):
    node.answer = {"conn": "a:b", "closed": True, "node": "n-1"}
    result = run("kick", "a:b", "--url", "http://node", "--api-key", "k")
    assert (result.exit_code, json.loads(result.output)) == (0, node.answer)
    assert node == [("http://node", "DELETE", "/api/v1/connections/a%3Ab", "k")]


def test_drain_has_a_node_leave(node):
    node.answer = {"node": "n/1", "draining": True}
    result = run("drain", "n/1", "--url", "http://node")
    assert (result.exit_code, json.loads(result.output)) == (0, node.answer)
    assert node == [("http://node", "POST", "/api/v1/nodes/n%2F1/drain", None)]


@pytest.mark.parametrize(("command", "line"), [("kick", "x was closed, on x"), ("drain", "x leaves")])
def test_on_a_terminal_it_is_a_line(node, monkeypatch, command, line):
    monkeypatch.setattr("sanic_ws.cli.operating.is_for_people", lambda as_json: not as_json)
    node.answer = {"node": "x"}
    assert run(command, "x").output == f"{line}\n"
    assert json.loads(run(command, "x", "--json").output) == node.answer


@pytest.mark.parametrize("command", ["kick", "drain"])
def test_what_is_not_there_is_exit_code_1(node, command):
    node.answer = CallRefused("http://node", "there is no such thing", 404)
    result = run(command, "x")
    assert (result.exit_code, result.stderr) == (1, "sanic-ws: there is no such thing\n")


@pytest.mark.parametrize("command", ["kick", "drain"])
def test_other_refusals_are_raised(node, command):
    node.answer = CallRefused("http://node", "no such key", 401)
    assert run(command, "x").exception is node.answer
