import ast
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from sanic_ws.logs import _STANDARD, JsonFormatter, TextFormatter, event_log

SOURCES = Path(__file__).parents[2] / "sanic_ws"
TOLD = "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "fault"}


@pytest.fixture
def record(caplog):
    """Log an event in some way, and return its record."""
    caplog.set_level(logging.DEBUG)

    def record(log):
        log(event_log("sanic_ws.some"))
        return caplog.records[-1]

    return record


def as_json(record):
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    return json.loads(line)


def as_text(record):
    return TextFormatter().format(record)


def test_message_is_constant_and_the_fields_are_beside_it(record):
    event = as_json(record(lambda log: log.warning("Redis is away", server="r:1", tries=2, known=None)))
    time = event.pop("time")
    assert event == {
        "level": "WARNING",
        "logger": "sanic_ws.some",
        "message": "Redis is away",
        "server": "r:1",
        "tries": 2,
        "known": None,
    }
    assert len(time) == len("2026-01-01T00:00:00.000Z")


def test_time_is_rfc_3339_in_utc(record):
    logged = record(lambda log: log.info("x"))
    logged.created = 1767225600.0015
    assert as_json(logged)["time"] == "2026-01-01T00:00:00.001Z"
    assert as_text(logged) == "2026-01-01T00:00:00.001Z INFO sanic_ws.some x"


def test_text_is_a_line_for_people(record):
    line = as_text(record(lambda log: log.warning("Redis is away", server="r:1", reason="not there")))
    assert line.partition(" ")[2] == 'WARNING sanic_ws.some Redis is away server=r:1 reason="not there"'


@pytest.mark.parametrize("value", ["a\nb", 'a"b', "a=b", "", "a\u2028b", "a\x9bb", "\ud800", "ä b"])
def test_value_cannot_pass_for_more_than_one(record, value):
    logged = record(lambda log: log.warning("x", reason=value))
    line = as_text(logged)
    assert line.isascii()
    assert json.loads(line.partition("reason=")[2]) == value
    assert as_json(logged)["reason"] == value


@pytest.mark.parametrize(
    ("value", "written"),
    [(float("nan"), "nan"), (float("inf"), "inf"), (OSError("gone"), "gone"), ([1], "[1]"), (1.5, 1.5)],
)
def test_what_json_cannot_hold_is_text(record, value, written):
    assert as_json(record(lambda log: log.warning("x", value=value)))["value"] == written


def test_field_does_not_hide_what_every_line_has(caplog):
    logging.getLogger("other").warning("x", extra={"level": "mine", "time": "mine", "logger": "mine"})
    event = as_json(caplog.records[0])
    assert (event["level"], event["logger"]) == ("WARNING", "other")
    assert event["time"] != "mine"


def failing(log):
    try:
        json.loads("of\nours")
    except ValueError:
        log.exception("call failed", tries=1)


def test_exception_is_a_field(record):
    event = as_json(record(failing))
    assert (event["message"], event["tries"], event["level"]) == ("call failed", 1, "ERROR")
    assert event["exception"].startswith("Traceback")
    assert event["exception"].endswith(TOLD)


def test_fault_is_told_by_kind_and_places_without_its_text(record):
    def fail(log):
        try:
            json.loads("of\nours")
        except ValueError as exc:
            log.fault("call failed", exc, tries=1)

    event = as_json(record(fail))
    assert (event["message"], event["tries"], event["level"]) == ("call failed", 1, "ERROR")
    assert event["error"] == "JSONDecodeError"
    assert event["where"].endswith(" fail")
    assert "Expecting" not in str(event)


def test_text_has_the_trace_below(record):
    first, *rest = as_text(record(failing)).splitlines()
    assert first.endswith("call failed tries=1")
    assert rest[-1] == TOLD


def test_others_formatters_and_handlers_see_the_fields(record, caplog):
    logged = record(lambda log: log.warning("Redis is away", server="r:1"))
    assert logged.getMessage() == "Redis is away server=r:1"
    assert logged.server == "r:1"


def test_others_records_are_written_the_same_way(caplog):
    logging.getLogger("a.library").warning("%d of %d", 1, 2, extra={"where": "x y"})
    (logged,) = caplog.records
    assert (as_json(logged)["message"], as_json(logged)["where"]) == ("1 of 2", "x y")
    assert as_text(logged).endswith('WARNING a.library 1 of 2 where="x y"')


def test_the_place_is_where_it_was_logged(record):
    assert record(lambda log: log.warning("x")).filename == "test_logs.py"


# What a process writes


def run(form, level, code):
    program = (
        "import logging, warnings\n"
        "from sanic_ws.logs import configure_logging, event_log\n"
        f"configure_logging({form!r}, {level!r})\n"
        f"log = event_log('sanic_ws.some')\n{code}"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stdout == ""
    return ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("level", "logged"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")]
)
def test_level_is_the_least_that_is_logged(level, logged):
    code = "log.debug('d'); log.info('i'); log.warning('w'); log.error('e')"
    assert [json.loads(line)["message"] for line in run("json", level, code)] == list(logged)


def test_libraries_do_not_tell_payloads():
    code = (
        "for name in ('aiormq.connection', 'aio_pika.channel', 'sanic.root', 'redis', 'asyncio'):\n"
        "    logging.getLogger(name).debug('payload')\n"
        "logging.getLogger('sanic.error').error('failed')"
    )
    assert [json.loads(line)["logger"] for line in run("json", "debug", code)] == ["sanic.error"]


def test_warnings_and_the_end_are_events_too():
    warned, ended = run("json", "info", "warnings.warn('old'); raise ValueError('unknown\\n')")
    assert json.loads(warned)["logger"] == "py.warnings"
    event = json.loads(ended)
    assert (event["level"], event["message"]) == ("CRITICAL", "process failed")
    assert "ValueError" in event["exception"]


def test_text_is_written_to_standard_error():
    (line,) = run("text", "info", "log.info('draining', connections=3)")
    assert line.endswith("INFO sanic_ws.some draining connections=3")


def test_logging_that_the_application_has_set_up_stays():
    code = "logging.getLogger().handlers[0].setFormatter(logging.Formatter('mine %(message)s'))\n"
    code += "configure_logging('json', 'debug'); log.info('x', a=1); log.debug('y')"
    assert run("text", "info", code) == ["mine x a=1"]


# All of the package


def log_calls():
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, owner = node.func.attr, node.func.value
                if name in LEVELS and isinstance(owner, ast.Name) and owner.id == "log":
                    yield path.name, node


def test_every_event_of_the_package_has_a_constant_message():
    calls = list(log_calls())
    assert len(calls) > 40
    for where, call in calls:
        message, *_ = call.args
        assert isinstance(message, ast.Constant), where
        assert not set(message.value) & set("%{}\n"), (where, message.value)
        names = {keyword.arg for keyword in call.keywords} - {"exc_info"}
        assert not names & (_STANDARD | {None, "time", "level", "logger", "exception", "stack"}), where


def test_nothing_of_the_package_logs_in_another_way():
    lines = [line for path in SOURCES.rglob("*.py") for line in path.read_text("utf-8").splitlines()]
    assert [line for line in lines if line.startswith("log = ") and "event_log(" not in line] == []
