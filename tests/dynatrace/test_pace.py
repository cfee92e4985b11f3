from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynatrace.pace import Allowance, Pace, allowance_of

SECONDS = st.floats(min_value=0, max_value=10, allow_nan=False)


def departures(pace: Pace, arrivals: list[float]) -> list[float]:
    """When requests leave that arrive one after another, each waiting as long as it is told."""
    now, left = 0.0, []
    for arrival in arrivals:
        now = max(now, arrival)
        while seconds := pace.take(now):
            now += seconds
        left.append(now)
    return left


def test_without_a_ceiling_every_request_leaves_at_once() -> None:
    assert departures(Pace(None), [1.0] * 100) == [1.0] * 100


def test_requests_leave_as_far_apart_as_the_ceiling_says() -> None:
    assert departures(Pace(4), [0.0] * 5) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_request_after_a_quiet_time_leaves_at_once_and_the_next_does_not() -> None:
    assert departures(Pace(2), [0.0, 100.0, 100.0]) == [0.0, 100.0, 100.5]


def test_waking_up_late_does_not_lower_the_rate() -> None:
    pace, now = Pace(100), 0.0
    for _request in range(1_000):
        while seconds := pace.take(now):
            now += seconds + 0.001
    assert 9.9 < now < 10.1


def test_pause_holds_every_request_back_with_or_without_a_ceiling() -> None:
    for rate in (None, 1_000_000.0):
        pace = Pace(rate)
        pace.pause(5.0, 30.0)
        assert pace.take(34.0) == 1.0
        assert pace.take(35.0) == 0.0


def test_shorter_pause_does_not_end_a_longer_one() -> None:
    pace = Pace(None)
    pace.pause(0.0, 30.0)
    pace.pause(1.0, 2.0)
    assert pace.take(3.0) == 27.0


@given(
    st.floats(min_value=0.1, max_value=1_000),
    st.lists(SECONDS, min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 59), SECONDS), max_size=3),
)
def test_no_more_leave_in_any_time_than_the_ceiling_allows(
    rate: float, gaps: list[float], pauses: list[tuple[int, float]]
) -> None:
    pace, now, left = Pace(rate), 0.0, []
    for number, gap in enumerate(gaps):
        now += gap
        for position, seconds in pauses:
            if position == number:
                pace.pause(now, seconds)
        while seconds := pace.take(now):
            now += seconds
        left.append(now)
    for first in range(len(left)):
        for last in range(first, len(left)):
            assert last - first <= (left[last] - left[first] + 0.05) * rate + 1e-6


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def quota(remaining: object, resets_at: datetime | None = None, **others: str) -> dict[str, str]:
    headers = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": str(remaining), **others}
    if resets_at is not None:
        headers["X-RateLimit-Reset"] = str(int(resets_at.timestamp() * 1_000_000))
    return headers


def test_pause_that_is_over_holds_nothing_up() -> None:
    pace = Pace(None)
    assert not pace.holds_up
    pace.pause(0.0, 5)
    assert (pace.take(1.0), pace.holds_up) == (4.0, True)
    assert (pace.take(5.0), pace.holds_up) == (0.0, False)


@pytest.mark.parametrize(
    ("headers", "allowance"),
    [
        ({}, None),
        (quota("many"), None),
        (quota(7), Allowance(7, 0)),
        (quota(0, NOW + timedelta(seconds=42)), Allowance(0, 42)),
        (quota(-3, NOW - timedelta(seconds=42)), Allowance(0, 0)),
        (quota(0, NOW + timedelta(days=1)), Allowance(0, 86_400)),
        (quota(0, NOW + timedelta(days=365)), Allowance(0, 0)),
        (quota(0, NOW) | {"X-RateLimit-Reset": "soon"}, Allowance(0, 0)),
        (quota(0, NOW) | {"X-RateLimit-Reset": "9" * 400}, Allowance(0, 0)),
    ],
)
def test_quota_is_read_from_the_headers_of_an_older_cluster(
    headers: dict[str, str], allowance: Allowance | None
) -> None:
    assert allowance_of(headers, NOW) == allowance


def test_quota_is_reset_by_the_clusters_clock() -> None:
    theirs = NOW + timedelta(days=1)
    headers = quota(0, theirs + timedelta(seconds=42), Date=format_datetime(theirs, usegmt=True))
    assert allowance_of(headers, NOW) == Allowance(0, 42)
    assert allowance_of({**headers, "Date": "now"}, theirs) == Allowance(0, 42)
