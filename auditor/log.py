"""Sets up logging for the whole process: one event a line, JSON or console, and no secret in it whoever wrote it.

Everything that would reach standard error goes through here: structlog's events, the standard library's records (those
of aiohttp, asyncpg, apscheduler, pgqueuer and asyncio among them), warnings, and exceptions that nobody caught. The
last step looks at the rendered line. A value from outside can neither begin a line of its own nor reach the terminal:
in JSON it is escaped, on a console too, and there the lines of a traceback are indented while events are not.
"""

import asyncio
import codecs
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from auditor.damping import Damper
from auditor.redaction import may_hold_secret, redact, redact_values

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

LINE_LIMIT: Final = 12_000
"""Characters of a line at most: the journal cuts a line of more than 48 KiB in two (``LineMax=``, journald.conf(5)),
and the second part would look like a line of its own."""

_VALUE_LIMIT: Final = 2_000
_MAX_FRAMES: Final = 20
_NUMBERS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PRIORITIES: Final = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}
"""What the journal takes off the front of a line and files it under (sd-daemon(3))."""

log = structlog.get_logger(__name__)

_exception_as_data = ExceptionDictTransformer(show_locals=False, use_rich=False, max_frames=_MAX_FRAMES)


def configure(
    log_format: LogFormat = "auto",
    level: LogLevel = "info",
    stream: TextIO | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send all logging of this process to ``stream`` (standard error) as lines of ``log_format`` from ``level`` up.

    ``auto`` is console on a terminal and JSON elsewhere. Colours are for terminals, unless ``NO_COLOR`` is set; a line
    for the journal begins with its priority. What libraries log at ``info`` is about themselves, so it needs ``debug``.
    May be called again, on a reload for instance. Take ``report_loop_error`` as the event loop's exception handler.
    """
    out = sys.stderr if stream is None else stream
    sink = _Sink(stream)
    render: Processor
    if log_format == "console" or (log_format == "auto" and out.isatty()):
        render = _Console(colours=out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")
    else:
        encoding = codecs.lookup(out.encoding or "utf-8").name
        render = _Json(is_for_journal=is_journal(out, environ), is_for_utf8=encoding == "utf-8")
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _stamp, render],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=lambda *name: _Logger(sink, *name),
        cache_logger_on_first_use=False,  # else a second call would not reach loggers that were used before
    )
    handler = _RecordHandler(sink)
    if level != "debug":
        handler.addFilter(Damper())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_record], processors=[_forget_record, _stamp, render]
        )
    )
    logging.basicConfig(
        level=logging.DEBUG if level == "debug" else max(_NUMBERS[level], logging.WARNING),
        handlers=[handler],
        force=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _report_uncaught
    sys.unraisablehook = _report_unraisable
    threading.excepthook = _report_thread


def report_loop_error(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log an error that an event loop caught; for ``loop.set_exception_handler``."""
    log.error("event_loop_error", message=context.get("message"), exc_info=context.get("exception"))


def _report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught_exception", exc_info=(kind, error, trace))


def _report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    log.error("unraisable_exception", message=unraisable.err_msg, exc_info=unraisable.exc_value)


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else None
    log.error("thread_failed", thread=name, exc_info=arguments.exc_value)


class _Sink:
    """Writes whole lines to a stream, one at a time; without one to what standard error is then.

    So a progress bar that takes standard error over while it is shown has log lines pass above it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._given = stream
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        """Write a line. One that cannot be written is lost: a full disk or a closed pipe must not stop the audit."""
        stream = sys.stderr if self._given is None else self._given
        encoding = stream.encoding or "utf-8"
        with self._lock:
            try:
                stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
                stream.flush()
            except (OSError, ValueError):
                pass


class _Logger:
    """What structlog hands rendered lines to."""

    def __init__(self, sink: _Sink, name: str | None = None) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = sink.write


class _RecordHandler(logging.Handler):
    """Writes the standard library's records; unlike its own handlers, never prints what it could not format."""

    def __init__(self, sink: _Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a library's bad log call is no reason to fail, and its values may be secret
            log.warning("record_unreadable", source=f"{record.pathname}:{record.lineno}", error=type(error).__name__)
        else:
            self._sink.write(line)


def _name_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = event["_record"].name
    return event


def _forget_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    del event["_record"], event["_from_structlog"]
    return event


def _stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put what every event has in front."""
    return {
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": "error" if method == "exception" else method,
        "event": event.pop("event", ""),
        "logger": event.pop("logger", None) or getattr(logger, "name", None),
        **event,
    }


class _Json:
    """Renders an event as one line of JSON."""

    def __init__(self, *, is_for_journal: bool, is_for_utf8: bool) -> None:
        self._is_for_journal = is_for_journal
        self._is_for_utf8 = is_for_utf8

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        if "exc_info" in event:
            error = _exc_info(event.pop("exc_info"))
            if error is not None:
                event["exception"] = _exception_as_data(error)
        line = _encoded(event)
        if may_hold_secret(line):
            line = _dumped(redact_values(json.loads(line)))
        if len(line) > LINE_LIMIT:
            line = _shortened(json.loads(line))
        if not self._can_show(line):
            line = "".join(char if self._can_show(char) else _escaped(char) for char in line)
        return _PRIORITIES.get(event["level"], "<6>") + line if self._is_for_journal else line

    def _can_show(self, text: str) -> bool:
        return text.isprintable() and (self._is_for_utf8 or text.isascii())


def _encoded(event: EventDict) -> str:
    try:
        return _ENCODER.encode(event).decode()
    except (TypeError, ValueError, RecursionError):  # lone surrogates, keys that are no text, endless structures
        try:
            return _dumped(event)
        except (TypeError, ValueError, RecursionError):
            return _dumped({_described(key): _described(value) for key, value in event.items()})


def _dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_described)


def _shortened(event: Mapping[str, object]) -> str:
    """Render an event with its long values cut, so that the line keeps within its limit."""
    for share in (_VALUE_LIMIT, 500, 100):
        line = _dumped({key: _clipped_data(value, share) for key, value in event.items()})
        if len(line) <= LINE_LIMIT:
            return line
    kept = {key: _clipped_data(event.get(key), _VALUE_LIMIT) for key in ("timestamp", "level", "event", "logger")}
    return _dumped({**kept, "fields_left_out": len(event) - len(kept)})


def _clipped_data(value: object, limit: int) -> object:
    text = value if isinstance(value, str) else _dumped(value)
    return value if len(text) <= limit else _clipped(text, limit)


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def _described(value: object) -> str:
    """Say what a value is, whatever it is; used where a value is none that JSON knows."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - any object may be logged, and a log call must not fail for it
        return f"<{type(value).__name__}>"


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_described)


class _Console:
    """Renders an event for a person: a line, and the lines of a traceback indented under it."""

    def __init__(self, *, colours: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=0)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        error = _exc_info(event.pop("exc_info", None))
        shown: EventDict = {_visible(key): _visible(value) for key, value in event.items() if value is not None}
        line = redact(self._render(logger, method, shown))
        return line if error is None else f"{line}\n{_exception_as_text(error)}"


def _visible(value: object) -> str:
    text = _described(value)
    if len(text) > _VALUE_LIMIT:  # redacted first: a shape that is cut in two may no longer be known
        text = _clipped(redact(text), _VALUE_LIMIT)
    return text if text.isprintable() else repr(text)[1:-1]


def _exception_as_text(error: "_ExcInfo") -> str:
    lines = redact("".join(traceback.format_exception(*error, limit=-_MAX_FRAMES))).split("\n")
    return "\n".join(f"    {_visible(line)}" for line in lines if line)


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def _exc_info(given: object) -> _ExcInfo | None:
    """Return what ``exc_info=`` of a log call stands for: an exception, a triple, or true for the one being handled."""
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    triple = given if isinstance(given, tuple) else sys.exc_info() if given else None
    return triple if triple is not None and triple[0] is not None else None


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream is the one that systemd connected to the journal (``$JOURNAL_STREAM``, systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
