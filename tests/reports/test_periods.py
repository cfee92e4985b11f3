"""Days and periods as a command line writes them."""

from datetime import UTC, date, datetime

import pytest

from auditor.reports.period import parse_instant, parse_period


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
        ("2026-Q3", date(2026, 7, 1), date(2026, 9, 30)),
        ("2026-q4", date(2026, 10, 1), date(2026, 12, 31)),
        ("2028-02", date(2028, 2, 1), date(2028, 2, 29)),
        ("2026-12", date(2026, 12, 1), date(2026, 12, 31)),
        ("9999-12", date(9999, 12, 1), date(9999, 12, 31)),
        ("2026-W01", date(2025, 12, 29), date(2026, 1, 4)),
        ("2026-07-14", date(2026, 7, 14), date(2026, 7, 14)),
        ("2026-07-14/2026-08-13", date(2026, 7, 14), date(2026, 8, 13)),
        ("2026-Q1/2026-Q2", date(2026, 1, 1), date(2026, 6, 30)),
    ],
)
def test_period_is_of_whole_days(text: str, first: date, last: date) -> None:
    period = parse_period(text)
    assert (period.first_day, period.last_day, period.name) == (first, last, text)
    assert period.start == datetime(first.year, first.month, first.day, tzinfo=UTC)
    assert period.end == datetime(last.year, last.month, last.day, 23, 59, 59, 999_999, UTC)


@pytest.mark.parametrize(
    "text",
    ["", "Q3", "2026-Q5", "2026-13", "2026-W54", "2026-02-30", "2026-07/", "0000", "0001", "1969", "9999-W52"],
)
def test_what_is_no_period_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="is no period; write 2026, 2026-Q3"):
        parse_period(text)


def test_period_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        parse_period("2026-Q3/2026-Q1")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-09-30", datetime(2026, 9, 30, 23, 59, 59, 999_999, UTC)),
        ("2026-09-30T12:00Z", datetime(2026, 9, 30, 12, tzinfo=UTC)),
        ("2026-09-30T12:00:01+02:00", datetime(2026, 9, 30, 10, 0, 1, tzinfo=UTC)),
        ("2026-09-30T12:00", datetime(2026, 9, 30, 12, tzinfo=UTC)),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
    ],
)
def test_day_is_its_end_and_an_instant_itself(text: str, instant: datetime) -> None:
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-09-31",
        "2026-09-30T25:00",
        "0001-01-01",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-05:00",
    ],
)
def test_what_is_no_instant_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="is no day such as 2026-09-30"):
        parse_instant(text)
