"""Logs: one line per event, which is a constant message and fields, as text or as JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from math import isfinite
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from types import TracebackType

LIBRARIES = ("sanic", "aio_pika", "aiormq", "opentelemetry")
"""Heard only when they fail: below that they tell what every event here tells, and payloads."""
PLACES = 10
_OWN = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = re.compile(r"[!#-<>-~]+")
"""What needs no quotes: visible ASCII without ``"`` and ``=``."""


class Event:
    """A constant message and its fields; as text, whoever formats it, ``message key=value …``.

    Args:
        message: the same for every event of a kind.
        fields: what tells this one from others.
    """

    __slots__ = ("fields", "message")

    def __init__(self, message: str, fields: Mapping[str, Any]) -> None:
        self.message = message
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.message, *(f"{name}={_quoted(value)}" for name, value in self.fields.items())])


class EventLog(logging.LoggerAdapter[logging.Logger]):
    """Log events: ``log.warning("Redis is away", server=…)``; the fields are the record's `extra` too."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Make an event of a message and what is given by name."""
        fields = {name: value for name, value in kwargs.items() if name not in _OWN}
        kept = {name: value for name, value in kwargs.items() if name in _OWN}
        return Event(msg, fields), kept | {"extra": fields}

    def fault(self, message: str, exc: BaseException, **fields: Any) -> None:
        """Log an exception by kind and places: its text may quote what a client or a back end sent."""
        frames = reversed(extract_tb(exc.__traceback__)[-PLACES:])
        where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        self.error(message, error=type(exc).__name__, where=where, **fields)


def event_log(name: str) -> EventLog:
    """Return the log of a part."""
    return EventLog(logging.getLogger(name))


class TextFormatter(logging.Formatter):
    """Write an event for people; the trace of an exception follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Write the line."""
        event = Event(_message(record), _fields(record))
        return f"{_time(record)} {record.levelname} {record.name} {event}"


class JsonFormatter(logging.Formatter):
    """Write an event as a JSON object on a line.

    ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, the fields, and ``exception`` and ``stack``
    where there are any. ASCII only, so that every line is one for every reader.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _fields(record).items():
            event.setdefault(name, _plain(value))
        if record.exc_info and record.exc_info[0]:
            event.setdefault("exception", self.formatException(record.exc_info))
        if record.stack_info:
            event.setdefault("stack", record.stack_info)
        return json.dumps(event)


def configure_logging(form: str, level: str) -> None:
    """Log to standard error, the libraries and what ends the process included.

    Does nothing where the application has set up logging itself.

    Args:
        form: ``text`` or ``json``.
        level: of the least that is logged: ``debug``, ``info``, ``warning`` or ``error``.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root.addHandler(handler)
    least = getattr(logging, level.upper())
    logging.getLogger("sanic_ws").setLevel(least)
    root.setLevel(max(least, logging.INFO))
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_end


def _log_end(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        event_log("sanic_ws").critical("process failed", exc_info=(kind, exc, trace))
    else:
        sys.__excepthook__(kind, exc, trace)


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    return record.msg.message if isinstance(record.msg, Event) else record.getMessage()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)


def _quoted(value: Any) -> str:
    """Write a value so that it cannot be taken for another field, or another line."""
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
