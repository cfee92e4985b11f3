"""``[reports.NAME]``: which days a report is of, and what an operator sees of a wrong one."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.config.scheduled_reports import ReportSettings, missing_extras, unwritable
from tests.config.test_configuration import GOOD, NEXT, Files

HOOK = '[hooks.duty]\ntype = "pagerduty"\nrouting_key = { env = "KEY" }\n'


def settings(**more: object) -> ReportSettings:
    return ReportSettings.model_validate({"every": "1d", "formats": ["html"], **more})


@pytest.mark.parametrize(
    ("unit", "slot", "days"),
    [
        ("day", "2026-03-01T08:00", "2026-02-28"),
        ("week", "2027-01-04T08:00", "2026-W53"),
        ("month", "2026-01-31T08:00", "2025-12"),
        ("quarter", "2026-02-01T08:00", "2025-Q4"),
        ("quarter", "2026-12-31T08:00", "2026-Q3"),
        ("year", "2026-01-01T00:00", "2025"),
    ],
)
def test_previous_days_are_those_before_the_slot(unit: str, slot: str, days: str) -> None:
    period = settings(period=f"previous {unit}").period_at(datetime.fromisoformat(slot).replace(tzinfo=UTC))
    assert period is not None
    assert period.name == days


def test_previous_days_are_by_the_clock_of_the_time_zone() -> None:
    midnight_in_vienna = datetime(2026, 10, 31, 23, tzinfo=UTC)
    period = settings(period="previous month", timezone="Europe/Vienna").period_at(midnight_in_vienna)
    assert period is not None
    assert period.name == "2026-10"


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ('formats = ["html"]', 0, "reports.r: a schedule has either cron"),
        ('every = "1d"', 0, "reports.r.formats: is missing"),
        ('every = "1d"\nformats = ["htlm"]', 2, 'unknown format "htlm"; did you mean "html"?'),
        ('every = "1d"\nformats = ["html", "html"]', 0, "formats names one twice"),
        ('every = "1d"\nformats = ["asff"]', 0, "the format asff needs aws_account"),
        ('every = "1d"\nformats = ["html"]\nhooks = ["mial"]', 3, 'unknown hook "mial"; did you mean'),
        ('every = "1d"\nformats = ["html"]\nhooks = ["duty"]', 3, 'hook "duty" is of type "pagerduty", which knows'),
        ('every = "1d"\nformats = ["html"]\nenvironments = ["dev*"]', 3, '"dev*" matches no environment'),
        (
            'every = "1d"\nformats = ["html"]\nframeworks = ["soc2"]',
            3,
            'unknown framework "soc2"; did you mean "soc-2"?',
        ),
        ('every = "1d"\nformats = ["html"]\nperiod = "next month"', 3, "'previous day'"),
        ('every = "1d"\nformats = ["html"]\nkeep = 0', 3, "reports.r.keep"),
    ],
)
def test_wrong_report_is_told_with_its_place(tmp_path: Path, table: str, line: int, said: str) -> None:
    hooks = HOOK + '[hooks.mail]\ntype = "command"\nargv = ["true"]\n'
    (problem,) = Files(tmp_path).told(f"{GOOD}{hooks}[reports.r]\n{table}\n")
    assert problem.startswith(f"auditor.toml:{NEXT + 6 + line}: "), problem
    assert said in problem


def test_directory_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reports = {"r": settings(directory="file"), "s": settings()}
    (problem,) = unwritable(reports, tmp_path, tmp_path / "state")
    assert problem.place == "reports.r.directory"
    assert "cannot be written to: File exists; name a directory" in problem.message
    assert (tmp_path / "state/reports").is_dir()


def test_format_whose_extra_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    (problem,) = missing_extras({"r": settings(formats=["html", "pdf"])})
    assert problem.place == "reports.r.formats[1]"
    assert "pip install auditor[pdf]" in problem.message
