"""Arguments and exit codes; no command here reaches a server."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from sanic_ws import __version__
from sanic_ws.cli import app, main
from sanic_ws.core.outcomes import Outcome, Receipt
from sanic_ws.errors import SanicWsError

COMMANDS = ["dev", "serve", "push", "listen", "nodes", "kick", "drain", "check", "plan"]
SERVE = ["--redis-url", "redis://127.0.0.1:1", "--amqp-url", "amqp://127.0.0.1:1", "--api-keys", "a:b"]


@pytest.fixture(autouse=True)
def _log_level():
    """`check` silences the log of its process."""
    logger = logging.getLogger("sanic_ws")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SANIC_WS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Run `main` as the console script does; return exit code, output and errors."""

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", ["sanic-ws", *arguments])
        with pytest.raises(SystemExit) as caught:
            sys.exit(main())
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return run_main


@pytest.fixture
def calls(monkeypatch):
    """Stand in for a node's HTTP; holds what was asked, and gives `calls.answer`."""

    class Calls(list):
        answer: ClassVar = {"id": "p", "outcome": "delivered", "counts": {"delivered": 1}, "deliveries": []}

        def __call__(self, url, path, api_key, body=None, timeout_s=10):
            self.append((url, path, api_key, body))
            return self.answer

    calls = Calls()
    monkeypatch.setattr("sanic_ws.cli.pushing.call", calls)
    monkeypatch.setattr("sanic_ws.cli.listing.call", calls)
    return calls


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Help and version


def test_help_names_every_command(run):
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    result = run(command, "-h")
    assert (result.exit_code, "Usage" in result.output) == (0, True)


def test_help_tells_the_exit_codes(run):
    text = " ".join(run("--help").output.split())
    for words in (
        "0 done",
        "1 asked, and not done",
        "2 wrong arguments",
        "3 nobody could be asked",
        "NO_COLOR",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("words", "number", "wanted"),
    [
        ("sanic-ws pu", 1, ["push"]),
        ("sanic-ws push --wa", 2, ["--wait", "--wait-for"]),
        ("sanic-ws push --wait a", 3, ["ack"]),
        ("sanic-ws listen --no", 2, ["--no-reconnect"]),
    ],
)
def test_shells_complete(words, number, wanted):
    env = {"_SANIC_WS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    result = CliRunner().invoke(app, [], env=env, prog_name="sanic-ws")
    assert result.output.split() == wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown(run, monkeypatch, shell):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = run("--show-completion", shell)
    assert (result.exit_code, "_COMPLETE" in result.output) == (0, True)


def test_version_is_told(run):
    assert run("--version").output.strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["push", "--fly"], ["push", "--all", "--wait", "none"], ["serve", "--port", "http"]],
)
def test_what_is_no_argument_is_exit_code_2(run_main, arguments):
    code, out, err = run_main(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["dev", "serve", "check"])
def test_every_setting_has_a_flag(run, command):
    text = run(command, "--help").output
    for flag in ("--host", "--port", "--workers", "--redis-url", "--max-connections", "--drain-s"):
        assert flag in text


# push


@pytest.mark.parametrize(
    ("arguments", "to"),
    [
        (["--conn", "a"], {"conn": "a"}),
        (["--conn", "a", "--conn", "b"], {"conns": ["a", "b"]}),
        (["--user", "1", "--tenant", "7"], {"user": {"userId": "1", "tenantId": "7"}}),
        (
            ["--user", "1", "--bank", "2", "--from-type", "web"],
            {"user": {"userId": "1", "bankId": "2", "fromType": "web"}},
        ),
        (["--all"], {"all": True}),
    ],
)
def test_push_names_its_target(run, calls, arguments, to):
    result = run("push", *arguments, "--type", "t", "--data", '{"n": 1}', "--url", "http://node")
    assert result.exit_code == 0
    ((url, path, _, body),) = calls
    assert (url, path, body["to"], body["type"], body["data"]) == (
        "http://node",
        "/api/v1/push",
        to,
        "t",
        {"n": 1},
    )


def test_push_prints_the_receipt(run, calls):
    assert json.loads(run("push", "--conn", "a").output) == calls.answer


def test_push_on_a_terminal_prints_a_line_unless_json_is_asked_for(run, calls, monkeypatch):
    monkeypatch.setattr("sanic_ws.cli.pushing.is_for_people", lambda as_json: not as_json)
    assert run("push", "--conn", "a").output == "delivered  1 delivered  id p\n"
    assert json.loads(run("push", "--conn", "a", "--json").output) == calls.answer


def test_plan_is_made_for_programs_too(run):
    needs = json.loads(run("plan", "--connections", "10", "--pushes", "1", "--json").output)
    assert all(need.keys() == {"what", "number", "reasons"} for need in needs)


def test_push_hands_on_id_key_timeout_and_exceptions(run, calls):
    run("push", "--all", "--id", "7", "--api-key", "k", "--timeout", "1.5", "--except", "b")
    ((_, _, key, body),) = calls
    assert (key, body["id"], body["timeout_ms"], body["except"]) == ("k", "7", 1500, ["b"])


def test_push_without_an_id_has_none_of_its_own(run, calls):
    run("push", "--conn", "a")
    ((_, _, _, body),) = calls
    assert (body["id"], body["wait"], body["wait_for"]) == (None, "written", "all")
    assert (body["type"], body["data"]) == ("message", None)


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        (["--raw", "ä"], {"raw": "ä"}),
        (["--raw", ""], {"raw": ""}),
        (["--raw-base64", "/w=="], {"raw_base64": "/w=="}),
        (["--raw-base64", ""], {"raw_base64": ""}),
    ],
)
def test_push_takes_raw_content(run, calls, arguments, content):
    assert run("push", "--conn", "a", *arguments).exit_code == 0
    ((_, _, _, body),) = calls
    assert {name: body.get(name) for name in content} == content
    assert not {"type", "data"} & set(body)


@pytest.mark.parametrize(("outcome", "code"), [("acked", 0), ("delivered", 1), ("partial", 1)])
def test_push_that_is_to_be_confirmed_is_exit_code_0_only_if_it_is(run, calls, outcome, code):
    calls.answer = {**calls.answer, "outcome": outcome}
    assert run("push", "--user", "1", "--wait", "ack", "--wait-for", "first").exit_code == code
    ((_, _, _, body),) = calls
    assert (body["wait"], body["wait_for"]) == ("ack", "first")


def test_key_may_come_from_the_environment(run, calls, monkeypatch):
    monkeypatch.setenv("SANIC_WS_API_KEY", "from env")
    run("push", "--conn", "a")
    assert calls[0][2] == "from env"


@pytest.mark.parametrize("outcome", ["offline", "unknown", "partial", "unavailable", "overloaded"])
def test_push_that_is_not_delivered_is_exit_code_1(run, calls, outcome):
    calls.answer = {**calls.answer, "outcome": outcome}
    result = run("push", "--conn", "a")
    assert (result.exit_code, json.loads(result.output)["outcome"]) == (1, outcome)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--conn", "a", "--all"],
        ["--conn", "a", "--user", "1"],
        ["--conn", "a b"],
        ["--user", "0"],
        ["--conn", "a", "--data", "{"],
        ["--conn", "a", "--type", "connected"],
        ["--conn", "a", "--timeout", "0"],
        ["--conn", "a", "--type", ""],
        ["--conn", "a", "--data", ""],
        ["--conn", "a", "--raw", "x", "--type", "t"],
        ["--conn", "a", "--raw", "x", "--data", "1"],
        ["--conn", "a", "--raw", "x", "--raw-base64", "eA=="],
        ["--conn", "a", "--raw-base64", "eA"],
        ["--conn", "a", "--raw", "x", "--wait", "ack"],
        ["--all", "--wait", "ack"],
        ["--conn", "a", "--wait-for", "first"],
        ["--conn", "a", "--timeout", "nan"],
        ["--conn", "a", "--url", "ftp://node"],
    ],
)
def test_push_with_wrong_arguments_is_exit_code_2(run_main, arguments):
    code, out, err = run_main("push", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("sanic-ws: ")
    assert err.count("\n") == 1


def test_push_to_nobody_listening_is_exit_code_3(run_main):
    code, out, err = run_main("push", "--conn", "a", "--url", f"http://127.0.0.1:{closed_port()}")
    assert (code, out) == (3, "")
    assert "does not answer" in err


def test_push_goes_straight_where_it_has_both_urls(run, monkeypatch):
    pushed = []

    class FakePublisher:
        def __init__(self, *arguments):
            pushed.append(arguments)

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

        async def push_many(self, requests):
            return [Receipt(requests[0].id, totals={Outcome.DELIVERED: 1})]

    monkeypatch.setattr("sanic_ws.cli.pushing.Publisher", FakePublisher)
    result = run("push", "--conn", "a", "--redis-url", "redis://r", "--amqp-url", "amqp://a", "--prefix", "p")
    assert (result.exit_code, pushed) == (0, [("redis://r", "amqp://a", "p")])


# nodes


NODE = {"node": "n-1", "name": "n", "state": "ready", "connections": 3, "started": "now", "version": "1"}


def test_nodes_are_listed(run, calls):
    calls.answer = {"nodes": [NODE]}
    result = run("nodes", "--url", "http://node")
    assert (result.exit_code, calls[0][1]) == (0, "/api/v1/nodes")
    assert "n-1" in result.output
    assert "ready" in result.output


def test_nodes_are_listed_for_programs(run, calls):
    calls.answer = {"nodes": [NODE]}
    assert json.loads(run("nodes", "--json").output) == [NODE]


def test_nodes_are_read_from_the_registry(run):
    result = run("nodes", "--redis-url", "memory://unit-cli", "--json")
    assert (result.exit_code, json.loads(result.output)) == (0, [])


def test_nodes_of_nobody_listening_is_exit_code_3(run_main):
    assert run_main("nodes", "--url", f"http://127.0.0.1:{closed_port()}")[0] == 3


def test_nodes_of_a_registry_that_is_away_is_exit_code_3(run_main):
    assert run_main("nodes", "--redis-url", f"redis://127.0.0.1:{closed_port()}")[0] == 3


# listen


def test_listen_to_nobody_is_exit_code_3(run_main):
    code, out, err = run_main("listen", "--url", f"ws://127.0.0.1:{closed_port()}/ws")
    assert (code, out) == (3, "")
    assert "does not answer" in err


@pytest.mark.parametrize("arguments", [["--user", "0"], ["--url", "ftp://node"], ["--url", "node"]])
def test_listen_with_wrong_arguments_is_exit_code_2(run_main, arguments):
    code, _, err = run_main("listen", *arguments)
    assert code == 2
    assert err.startswith("sanic-ws: ")


# dev, serve, check


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["serve"], "SANIC_WS_REDIS_URL"),
        (["serve", *SERVE[:4]], "SANIC_WS_API_KEYS"),
        (["serve", *SERVE, "--lease-s", "0"], "SANIC_WS_LEASE_S"),
        (["serve", *SERVE, "--api-keys", "nokey"], "SANIC_WS_API_KEYS"),
        (["dev", "--host", "0.0.0.0"], "SANIC_WS_HOST"),
        (["dev", "--workers", "2"], "SANIC_WS_WORKERS"),
        (["check"], "SANIC_WS_REDIS_URL"),
    ],
)
def test_wrong_setting_is_one_line_and_exit_code_2(run_main, arguments, setting):
    code, out, err = run_main(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert setting in err


@pytest.fixture
def started(monkeypatch):
    """Stand in for the server: holds the settings that it would have been started with."""
    started = []
    monkeypatch.setattr("sanic_ws.cli.serving._run", lambda settings, echo: started.append((settings, echo)))
    monkeypatch.setattr("sanic_ws.cli.serving.configure_logging", lambda *_: None)
    return started


@pytest.mark.parametrize("name", ["redis-url", "amqp-url"])
def test_serve_refuses_a_url_of_an_unknown_kind_before_it_starts(run_main, started, name):
    code, _, err = run_main("serve", *SERVE, f"--{name}", "x://", "--port", str(closed_port()))
    assert (started, code) == ([], 2)
    assert f"SANIC_WS_{name.upper().replace('-', '_')}" in err


def test_dev_starts_and_prints_how_to_try_it(run, started):
    port = closed_port()
    result = run("dev", "--port", str(port), "--echo", "/echo")
    ((settings, echo),) = started
    assert (result.exit_code, settings.mode, settings.port, echo) == (0, "dev", port, "/echo")
    assert f"ws://127.0.0.1:{port}/ws" in result.output
    assert "curl" in result.output


def test_serve_starts_with_flags_and_environment(run, started, monkeypatch):
    monkeypatch.setenv("SANIC_WS_PREFIX", "mine")
    result = run("serve", *SERVE, "--port", str(closed_port()), "--max-connections", "5")
    ((settings, _),) = started
    assert (result.exit_code, settings.mode, settings.prefix, settings.max_connections) == (
        0,
        "serve",
        "mine",
        5,
    )


def test_serve_warns_of_trust_and_open_origins_by_name(run, started, caplog):
    flags = ["--trust-client-identity", "--allowed-origins", "*", "--port", str(closed_port())]
    run("serve", *SERVE, *flags)
    assert "SANIC_WS_TRUST_CLIENT_IDENTITY" in caplog.text
    assert "SANIC_WS_ALLOWED_ORIGINS" in caplog.text


def test_serve_warns_of_proxies_that_are_everybody(run, started, caplog):
    run("serve", *SERVE, "--trusted-proxies", "10.0.0.0/8,::/0", "--port", str(closed_port()))
    assert len(started) == 1
    assert 'SANIC_WS_TRUSTED_PROXIES reason="it holds ::/0' in caplog.text
    assert "10.0.0.0" not in caplog.text


def test_serve_warns_of_anonymous_clients_and_short_keys_by_name(run, started, caplog):
    run("serve", *SERVE, "--port", str(closed_port()))
    assert "SANIC_WS_JWT_SECRET" in caplog.text
    assert "SANIC_WS_API_KEYS" in caplog.text


def test_serve_warns_of_nothing_where_all_is_safe(run, started, caplog):
    safe = ["--api-keys", "a:0123456789abcdef", "--jwt-secret", "0123456789abcdef" * 2]
    run("serve", *SERVE[:4], *safe, "--port", str(closed_port()))
    assert (len(started), caplog.text) == (1, "")


@pytest.mark.parametrize("command", [["dev"], ["serve", *SERVE]])
def test_port_in_use_is_exit_code_2(run_main, command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run_main(*command, "--port", str(port))
    assert (code, out) == (2, "")
    assert str(port) in err


def test_check_of_what_works_is_exit_code_0(run):
    result = run("check", "--dev")
    assert result.exit_code == 0
    assert [line.split()[1].rstrip(",") for line in result.output.splitlines()] == ["ok"] * 3


def test_check_says_what_does_not_work(run, monkeypatch):
    monkeypatch.setattr("sanic_ws.broker.memory.MemoryBroker.wait_connected", _never)
    result = run("check", "--dev", "--redis-url", f"redis://127.0.0.1:{closed_port()}")
    assert result.exit_code == 3
    assert result.output.count("FAILED") == 2


async def _never(self, timeout_s):
    return False


def test_error_of_the_package_is_one_line_and_exit_code_3(run_main, monkeypatch):
    def fail(*_, **__):
        raise SanicWsError("[red]it[/red] broke")

    monkeypatch.setattr("sanic_ws.cli.pushing.call", fail)
    assert run_main("push", "--conn", "a") == (3, "", "sanic-ws: [red]it[/red] broke\n")
