"""Days and periods as a command line writes them; all of them are in UTC."""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, NamedTuple

_YEAR: Final = re.compile(r"(\d{4})")
_QUARTER: Final = re.compile(r"(\d{4})-?[Qq]([1-4])")
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")
_WEEK: Final = re.compile(r"(\d{4})-?[Ww](\d{2})")
Unit = Literal["day", "week", "month", "quarter", "year"]
"""Of a calendar."""

_DAY: Final = timedelta(days=1)
_FIRST_YEAR: Final = 1970


class Period(NamedTuple):
    """Whole days, from midnight to midnight UTC."""

    name: str
    """As it was asked for: ``2026-Q3``."""
    first_day: date
    last_day: date

    @property
    def start(self) -> datetime:
        """Its first instant."""
        return datetime.combine(self.first_day, time(), UTC)

    @property
    def end(self) -> datetime:
        """Its last instant."""
        return end_of(self.last_day)


def end_of(day: date) -> datetime:
    """Return the last instant of a day, as finely as the database tells instants apart."""
    return datetime.combine(day, time.max, UTC)


def parse_period(text: str) -> Period:
    """Return the period of a year, quarter, month, ISO week or day, or from one of them to another.

    ``2026``, ``2026-Q3``, ``2026-07``, ``2026-W12``, ``2026-07-14``, ``2026-07-14/2026-08-13``. Raises ``ValueError``.
    """
    first, slash, last = text.partition("/")
    try:
        start, end = _days_of(first)
        if slash:
            end = _days_of(last)[1]
        _require_usable(start)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is no period; write 2026, 2026-Q3, 2026-07, 2026-W12, 2026-07-14 or 2026-07-14/2026-08-13'
        ) from None
    if end < start:
        raise ValueError(f'"{text}" ends before it begins')
    return Period(text, start, end)


def previous(unit: Unit, at: date) -> Period:
    """Return the last whole day, week, month, quarter or year before a day."""
    match unit:
        case "day":
            name = str(at - _DAY)
        case "week":
            name = "{:04}-W{:02}".format(*(at - 7 * _DAY).isocalendar()[:2])
        case "month":
            name = str(at.replace(day=1) - _DAY)[:7]
        case "quarter":
            name = f"{at.year - (at.month <= 3)}-Q{(at.month - 1) // 3 or 4}"
        case "year":
            name = f"{at.year - 1:04}"
    return parse_period(name)


def _days_of(text: str) -> tuple[date, date]:
    if match := _YEAR.fullmatch(text):
        return date(int(match[1]), 1, 1), date(int(match[1]), 12, 31)
    if match := _QUARTER.fullmatch(text):
        year, first = int(match[1]), 3 * int(match[2]) - 2
        return date(year, first, 1), _last_of(year, first + 2)
    if match := _MONTH.fullmatch(text):
        year, month = int(match[1]), int(match[2])
        return date(year, month, 1), _last_of(year, month)
    if match := _WEEK.fullmatch(text):
        monday = date.fromisocalendar(int(match[1]), int(match[2]), 1)
        return monday, monday + 6 * _DAY
    day = date.fromisoformat(text)
    return day, day


def _require_usable(day: date) -> None:
    """Raise ``ValueError`` for what is so early that what a report looks back on would be before the calendar."""
    if day.year < _FIRST_YEAR:
        raise ValueError("out of range")


def _last_of(year: int, month: int) -> date:
    return date(year, month, monthrange(year, month)[1])


def parse_instant(text: str) -> datetime:
    """Return the end of a day, ``2026-09-30``, or an instant, ``2026-09-30T12:00Z``; without a zone it is UTC.

    Raises ``ValueError``.
    """
    try:
        is_day = len(text) <= len("2026-09-30")
        instant = end_of(date.fromisoformat(text)) if is_day else datetime.fromisoformat(text)
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        _require_usable(instant)
    except (ValueError, OverflowError):
        raise ValueError(f'"{text}" is no day such as 2026-09-30, nor an instant such as 2026-09-30T12:00Z') from None
    return instant
