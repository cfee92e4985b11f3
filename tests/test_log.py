"""Logging: one event a line, whoever wrote it, and nothing in it that should not be."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from auditor.damping import Damper
from auditor.log import LINE_LIMIT, configure, report_loop_error
from auditor.model.secret import Secret

PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
SECRET_PART = "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
TOKEN = f"{PUBLIC_ID}.{SECRET_PART}"

log = structlog.get_logger("auditor.tests")
any_text = st.text(st.characters(codec=None), max_size=60)
one_process_s_logging = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def said_at(seconds: float, text: str = "flush of %d items failed") -> logging.LogRecord:
    record = logging.LogRecord("library", logging.ERROR, "buffers.py", 74, text, (1,), None)
    record.created = seconds
    return record


def test_library_that_says_the_same_again_and_again_is_heard_now_and_then() -> None:
    damper = Damper()
    heard = [tenth for tenth in range(250) if damper.filter(said_at(tenth / 10))]
    assert heard == [0, 100, 200]
    assert damper.filter(said_at(25, "something else, of %d"))
    assert damper.filter(said_at(-86_400)), "after a step of the clock, too"


def test_library_is_damped_unless_all_of_it_is_asked_for() -> None:
    for level, lines in (("info", 1), ("debug", 3)):
        out = configured(level=level)
        for number in range(3):
            logging.getLogger("library").error("flush of %d items failed", number)
        assert len(events(out)) == lines


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def configured(log_format: Any = "json", level: Any = "info", stream: io.StringIO | None = None) -> io.StringIO:
    out = io.StringIO() if stream is None else stream
    configure(log_format, level, out, environ={})
    return out


def events(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().split("\n")[:-1]]


def test_event_is_one_line_of_json_with_its_instant_in_utc() -> None:
    out = configured()
    log.warning("sweep_finished", environment="prod", found=3, seconds=0.5, name="Jürgen ☂")
    event = events(out)[0]
    assert list(event)[:4] == ["timestamp", "level", "event", "logger"]
    assert datetime.fromisoformat(event.pop("timestamp")).utcoffset() == timedelta()
    assert event == {
        "level": "warning",
        "event": "sweep_finished",
        "logger": "auditor.tests",
        "environment": "prod",
        "found": 3,
        "seconds": 0.5,
        "name": "Jürgen ☂",
    }
    assert "Jürgen ☂" in out.getvalue()


def test_events_below_the_level_are_left_out_until_it_changes() -> None:
    out = configured(level="warning")
    log.info("unseen")
    configured(level="debug", stream=out)
    log.debug("seen")
    assert [event["event"] for event in events(out)] == ["seen"]


def test_libraries_are_heard_from_warning_up_and_wholly_under_debug() -> None:
    out = configured(level="info")
    library = logging.getLogger("apscheduler.scheduler")
    library.info("added job")
    library.warning("missed %s", "job")
    configured(level="debug", stream=out)
    library.debug("looking")
    assert [(event["logger"], event["level"], event["event"]) for event in events(out)] == [
        ("apscheduler.scheduler", "warning", "missed job"),
        ("apscheduler.scheduler", "debug", "looking"),
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secret_is_cut_out_whoever_wrote_the_line(log_format: str) -> None:
    out = configured(log_format)
    log.info("sent", header=f"Api-Token {TOKEN}", body={"token": "old-format-value"}, secret=Secret(TOKEN))
    logging.getLogger("aiohttp.client").warning("headers: %r", {"Authorization": f"Bearer {TOKEN}"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"postgresql://auditor:{SECRET_PART}@db/audit", stacklevel=1)
    try:
        try:
            raise ValueError(f"looked up {TOKEN}")
        except ValueError as error:
            raise RuntimeError(f"whsec_{SECRET_PART}") from error
    except RuntimeError:
        log.exception("failed")
    shown = out.getvalue()
    assert SECRET_PART not in shown
    assert "old-format-value" not in shown
    for part in ("Api-Token …", "Bearer …", "postgresql://auditor:…@db/audit", "whsec_…", f"looked up {PUBLIC_ID}.…"):
        assert part in shown


@given(key=any_text, value=any_text, event=any_text)
@example(key="token", value=TOKEN, event="token=")
@example(key='"token":"', value='\\"', event="password='\\")
@one_process_s_logging
def test_json_line_is_always_one_valid_line(key: str, value: str, event: str) -> None:
    out = configured()
    log.info(event, **{f"x{key}": value, "nested": [{f"x{key}": f"{value}{TOKEN}"}], "last": 1})
    log.info("next")
    lines = out.getvalue().splitlines()  # every line end that Unicode knows
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert json.loads(lines[0])["last"] == 1
    assert SECRET_PART not in lines[0]


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="%\\"), max_size=60))
@one_process_s_logging
def test_json_value_without_a_secret_arrives_as_it_was(value: str) -> None:
    out = configured()
    log.info("noted", name=value)
    # Beside it may be what earlier tests left to the collector of garbage, which the log tells of, too.
    (shown,) = (event["name"] for event in events(out) if event["event"] == "noted")
    assert shown == value or "…" in shown


@given(key=any_text, value=any_text, event=any_text)
@example(key="name", value="x\n2026-11-24T09:00:00.000000Z [info     ] audit_passed", event="sweep\r\x1b[2K\x9b2J")
@one_process_s_logging
def test_console_line_is_always_one_line_without_controls(key: str, value: str, event: str) -> None:
    out = configured("console")
    log.info(event, **{f"x{key}": value, "nested": [value], "token_name": f"{value}{TOKEN}"})
    assert out.getvalue().endswith("\n")
    assert out.getvalue()[:-1].isprintable()
    assert SECRET_PART not in out.getvalue()


@given(message=any_text)
@example(message="x\n2026-11-24T09:00:00.000000Z [info     ] audit_passed\x1b[2J")
@one_process_s_logging
def test_lines_of_a_traceback_on_a_console_are_indented(message: str) -> None:
    out = configured("console")
    try:
        raise ValueError(message)
    except ValueError:
        log.exception("failed")
    first, *rest = out.getvalue()[:-1].split("\n")
    assert "failed" in first
    assert any("ValueError" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_traceback_in_json_is_data_without_local_values() -> None:
    out = configured()

    def fail(local: str) -> None:
        raise ValueError("refused")

    try:
        fail("a value of a local")
    except ValueError as error:
        log.error("failed", exc_info=error)
    exception = events(out)[0]["exception"][0]
    assert (exception["exc_type"], exception["exc_value"]) == ("ValueError", "refused")
    assert [frame["name"] for frame in exception["frames"]][-1] == "fail"
    assert "a value of a local" not in out.getvalue()


class Unspeakable:
    """An object that cannot say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_values_of_any_kind_can_be_logged(log_format: str) -> None:
    out = configured(log_format)
    endless: list[Any] = []
    endless.append(endless)
    log.info("noted", path=Path("/etc"), odd={(1, 2): 3}, endless=endless, large=10**30, unspeakable=Unspeakable())
    assert "/etc" in out.getvalue()
    assert "<Unspeakable>" in out.getvalue()


def test_record_that_cannot_be_formatted_is_told_without_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    out = configured()
    logging.getLogger("library").warning("one %s", SECRET_PART, SECRET_PART)
    event = events(out)[0]
    assert (event["event"], event["error"]) == ("record_unreadable", "TypeError")
    assert "test_log.py" in event["source"]
    assert SECRET_PART not in out.getvalue() + capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * 1_000_000},
        {"name": '"' * 100_000},
        {"items": ["y" * 50] * 10_000},
        {f"key{number}": "z" * 300 for number in range(1_000)},
        {"event_text": "☂" * 100_000, "url": "db://user:" + "p" * 5_000 + SECRET_PART + "@host"},
    ],
)
def test_line_stays_short_enough_for_the_journal(fields: dict[str, Any]) -> None:
    out = configured()
    log.info("noted", **fields)
    assert len(out.getvalue()) <= LINE_LIMIT + 1
    assert events(out)[0]["event"] == "noted"
    assert SECRET_PART not in out.getvalue()


def test_auto_is_console_in_colour_on_a_terminal_and_json_elsewhere() -> None:
    assert "\x1b[" in _line_of("auto", Terminal(), {})
    assert json.loads(_line_of("auto", io.StringIO(), {}))["event"] == "noted"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(environ: dict[str, str]) -> None:
    assert "\x1b[" not in _line_of("auto", Terminal(), environ)


def test_console_has_no_colours_where_there_is_no_terminal() -> None:
    assert "\x1b[" not in _line_of("console", io.StringIO(), {})


def _line_of(log_format: Any, out: io.StringIO, environ: dict[str, str]) -> str:
    configure(log_format, "info", out, environ=environ)
    log.info("noted")
    return out.getvalue()


def test_lines_for_the_journal_begin_with_their_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal:
        status = os.fstat(journal.fileno())
        configure("auto", "info", journal, environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        log.error("failed")
        configure("auto", "info", journal, environ={"JOURNAL_STREAM": "1:1"})
        log.error("failed")
    first, second = (tmp_path / "journal").read_text().splitlines()
    assert first.startswith("<3>{")
    assert second.startswith("{")


def test_stream_that_is_not_unicode_gets_valid_json() -> None:
    raw = io.BytesIO()
    out: TextIO = io.TextIOWrapper(raw, encoding="ascii")
    configure("json", "info", out, environ={})
    log.info("noted", name="Jürgen ☂ 🜁", token=TOKEN)
    event = json.loads(raw.getvalue())
    assert (event["name"], event["token"]) == ("Jürgen ☂ 🜁", f"{PUBLIC_ID}.…")


def test_stream_that_is_gone_stops_nothing() -> None:
    out = configured()
    out.close()
    log.info("unheard")


async def test_error_in_the_event_loop_is_logged() -> None:
    out = configured()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report_loop_error)
    loop.call_soon(lambda: int(TOKEN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event = events(out)[0]
    assert (event["level"], event["event"]) == ("error", "event_loop_error")
    assert event["exception"][0]["exc_type"] == "ValueError"
    assert SECRET_PART not in out.getvalue()


@pytest.mark.parametrize(
    ("program", "event", "exit_code"),
    [
        ("raise RuntimeError(TOKEN)", "uncaught_exception", 1),
        ("t = threading.Thread(target=int, args=(TOKEN,)); t.start(); t.join()", "thread_failed", 0),
        ("class C:\n  def __del__(self): raise RuntimeError(TOKEN)\nC()", "unraisable_exception", 0),
    ],
)
def test_exception_that_nobody_caught_is_logged(program: str, event: str, exit_code: int) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, threading, auditor.log\nauditor.log.configure('json')\nTOKEN = sys.argv[1]\n{program}",
            TOKEN,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == exit_code
    assert SECRET_PART not in done.stderr
    line = json.loads(done.stderr)
    assert line["event"] == event
    assert line["exception"][0]["exc_type"] in {"RuntimeError", "ValueError"}
