"""Crontab lines as crontab(5) reads them, on clocks that are put forward and back."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config.crontab import cron_times

VIENNA = ZoneInfo("Europe/Vienna")
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def firings(expression: str, after: datetime, number: int, zone: str = "UTC") -> list[datetime]:
    times = cron_times(expression, ZoneInfo(zone))
    found: list[datetime] = []
    for _number in range(number):
        following = times(found[-1] if found else after)
        assert following is not None
        found.append(following)
    return found


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("6", "sat"),
        ("1-5", "mon tue wed thu fri"),
        ("5-7", "fri sat sun"),
        ("0-6", "mon tue wed thu fri sat sun"),
        ("MON,Wed", "mon wed"),
        ("fri-sun", "fri sat sun"),
        ("*/2", "tue thu sat sun"),
        ("1-5/2", "mon wed fri"),
    ],
)
def test_weekdays_count_from_sunday_as_in_cron(field: str, days: str) -> None:
    wanted = days.split()
    fired = firings(f"0 2 * * {field}", MONDAY, len(wanted))
    assert [DAYS[instant.weekday()] for instant in fired] == wanted
    assert fired[-1] < MONDAY + timedelta(days=7)


def test_day_and_weekday_are_alternatives_where_both_are_restricted() -> None:
    fired = firings("0 2 13 * 5", datetime(2026, 9, 1, tzinfo=UTC), 5)
    assert [f"{instant:%a %d}" for instant in fired] == ["Fri 04", "Fri 11", "Sun 13", "Fri 18", "Fri 25"]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "61 * * * *",
        "* * * * 8",
        "* * * * mon-",
        "* * * * 5-3",
        "* * * * 3/2",
        "a * * * *",
    ],
)
def test_what_is_no_crontab_line_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cron_times(expression, UTC)


def test_time_that_never_comes_is_none() -> None:
    assert cron_times("0 0 30 2 *", UTC)(MONDAY) is None


def test_times_are_those_of_the_zone() -> None:
    assert firings("30 2 * * *", MONDAY, 1, "Europe/Vienna") == [datetime(2026, 11, 23, 1, 30, tzinfo=UTC)]


def test_time_that_the_clocks_show_twice_counts_once() -> None:
    """On 2026-10-25 clocks in Vienna go from 3:00 back to 2:00."""
    assert firings("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), 2, "Europe/Vienna") == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize(("expression", "minutes"), [("*/15 * * * *", 15), ("20 * * * *", 60), ("0 */1 * * *", 60)])
@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/New_York"])
def test_time_of_any_hour_counts_in_both_hours_that_the_clocks_show_alike(
    expression: str, minutes: int, zone: str
) -> None:
    """On 2026-10-25 and 2026-11-01, respectively, at 01:00 and 06:00 UTC."""
    fired = firings(expression, datetime(2026, 10, 24, 22, 10, tzinfo=UTC), 9 * 24 * 60 // minutes, zone)
    assert {later - earlier for earlier, later in pairwise(fired)} == {timedelta(minutes=minutes)}


def test_time_of_any_hour_is_shown_twice_where_the_clocks_go_back_by_half_an_hour() -> None:
    """On 2026-04-05 clocks on Lord Howe Island go from 2:00 back to 1:30, at 15:00 UTC."""
    assert firings("0,40 * * * *", datetime(2026, 4, 4, 14, 30, tzinfo=UTC), 4, "Australia/Lord_Howe") == [
        datetime(2026, 4, 4, 14, 40, tzinfo=UTC),
        datetime(2026, 4, 4, 15, 10, tzinfo=UTC),
        datetime(2026, 4, 4, 15, 30, tzinfo=UTC),
        datetime(2026, 4, 4, 16, 10, tzinfo=UTC),
    ]


def test_time_that_the_clocks_skip_counts_when_they_have_skipped_it() -> None:
    """On 2026-03-29 clocks in Vienna go from 2:00 to 3:00."""
    assert firings("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), 2, "Europe/Vienna") == [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
    ]


@given(
    expression=st.sampled_from(
        ["30 2 * * *", "*/20 * * * *", "10 */2 * * *", "0 2,3 * * *", "0 4 * * 0", "15 2 29 * 1"]
    ),
    zone=st.sampled_from(["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    minutes=st.integers(0, 366 * 24 * 60),
)
def test_next_time_is_later_and_the_same_from_anywhere_before_it(expression: str, zone: str, minutes: int) -> None:
    times = cron_times(expression, ZoneInfo(zone))
    after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    following = times(after)
    assert following is not None
    assert following > after
    assert times(following - timedelta(microseconds=1)) == following
    assert times(after + (following - after) / 2) == following
