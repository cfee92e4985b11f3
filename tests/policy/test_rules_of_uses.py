"""DT-USE-03 to DT-USE-06 and DT-NET-02 to DT-NET-04: what the uses of a token show, one after the other."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.model.finding import Violation
from tests.policy.history_samples import Sight, gone, graded, judged, sight
from tests.policy.policy_samples import DAY, HOUR, NOW, SECOND, policy_of

NO = None
START = NOW - 300 * DAY
KEPT = 30 * DAY
MINUTE = timedelta(minutes=1)
HERE = "203.0.113.7"


def said_of(violation: Violation | None) -> Violation:
    assert violation is not None
    return violation


def used(at: datetime, when: datetime | None, address: str | None = HERE, **fields: Any) -> Sight:
    return sight(at, last_used_date=when, last_used_ip_address=address, **{"creation_date": START, **fields})


def daily(*addresses: str | None, until: datetime = NOW) -> list[Sight]:
    """Return a lookup a day, the last one now, each with a use of an hour before from these addresses."""
    days = len(addresses) - 1
    return [
        used(until - (days - number) * DAY, until - (days - number) * DAY - HOUR, address)
        for number, address in enumerate(addresses)
    ]


# Woke up


@pytest.mark.parametrize(
    ("idle", "expected"), [(45 * DAY - SECOND, NO), (45 * DAY, "high"), (45 * DAY + SECOND, "high"), (-99 * DAY, NO)]
)
def test_use_03_fires_from_so_many_idle_days_on(idle: timedelta, expected: str | None) -> None:
    woke = NOW - HOUR
    seen = [used(woke - idle, woke - idle), used(NOW - DAY, woke - idle), used(NOW, woke)]
    assert graded(policy_of("DT-USE-03"), seen) == expected
    assert graded(policy_of("DT-USE-03", idle_days=46), seen) is None


@pytest.mark.parametrize(("age", "expected"), [(45 * DAY - SECOND, NO), (45 * DAY, "high")])
def test_use_03_counts_from_creation_to_a_first_use(age: timedelta, expected: str | None) -> None:
    policy = policy_of("DT-USE-03")
    created: dict[str, Any] = {"creation_date": NOW - age}
    seen = [used(NOW - 2 * DAY, None, None, **created), used(NOW - DAY, None, None, **created)]
    first = [*seen, used(NOW + HOUR, NOW, **created)]
    assert graded(policy, first) == expected
    assert graded(policy, [*first, used(NOW + DAY, NOW, **created)]) == expected
    assert graded(policy, [*first, used(NOW + DAY, NOW + DAY, **created)]) == expected
    assert graded(policy, [*seen, used(NOW, NOW, creation_date=None)]) is None


def test_use_03_is_silent_of_what_the_first_lookup_found() -> None:
    policy = policy_of("DT-USE-03")
    assert judged(policy, [used(NOW, NOW - HOUR)]) is None
    assert judged(policy, [used(NOW - DAY, NOW - 2 * DAY), used(NOW, NOW - 2 * DAY)]) is None
    assert judged(policy, [used(NOW - DAY, NOW - 2 * DAY), used(NOW, NOW - HOUR)]) is None


def test_use_03_tells_the_same_whatever_uses_follow_until_it_is_kept_no_longer() -> None:
    policy = policy_of("DT-USE-03")
    seen = [used(START, START), used(NOW - DAY, START), used(NOW, NOW - HOUR, "198.51.100.9")]
    first = said_of(judged(policy, seen))
    assert first.message == (
        "idle from 2025-08-19 until 2026-06-15 11:00 UTC, 299 days later, then used from 198.51.100.9"
    )
    for days in range(1, 30):
        seen.append(used(NOW + days * DAY, NOW + days * DAY - HOUR))
        assert judged(policy, seen) == first
    assert judged(policy, [*seen, used(NOW + KEPT - SECOND, NOW + 29 * DAY)]) == first
    assert judged(policy, [*seen, used(NOW + KEPT, NOW + 29 * DAY)]) is None


def test_use_03_sees_a_use_after_the_token_was_missing() -> None:
    seen = [used(START, START), gone(NOW - DAY), used(NOW, NOW - HOUR)]
    assert graded(policy_of("DT-USE-03"), seen) == "high"


# Used while expired or disabled


@pytest.mark.parametrize(
    ("after_end", "skew", "expected"),
    [
        (timedelta(), 300, NO),
        (300 * SECOND, 300, NO),
        (301 * SECOND, 300, "critical"),
        (timedelta(), 0, NO),
        (SECOND, 0, "critical"),
    ],
)
def test_use_04_fires_for_a_use_past_the_end(after_end: timedelta, skew: int, expected: str | None) -> None:
    end = NOW - HOUR
    seen = [used(NOW - DAY, NOW - 2 * DAY, expiration_date=end), used(NOW, end + after_end, expiration_date=end)]
    assert graded(policy_of("DT-USE-04", skew_seconds=skew), seen) == expected


def test_use_04_needs_an_end_and_a_use_that_came_in_between() -> None:
    policy = policy_of("DT-USE-04")
    assert judged(policy, [used(NOW - DAY, NOW - 2 * DAY), used(NOW, NOW)]) is None
    end: dict[str, Any] = {"expiration_date": NOW - 9 * DAY}
    assert judged(policy, [used(NOW, NOW - DAY, **end)]) is None
    assert judged(policy, [used(NOW - HOUR, NOW - DAY, **end), used(NOW, NOW - DAY, **end)]) is None
    assert judged(policy, [used(NOW - HOUR, None, **end), used(NOW, NOW - DAY, **end)]) is not None, "a first use"


@pytest.mark.parametrize(("end_now", "expected"), [(NOW + DAY, NO), (None, NO), (NOW - 3 * DAY, "critical")])
def test_use_04_is_taken_back_by_a_later_end(end_now: datetime | None, expected: str | None) -> None:
    end: dict[str, Any] = {"expiration_date": NOW - 2 * DAY}
    seen = [used(START, START, **end), used(NOW - HOUR, NOW - DAY, **end)]
    assert graded(policy_of("DT-USE-04"), seen) == "critical"
    assert graded(policy_of("DT-USE-04"), [*seen, used(NOW, NOW - DAY, expiration_date=end_now)]) == expected


def test_use_04_judges_a_use_by_the_end_of_its_time() -> None:
    policy = policy_of("DT-USE-04")
    seen = [used(START, START), used(NOW - DAY, NOW - 2 * DAY), used(NOW, NOW - 2 * DAY, expiration_date=START)]
    assert judged(policy, seen) is None, "an end that was moved to before the use is DT-EXP-07's"


@pytest.mark.parametrize(
    ("after_sight", "expected"),
    [(-HOUR, NO), (timedelta(), NO), (300 * SECOND, NO), (301 * SECOND, "critical"), (HOUR, "critical")],
)
@pytest.mark.parametrize("has_changed", [True, False])
def test_use_04_fires_for_a_use_after_a_lookup_saw_the_token_disabled(
    after_sight: timedelta, expected: str | None, has_changed: bool
) -> None:
    disabled_at = NOW - DAY
    before = [used(START, START)] if has_changed else []
    seen = [
        *before,
        used(disabled_at, START, enabled=False),
        used(NOW, disabled_at + after_sight, enabled=False),
    ]
    assert graded(policy_of("DT-USE-04"), seen) == expected


def test_use_04_does_not_blame_a_use_that_may_have_come_after_enabling() -> None:
    seen = [used(START, START, enabled=False), used(NOW, NOW - HOUR, enabled=True)]
    assert judged(policy_of("DT-USE-04"), seen) is None
    between = [used(START, START, enabled=False), used(NOW - DAY, START), used(NOW, NOW - HOUR, enabled=False)]
    assert judged(policy_of("DT-USE-04"), between) is None


def test_use_04_outlives_the_disabled_state_and_later_uses() -> None:
    policy = policy_of("DT-USE-04")
    seen = [
        used(START, START),
        used(NOW - 2 * DAY, START, enabled=False),
        used(NOW, NOW - DAY, "198.51.100.9", enabled=False),
    ]
    first = said_of(judged(policy, seen))
    assert first.message == (
        "used on 2026-06-14 12:00 UTC from 198.51.100.9, though disabled since 2026-06-13 12:00 UTC at the latest"
    )
    seen.append(used(NOW + DAY, NOW + DAY - HOUR))
    assert judged(policy, seen) == first
    assert judged(policy, [*seen, used(NOW + KEPT - SECOND, NOW + 2 * DAY)]) == first
    assert judged(policy, [*seen, used(NOW + KEPT, NOW + 2 * DAY)]) is None


def test_use_04_keeps_count_over_a_change_while_disabled() -> None:
    seen = [
        used(START, START, enabled=False),
        used(NOW - DAY, START, enabled=False, name="other"),
        used(NOW, NOW - 2 * DAY, enabled=False, name="other"),
    ]
    assert graded(policy_of("DT-USE-04"), seen) == "critical"


# Heartbeat


def beats(count: int, gap: timedelta = HOUR, **fields: Any) -> list[Sight]:
    """Return lookups that saw a new use each, ``gap`` apart, the last one now."""
    return [used(NOW - n * gap, NOW - n * gap, **fields) for n in range(count - 1, -1, -1)]


@pytest.mark.parametrize(
    ("count", "silence", "expected"),
    [
        (10, 5 * HOUR - SECOND, NO),
        (10, 5 * HOUR, NO),
        (10, 5 * HOUR + SECOND, "low"),
        (10, 5 * HOUR + KEPT - SECOND, "low"),
        (10, 5 * HOUR + KEPT, NO),
        (9, DAY, NO),
        (11, DAY, "low"),
        (64, DAY, "low"),
    ],
)
def test_use_05_fires_once_a_regular_token_was_silent_for_so_many_gaps(
    count: int, silence: timedelta, expected: str | None
) -> None:
    seen = [*beats(count), used(NOW + silence, NOW)]
    assert graded(policy_of("DT-USE-05"), seen) == expected


def test_use_05_takes_the_operators_numbers() -> None:
    seen = [*beats(12), used(NOW + 3 * HOUR, NOW)]
    assert graded(policy_of("DT-USE-05", gaps=2), seen) == "low"
    assert graded(policy_of("DT-USE-05", gaps=3), seen) is None
    assert graded(policy_of("DT-USE-05", gaps=2, sweeps=13), seen) is None


def test_use_05_ends_with_the_next_use_or_when_the_silence_is_no_surprise() -> None:
    policy = policy_of("DT-USE-05")
    assert judged(policy, [*beats(12), used(NOW + DAY, NOW + DAY - HOUR)]) is None
    assert judged(policy, [*beats(12), used(NOW + DAY, NOW, enabled=False)]) is None
    assert judged(policy, [*beats(12), used(NOW + DAY, NOW, expiration_date=NOW + DAY)]) is None
    assert judged(policy, [*beats(12), used(NOW + DAY, NOW, expiration_date=NOW + DAY + SECOND)]) is not None


def test_use_05_takes_no_token_for_regular_that_was_as_silent_before() -> None:
    policy = policy_of("DT-USE-05")
    pause = [used(at - 5 * HOUR, at - 5 * HOUR) for at, *_ in beats(12)[:6]]
    exact = [*pause, *beats(12)[6:]]
    assert graded(policy, [*exact, used(NOW + 6 * HOUR, NOW)]) is None, "a gap of six hours was among its uses"
    allowed = [used(at - 4 * HOUR, at - 4 * HOUR) for at, *_ in beats(12)[:6]]
    assert graded(policy, [*allowed, *beats(12)[6:], used(NOW + 6 * HOUR, NOW)]) == "low"


def test_use_05_counts_a_use_once_whatever_addresses_it_is_told_with() -> None:
    seen = [*beats(9), used(NOW + MINUTE, NOW, "198.51.100.9"), used(NOW + DAY, NOW, "198.51.100.9")]
    assert judged(policy_of("DT-USE-05"), seen) is None


@pytest.mark.parametrize(
    ("gap", "words"), [(DAY * 2, "2 days"), (HOUR, "60 minutes"), (3 * HOUR, "3 hours"), (SECOND, "1 minute")]
)
def test_use_05_says_how_often_the_token_was_used(gap: timedelta, words: str) -> None:
    violation = said_of(judged(policy_of("DT-USE-05"), [*beats(10, gap), used(NOW + 5 * gap + SECOND, NOW)]))
    assert violation.message == f"used about every {words}, and not since 2026-06-15 12:00 UTC"


@pytest.mark.parametrize("table", [{"sweeps": 9}, {"sweeps": 51}, {"gaps": 1}, {"gaps": 101}])
def test_use_05_refuses_parameters_that_history_cannot_serve(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy_of("DT-USE-05", **table)


# Impossible dates


@pytest.mark.parametrize(
    ("field", "rule_fires"), [("last_used_date", True), ("modified_date", True), ("expiration_date", False)]
)
@pytest.mark.parametrize(
    ("back", "skew", "is_far"),
    [(300 * SECOND, 300, False), (301 * SECOND, 300, True), (SECOND, 0, True), (-DAY, 0, False)],
)
def test_use_06_fires_where_a_date_moved_back(
    field: str, rule_fires: bool, back: timedelta, skew: int, is_far: bool
) -> None:
    same = {"creation_date": START, "last_used_date": START}
    seen = [
        sight(START, **same),
        sight(NOW - DAY, **same | {field: NOW - 9 * DAY}),
        sight(NOW, **same | {field: NOW - 9 * DAY - back}),
    ]
    expected = "high" if rule_fires and is_far else None
    assert graded(policy_of("DT-USE-06", skew_seconds=skew), seen) == expected


@pytest.mark.parametrize("field", ["last_used_date", "modified_date", "creation_date"])
@pytest.mark.parametrize(
    ("ahead", "skew", "expected"),
    [(300 * SECOND, 300, NO), (301 * SECOND, 300, "high"), (SECOND, 0, "high"), (timedelta(), 0, NO)],
)
def test_use_06_fires_where_a_date_lies_in_the_future(
    field: str, ahead: timedelta, skew: int, expected: str | None
) -> None:
    same = {"creation_date": START, "last_used_date": NOW - 2 * DAY}
    seen = [sight(NOW - DAY, **same), sight(NOW, **same | {field: NOW + ahead})]
    if field == "creation_date":
        seen[0] = sight(NOW - DAY, **same | {field: NOW + ahead})
    assert graded(policy_of("DT-USE-06", skew_seconds=skew), seen) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"creation_date": START + SECOND}, "high"),
        ({"creation_date": START - SECOND}, "high"),
        ({"creation_date": None}, NO),
        ({"creation_date": START - SECOND, "id": "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA"}, NO),
        ({"creation_date": START, "name": "other"}, NO),
    ],
)
def test_use_06_fires_where_the_creation_date_of_one_id_changes(changes: dict[str, Any], expected: str | None) -> None:
    seen = [sight(NOW - DAY, creation_date=START), sight(NOW, **changes)]
    assert graded(policy_of("DT-USE-06"), seen) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"last_used_date": NOW - 2 * DAY}, {"last_used_date": NOW - 9 * DAY}),
        ({"modified_date": NOW - 2 * DAY}, {"modified_date": NOW - 9 * DAY}),
        ({"creation_date": START}, {"creation_date": START + DAY}),
        ({"last_used_date": NOW - 2 * DAY}, {"last_used_date": NOW + HOUR}),
        ({"modified_date": NOW - 2 * DAY}, {"modified_date": NOW + HOUR}),
    ],
)
def test_use_06_tells_the_same_until_it_is_kept_no_longer(before: dict[str, Any], after: dict[str, Any]) -> None:
    policy = policy_of("DT-USE-06")
    before = {"creation_date": START, "last_used_date": START, **before}
    after = {**before, **after}
    seen = [sight(NOW - DAY, **before), sight(NOW, **after)]
    first = said_of(judged(policy, seen))
    assert len(first.evidence["dates"]) == 1
    for later in (HOUR, DAY, KEPT - SECOND):
        assert judged(policy, [*seen, sight(NOW + later, **after)]) == first, later
    assert judged(policy, [*seen, sight(NOW + KEPT, **after)]) is None


def test_use_06_says_the_same_of_a_future_date_at_every_lookup() -> None:
    policy = policy_of("DT-USE-06")
    future = {"last_used_date": NOW - 9 * DAY, "creation_date": NOW + 90 * DAY}
    seen = [sight(NOW - DAY, **future), sight(NOW, **future)]
    first = said_of(judged(policy, seen))
    assert first.message == "creationDate 2026-09-13 12:00 UTC lay in the future when a lookup showed it"
    for days, expected in ((1, first), (80, first), (89, first), (90, None), (91, None)):
        assert judged(policy, [*seen, sight(NOW + days * DAY, **future)]) == expected, days


def test_use_06_counts_what_is_odd_and_tells_of_the_last() -> None:
    first = {"last_used_date": NOW - 3 * DAY, "modified_date": NOW - 3 * DAY, "creation_date": START}
    seen = [
        sight(NOW - DAY, **first),
        sight(NOW, **first | {"modified_date": NOW - 5 * DAY}),
        sight(NOW + DAY, **first | {"modified_date": NOW - 5 * DAY, "last_used_date": NOW - 4 * DAY}),
    ]
    violation = said_of(judged(policy_of("DT-USE-06"), seen))
    assert [odd["field"] for odd in violation.evidence["dates"]] == ["modifiedDate", "lastUsedDate"]
    assert violation.message == (
        "lastUsedDate moved back from 2026-06-12 12:00 UTC to 2026-06-11 12:00 UTC, seen on 2026-06-16 12:00 UTC; "
        "and 1 more like it"
    )


def test_use_06_is_silent_where_a_date_is_withdrawn() -> None:
    assert judged(policy_of("DT-USE-06"), [used(NOW - DAY, NOW - 2 * DAY), used(NOW, None, None)]) is None


def test_use_06_sees_a_date_in_the_future_at_the_first_lookup() -> None:
    first = said_of(judged(policy_of("DT-USE-06"), [sight(NOW, creation_date=NOW + DAY)]))
    seen = [sight(NOW, creation_date=NOW + DAY), sight(NOW + HOUR, creation_date=NOW + DAY)]
    assert judged(policy_of("DT-USE-06"), seen) == first


# Networks


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("203.0.113.7", "203.0.113.255", NO),
        ("203.0.113.7", "203.0.112.255", "medium"),
        ("203.0.113.7", "203.0.114.0", "medium"),
        ("203.0.113.7", "::ffff:203.0.113.9", NO),
        ("2001:db8:10::1", "2001:db8:10:ffff::1", NO),
        ("2001:db8:10::1", "2001:db8:11::1", "medium"),
        ("203.0.113.7", "2001:db8:10::1", "medium"),
        ("203.0.113.7", None, NO),
        ("203.0.113.7", "not an address", NO),
        (None, "203.0.113.7", NO),
        ("not an address", "203.0.113.7", NO),
    ],
)
def test_net_02_fires_outside_of_the_network_before(
    before: str | None, after: str | None, expected: str | None
) -> None:
    assert graded(policy_of("DT-NET-02"), daily(*[before] * 5, after)) == expected


@pytest.mark.parametrize(
    ("sweeps", "stable", "expected"), [(5, 4, NO), (5, 5, "medium"), (5, 6, "medium"), (1, 1, "medium"), (50, 49, NO)]
)
def test_net_02_fires_only_after_so_many_uses_from_one_network(sweeps: int, stable: int, expected: str | None) -> None:
    assert graded(policy_of("DT-NET-02", sweeps=sweeps), daily(*[HERE] * stable, "198.51.100.9")) == expected


def test_net_02_passes_over_uses_without_an_address() -> None:
    seen = daily(HERE, HERE, None, HERE, "?", HERE, HERE, "198.51.100.9")
    assert graded(policy_of("DT-NET-02"), seen) == "medium"


def test_net_02_takes_the_operators_prefixes() -> None:
    seen = daily(*[HERE] * 5, "203.0.200.1")
    assert graded(policy_of("DT-NET-02", v4_prefix=16), seen) is None
    assert graded(policy_of("DT-NET-02", v4_prefix=17), seen) == "medium"
    beside = daily(*["2001:db8:10::1"] * 5, "2001:db8:10:1::1")
    assert graded(policy_of("DT-NET-02"), beside) is None
    assert graded(policy_of("DT-NET-02", v6_prefix=64), beside) == "medium"
    wrong: list[dict[str, Any]] = [{"v4_prefix": 0}, {"v4_prefix": 33}, {"v6_prefix": 129}, {"sweeps": 51}]
    for table in wrong:
        with pytest.raises(ValidationError):
            policy_of("DT-NET-02", **table)


def test_net_02_stays_when_the_token_goes_back_and_tells_of_the_last_change() -> None:
    policy = policy_of("DT-NET-02")
    seen = daily(*[HERE] * 5, "198.51.100.9")
    first = said_of(judged(policy, seen))
    assert first.message == (
        "used on 2026-06-15 11:00 UTC from 198.51.100.9, outside of 203.0.113.0/24, where the 5 uses that sweeps saw "
        "before came from"
    )
    for days in range(1, 30):
        seen.append(used(NOW + days * DAY, NOW + days * DAY - HOUR))
        assert judged(policy, seen) == first
    assert judged(policy, [*seen, used(NOW + KEPT, NOW + KEPT)]) is None
    other = said_of(judged(policy, [*seen, used(NOW + KEPT, NOW + KEPT, "192.0.2.1")]))
    assert (other.evidence["network"], other.evidence["uses_before"]) == ("192.0.2.0/24", 29)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("10.1.2.3", "198.51.100.9", "high"),
        ("192.168.1.1", "2001:db8::1", "high"),
        ("fd00::1", "198.51.100.9", "high"),
        ("203.0.113.7", "198.51.100.9", "high"),
        ("10.1.2.3", "203.0.113.7", NO),
        ("10.1.2.3", "172.16.0.1", NO),
        ("10.1.2.3", "203.0.113.64", "high"),
        ("198.51.100.9", "192.0.2.1", NO),
        ("198.51.100.9", "10.1.2.3", NO),
        (None, "198.51.100.9", NO),
        ("10.1.2.3", None, NO),
        ("10.1.2.3", "not an address", NO),
    ],
)
def test_net_03_fires_from_the_inside_to_a_public_address(
    before: str | None, after: str | None, expected: str | None
) -> None:
    policy = policy_of("DT-NET-03", egress_cidrs=["203.0.113.0/26"])
    assert graded(policy, daily(before, after)) == expected
    if after is not None and expected is not None:
        assert graded(policy, daily(before, None, after)) == expected


def test_net_03_stays_when_the_token_goes_back() -> None:
    policy = policy_of("DT-NET-03", egress_cidrs=["203.0.113.0/24"])
    seen = daily("10.1.2.3", "198.51.100.9")
    first = said_of(judged(policy, seen))
    assert first.message == "used on 2026-06-15 11:00 UTC from the public address 198.51.100.9, after 10.1.2.3 inside"
    seen.append(used(NOW + DAY, NOW + DAY, "10.1.2.3"))
    assert judged(policy, seen) == first
    assert judged(policy, [*seen, used(NOW + KEPT - SECOND, NOW + DAY, "10.1.2.3")]) == first
    assert judged(policy, [*seen, used(NOW + KEPT, NOW + DAY, "10.1.2.3")]) is None


def test_net_03_is_not_assessed_without_egress_networks() -> None:
    assert policy_of("DT-NET-03").unassessed == {"DT-NET-03": "no egress networks are configured; set egress_cidrs"}


ADDRESSES = ["198.51.100.1", "203.0.113.1", "192.0.2.1", "10.1.1.1", "10.1.2.1"]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (ADDRESSES[:3], NO),
        (ADDRESSES[:4], "medium"),
        ([*ADDRESSES[:3], "203.0.113.99", "192.0.2.2"], NO),
        ([*ADDRESSES[:3], None, "?"], NO),
    ],
)
def test_net_04_fires_from_more_networks_than_allowed(addresses: list[str | None], expected: str | None) -> None:
    assert graded(policy_of("DT-NET-04"), daily(*addresses)) == expected
    assert graded(policy_of("DT-NET-04", networks=50), daily(*addresses)) is None


@pytest.mark.parametrize(("span", "expected"), [(7 * DAY - SECOND, "medium"), (7 * DAY, NO), (7 * DAY + SECOND, NO)])
def test_net_04_looks_at_uses_within_the_window(span: timedelta, expected: str | None) -> None:
    when = [NOW - span, NOW - 2 * DAY, NOW - DAY, NOW]
    seen = [used(at, at, address) for at, address in zip(when, ADDRESSES, strict=False)]
    assert graded(policy_of("DT-NET-04"), seen) == expected
    assert graded(policy_of("DT-NET-04", window_days=8), seen) == "medium"


def test_net_04_tells_the_same_until_it_is_kept_no_longer() -> None:
    policy = policy_of("DT-NET-04")
    seen = daily(*ADDRESSES[:4])
    first = said_of(judged(policy, seen))
    assert first.message == (
        "used from 4 networks in the 7 days up to 2026-06-15: "
        "10.1.1.0/24, 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24"
    )
    assert judged(policy, [*seen, used(NOW + HOUR, NOW + HOUR, ADDRESSES[3])]) == first, "a use of the same day"
    for days in range(8, 30):
        seen.append(used(NOW + days * DAY, NOW + days * DAY - HOUR, ADDRESSES[3]))
        assert judged(policy, seen) == first
    assert judged(policy, [*seen, used(NOW + KEPT, NOW + KEPT, ADDRESSES[3])]) is None


def test_net_04_must_see_the_whole_window_of_a_use_that_it_still_tells_of() -> None:
    assert policy_of("DT-NET-04", window_days=9, keep_days=20).lookback == 29 * DAY
