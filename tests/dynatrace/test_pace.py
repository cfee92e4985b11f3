from hypothesis import given
from hypothesis import strategies as st

from auditor.dynatrace.pace import Pace

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
