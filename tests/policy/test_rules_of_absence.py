"""DT-STA-03 and DT-STA-04: tokens that lookups do not find, and those that they find again."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.model.finding import Violation
from tests.policy.history_samples import Sight, gone, graded, judged, shown, sight
from tests.policy.policy_samples import DAY, HOUR, NOW, SECOND, policy_of

NO = None
START = NOW - 300 * DAY
KEPT = 30 * DAY
ZERO = timedelta()


def said_of(violation: Violation | None) -> Violation:
    assert violation is not None
    return violation


def vanished(*, last_found_at: datetime = NOW - DAY, misses: int = 2, **fields: Any) -> list[Sight]:
    """Lookups that found a token until ``last_found_at``, and from NOW on, an hour apart, did not."""
    fields = {"last_used_date": NOW - 100 * DAY, **fields}
    return [
        sight(START, **fields),
        sight(last_found_at, **fields),
        *(gone(NOW + number * HOUR) for number in range(misses)),
    ]


# Vanished


@pytest.mark.parametrize(
    ("confirm_sweeps", "misses", "expected"),
    [(2, 1, NO), (2, 2, "medium"), (2, 3, "medium"), (1, 1, "medium"), (3, 2, NO)],
)
def test_sta_03_waits_for_so_many_sweeps_that_miss_the_token(
    confirm_sweeps: int, misses: int, expected: str | None
) -> None:
    assert graded(policy_of("DT-STA-03", confirm_sweeps=confirm_sweeps), vanished(misses=misses)) == expected


def test_sta_03_says_nothing_of_a_token_that_is_found() -> None:
    policy = policy_of("DT-STA-03")
    assert judged(policy, [*vanished(), sight(NOW + DAY)]) is None
    assert judged(policy, [sight(NOW - DAY), sight(NOW)]) is None


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (None, "medium"),
        (NOW + SECOND, "medium"),
        # Missing from its end on, and found before it: it was deleted by hand, perhaps before its end.
        (NOW, "medium"),
        (NOW - HOUR, "medium"),
        (NOW - DAY + SECOND, "medium"),
        # Last found at its end or later: somebody tidied up.
        (NOW - DAY, NO),
        (NOW - 2 * DAY, NO),
        (NOW - 7 * DAY, NO),
    ],
)
def test_sta_03_reads_a_deletion_after_the_end_as_ordinary(end: datetime | None, expected: str | None) -> None:
    assert graded(policy_of("DT-STA-03"), vanished(expiration_date=end)) == expected


@pytest.mark.parametrize(
    ("purge_days", "end", "expected"),
    [
        (7, NOW - 7 * DAY + SECOND, "medium"),
        (7, NOW - 7 * DAY, NO),
        (7, NOW - 7 * DAY - SECOND, NO),
        (10, NOW - 10 * DAY + SECOND, "medium"),
        (10, NOW - 10 * DAY, NO),
    ],
)
def test_sta_03_reads_a_token_that_had_been_expired_for_long_enough_as_purged(
    purge_days: int, end: datetime, expected: str | None
) -> None:
    seen = vanished(last_found_at=NOW - 20 * DAY, expiration_date=end)
    assert graded(policy_of("DT-STA-03", purge_days=purge_days), seen) == expected


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (NOW - 7 * DAY - SECOND, "medium"),
        (NOW - 7 * DAY, "high"),
        (NOW - 7 * DAY + SECOND, "high"),
        (NOW + SECOND, "high"),
        (None, "medium"),
    ],
)
def test_sta_03_is_high_for_a_token_that_was_in_use(used: datetime | None, expected: str) -> None:
    assert graded(policy_of("DT-STA-03"), vanished(last_used_date=used)) == expected
    later = vanished(last_used_date=used, misses=24 * 20)
    assert graded(policy_of("DT-STA-03"), later) == expected, "that it is in use is judged when it vanished"


def test_sta_03_tells_the_same_until_it_is_kept_no_longer() -> None:
    policy = policy_of("DT-STA-03")
    seen = vanished(expiration_date=NOW + DAY)
    first = said_of(judged(policy, seen))
    assert first.message == (
        "deleted between 2026-06-14 12:00 UTC and 2026-06-15 12:00 UTC, before its expiration on 2026-06-16; "
        "last used on 2026-03-07"
    )
    assert first.evidence["reading"] == "revoked"
    assert judged(policy, [*seen, gone(NOW + KEPT - SECOND)]) == first, "though the end has passed"
    assert judged(policy, [*seen, gone(NOW + KEPT)]) is None


def test_sta_03_is_silent_where_the_token_vanished_before_rules_look_back() -> None:
    policy = policy_of("DT-STA-03")
    seen = [*vanished(), gone(NOW + 60 * DAY), gone(NOW + 90 * DAY)]
    observation, history = shown(*seen, look_back=policy.lookback)
    assert history.states == ()
    assert policy.evaluate(observation, history, observation.at) == []


@pytest.mark.parametrize(("misses", "expected"), [(1, NO), (2, "medium"), (9, "medium")])
def test_sta_03_reads_a_token_that_was_never_found_as_one_of_another_environment(
    misses: int, expected: str | None
) -> None:
    seen = [gone(NOW + number * HOUR) for number in range(misses)]
    violation = judged(policy_of("DT-STA-03"), seen)
    assert (violation and violation.severity) == expected
    if violation is not None:
        assert violation.evidence == {
            "reading": "wrong environment",
            "first_seen_at": "2026-06-15T12:00:00Z",
            "missing_since": "2026-06-15T12:00:00Z",
        }


def test_sta_03_speaks_of_a_token_that_was_never_found_as_long_as_of_others() -> None:
    policy = policy_of("DT-STA-03")
    seen = [gone(NOW), gone(NOW + DAY)]
    assert judged(policy, [*seen, gone(NOW + KEPT - SECOND)]) is not None
    assert judged(policy, [*seen, gone(NOW + KEPT)]) is None


@pytest.mark.parametrize("first", [[sight(START)], []])
def test_sta_03_is_not_skipped_where_the_confirming_sweep_comes_late(first: list[Sight]) -> None:
    policy = policy_of("DT-STA-03")
    seen = [*first, gone(NOW), gone(NOW + 50 * DAY)]
    assert judged(policy, seen) is not None
    assert judged(policy, [*seen, gone(NOW + 51 * DAY)]) is None
    assert policy.lookback == 60 * DAY


def test_sta_03_applies_where_its_selectors_select_what_was_last_found() -> None:
    assert graded(policy_of("DT-STA-03", exempt=[{"owner": "svc-ingest"}]), vanished()) is None
    assert graded(policy_of("DT-STA-03", only=[{"owner": "svc-ingest"}]), vanished()) == "medium"
    never = [gone(NOW), gone(NOW + HOUR)]
    assert graded(policy_of("DT-STA-03", only=[{"owner": "svc-ingest"}]), never) is None
    assert graded(policy_of("DT-STA-03", only=[{"environment": "prod"}]), never) == "medium"


@pytest.mark.parametrize("table", [{"purge_days": 0}, {"confirm_sweeps": 0}, {"recent_use_days": -1}, {"keep_days": 0}])
def test_sta_03_refuses_parameters_that_mean_nothing(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy_of("DT-STA-03", **table)


# Came back


def returned(misses: int, back: datetime = NOW) -> list[Sight]:
    return [
        sight(START),
        sight(back - 9 * DAY),
        *(gone(back - number * HOUR) for number in range(misses, 0, -1)),
        sight(back),
    ]


@pytest.mark.parametrize(
    ("confirm_sweeps", "misses", "expected"),
    [(2, 0, NO), (2, 1, NO), (2, 2, "high"), (2, 3, "high"), (1, 1, "high"), (3, 2, NO), (3, 3, "high")],
)
def test_sta_04_fires_after_so_many_sweeps_that_missed_the_token(
    confirm_sweeps: int, misses: int, expected: str | None
) -> None:
    assert graded(policy_of("DT-STA-04", confirm_sweeps=confirm_sweeps), returned(misses)) == expected


def test_sta_04_tells_the_same_until_it_is_kept_no_longer() -> None:
    policy = policy_of("DT-STA-04")
    first = said_of(judged(policy, returned(3)))
    assert first.message == (
        "missing in 3 sweeps from 2026-06-15 09:00 UTC on, and found again: it came back between 2026-06-15 11:00 UTC "
        "and 2026-06-15 12:00 UTC"
    )
    assert judged(policy, [*returned(3), sight(NOW + KEPT - SECOND)]) == first
    assert judged(policy, [*returned(3), sight(NOW + KEPT)]) is None


def test_sta_04_tells_of_the_last_return() -> None:
    seen = [*returned(4), *returned(2, NOW + 20 * DAY)[2:]]
    assert said_of(judged(policy_of("DT-STA-04"), seen)).evidence["misses"] == 2
    shorter = [*returned(4), *returned(1, NOW + 20 * DAY)[2:]]
    assert said_of(judged(policy_of("DT-STA-04"), shorter)).evidence["misses"] == 4


def test_sta_04_fires_for_a_token_that_was_missing_from_the_first_lookup_on() -> None:
    seen = [gone(NOW - 2 * HOUR), gone(NOW - HOUR), sight(NOW)]
    assert graded(policy_of("DT-STA-04"), seen) == "high"


def test_sta_04_speaks_of_found_tokens_only() -> None:
    assert judged(policy_of("DT-STA-04"), [*returned(2), gone(NOW + HOUR)]) is None
