"""DT-EXP-07, DT-SCP-07, DT-SCP-08, DT-OWN-03, DT-STA-02 and DT-STA-05: what differs from earlier lookups."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.model.finding import Violation
from tests.policy.history_samples import Sight, gone, graded, judged, sight
from tests.policy.policy_samples import DAY, HOUR, NOW, SECOND, document, policy_of

NO = None
START = NOW - 300 * DAY
JUNE, JULY = NOW + 10 * DAY, NOW + 40 * DAY
KEPT = 30 * DAY


def turn(before: dict[str, Any], after: dict[str, Any]) -> list[Sight]:
    """Two lookups before a change, an hour apart, and one after it."""
    return [sight(START, **before), sight(NOW - HOUR, **before), sight(NOW, **after)]


def said_of(violation: Violation | None) -> Violation:
    assert violation is not None
    return violation


# What holds of all of them

CHANGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("DT-EXP-07", {"expiration_date": JUNE}, {"expiration_date": JULY}),
    ("DT-SCP-07", {"scopes": ("logs.read",)}, {"scopes": ("logs.read", "metrics.read")}),
    ("DT-SCP-08", {"modified_date": NOW - 2 * DAY}, {"modified_date": NOW - HOUR / 2}),
    ("DT-OWN-03", {"owner": "alice"}, {"owner": "bob"}),
    ("DT-STA-02", {"enabled": False}, {"enabled": True}),
    ("DT-STA-05", {"name": "one"}, {"name": "two"}),
]
every = pytest.mark.parametrize(("rule_id", "before", "after"), CHANGES, ids=[rule_id for rule_id, *_ in CHANGES])


@every
def test_change_is_told_at_the_lookup_that_sees_it_and_as_long_as_it_is_kept(
    rule_id: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    policy = policy_of(rule_id)
    seen = turn(before, after)
    first = said_of(judged(policy, seen))
    for later in (SECOND, DAY, KEPT - SECOND):
        assert judged(policy, [*seen, sight(NOW + later, **after)]) == first, later
    for later in (KEPT, KEPT + SECOND):
        assert judged(policy, [*seen, sight(NOW + later, **after)]) is None, later
    assert "between 2026-06-15 11:00 UTC and 2026-06-15 12:00 UTC" in first.message or rule_id == "DT-SCP-08"


@every
def test_days_of_a_change_are_the_operators(rule_id: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    policy = policy_of(rule_id, keep_days=2)
    seen = turn(before, after)
    assert graded(policy, [*seen, sight(NOW + 2 * DAY - SECOND, **after)]) is not None
    assert graded(policy, [*seen, sight(NOW + 2 * DAY, **after)]) is None


@every
def test_first_lookup_and_one_like_it_are_no_change(
    rule_id: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    policy = policy_of(rule_id)
    for fields in (before, after):
        assert judged(policy, [sight(NOW, **fields)]) is None
        assert judged(policy, [sight(NOW - DAY, **fields), sight(NOW, **fields)]) is None


@every
def test_change_while_the_token_was_missing_is_told_too(
    rule_id: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    seen = [sight(START, **before), gone(NOW - HOUR), sight(NOW, **after)]
    violation = said_of(judged(policy_of(rule_id), seen))
    since = violation.evidence.get("changed_after", violation.evidence.get("added", [{}])[0:1])
    assert "2025-08-19T12:00:00Z" in str(since), "it was made after the last lookup that found the token"


# Changes that are undone by changing back

REVERSIBLE = [
    ("DT-EXP-07", "expiration_date", [JUNE, JULY, None]),
    ("DT-OWN-03", "owner", ["alice", "bob", None]),
    ("DT-STA-05", "name", ["one", "two", None]),
]
reversible = pytest.mark.parametrize(("rule_id", "field", "values"), REVERSIBLE, ids=[rule for rule, *_ in REVERSIBLE])


def course(field: str, *values: Any, days: float = 1) -> list[Sight]:
    """Return lookups, so many days apart, that saw a field with these values; the first long before the others."""
    return [sight(START, **{field: values[0]})] + [
        sight(NOW + position * days * DAY, **{field: value}) for position, value in enumerate(values[1:])
    ]


@reversible
def test_change_back_undoes_a_change_for_good(rule_id: str, field: str, values: list[Any]) -> None:
    policy = policy_of(rule_id)
    one, two, _three = values
    seen = course(field, one, two, one, days=20)
    assert judged(policy, seen[:2]) is not None
    for days in range(20, 60):
        assert judged(policy, [*seen, sight(NOW + days * DAY + HOUR, **{field: one})]) is None, days


@reversible
def test_change_back_after_the_finding_ended_is_a_change_of_its_own(
    rule_id: str, field: str, values: list[Any]
) -> None:
    policy = policy_of(rule_id)
    one, two, _three = values
    assert judged(policy, course(field, one, two, one, days=30 - 1 / 24)) is None
    assert judged(policy, course(field, one, two, one, days=30)) is not None


@reversible
def test_change_back_by_a_detour_undoes_both_changes(rule_id: str, field: str, values: list[Any]) -> None:
    one, two, three = values
    policy = policy_of(rule_id)
    assert judged(policy, course(field, one, two, three)) is not None
    assert judged(policy, course(field, one, two, three, one)) is None
    again = said_of(judged(policy, course(field, one, two, three, two)))
    assert again == judged(policy, course(field, one, two)), "only the second change was undone"


@reversible
def test_change_made_anew_after_it_was_undone_is_told_anew(rule_id: str, field: str, values: list[Any]) -> None:
    one, two, _three = values
    policy = policy_of(rule_id)
    violation = said_of(judged(policy, course(field, one, two, one, two)))
    assert violation.evidence["seen_at"] == "2026-06-17T12:00:00Z"


@reversible
def test_absent_value_is_one_that_differs(rule_id: str, field: str, values: list[Any]) -> None:
    one, _two, three = values
    assert three is None
    policy = policy_of(rule_id)
    assert judged(policy, course(field, one, None)) is not None
    assert judged(policy, course(field, None, one)) is not None
    assert judged(policy, course(field, None, None)) is None


@reversible
def test_look_back_of_reversible_changes_is_twice_what_they_are_kept(
    rule_id: str, field: str, values: list[Any]
) -> None:
    assert policy_of(rule_id, keep_days=7).lookback == 14 * DAY


@pytest.mark.parametrize("rule_id", ["DT-SCP-07", "DT-SCP-08", "DT-STA-02"])
def test_look_back_of_other_changes_is_what_they_are_kept(rule_id: str) -> None:
    assert policy_of(rule_id, keep_days=7).lookback == 7 * DAY


# Expiration


@pytest.mark.parametrize(
    ("before", "after", "expected", "expected_with_shortening"),
    [
        (JUNE, JUNE + SECOND, "high", "high"),
        (JUNE, JUNE, NO, NO),
        (JUNE, JUNE - SECOND, "high", NO),
        (JUNE, None, "high", "high"),
        (None, JUNE, "high", NO),
        (None, None, NO, NO),
    ],
)
def test_exp_07_tells_of_every_move_or_only_of_later_ends(
    before: datetime | None, after: datetime | None, expected: str | None, expected_with_shortening: str | None
) -> None:
    seen = turn({"expiration_date": before}, {"expiration_date": after})
    assert graded(policy_of("DT-EXP-07"), seen) == expected
    assert graded(policy_of("DT-EXP-07", allow_shorten=True), seen) == expected_with_shortening


@pytest.mark.parametrize(
    ("back_to", "expected"),
    [(JUNE + SECOND, "high"), (JUNE, NO), (JUNE - SECOND, NO), (None, "high")],
)
def test_exp_07_with_shortening_is_undone_by_an_end_no_later_than_the_first(
    back_to: datetime | None, expected: str | None
) -> None:
    seen = course("expiration_date", JUNE, JULY, back_to)
    assert graded(policy_of("DT-EXP-07", allow_shorten=True), seen) == expected


def test_exp_07_says_what_became_of_the_date() -> None:
    policy = policy_of("DT-EXP-07")
    between = "between 2026-06-15 11:00 UTC and 2026-06-15 12:00 UTC"
    for before, after, message in (
        (JUNE, JULY, f"its expiration date moved from 2026-06-25 12:00 UTC to 2026-07-25 12:00 UTC {between}"),
        (JUNE, None, f"its expiration date 2026-06-25 12:00 UTC was removed {between}"),
        (None, JUNE, f"it was given the expiration date 2026-06-25 12:00 UTC {between}"),
    ):
        violation = said_of(judged(policy, turn({"expiration_date": before}, {"expiration_date": after})))
        assert violation.message == message


# Owner and name


def test_own_03_names_both_owners_and_when() -> None:
    violation = said_of(judged(policy_of("DT-OWN-03"), turn({"owner": "alice"}, {"owner": None})))
    assert violation.message == (
        'its owner changed from "alice" to none between 2026-06-15 11:00 UTC and 2026-06-15 12:00 UTC'
    )
    assert violation.evidence == {
        "owner_before": "alice",
        "owner": None,
        "changed_after": "2026-06-15T11:00:00Z",
        "seen_at": "2026-06-15T12:00:00Z",
    }


PROFILES = [
    {"profile": "ingest", "name": "ingest-*", "scopes": ["*.ingest"]},
    {"profile": "read", "name": "read-*", "scopes": ["*.read"]},
]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("ingest-a", "ingest-b", "low"),
        ("ingest-a", "read-a", "medium"),
        ("ingest-a", "other", "medium"),
        ("other", "read-a", "medium"),
        ("other", "another", "low"),
        ("ingest-a", None, "medium"),
        (None, "other", "low"),
        ("", None, "low"),
    ],
)
def test_sta_05_is_medium_where_another_profile_applies(before: str | None, after: str | None, expected: str) -> None:
    seen = turn({"name": before}, {"name": after})
    assert graded(policy_of("DT-STA-05", profiles=PROFILES), seen) == expected
    assert graded(policy_of("DT-STA-05"), seen) == "low"


# Scopes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), ("logs.read",), "high"),
        (("logs.read",), (), NO),
        (("logs.read",), ("metrics.read",), "high"),
        (("logs.read", "metrics.read"), ("logs.read",), NO),
        (("logs.read",), ("logs.read", "settings.write"), "critical"),
        (("logs.read",), ("apiTokens.write", "logs.read"), "critical"),
        (("settings.write",), ("logs.read", "settings.write"), "high"),
        (("logs.read",), ("logs.read", "unheard.of"), "high"),
    ],
)
def test_scp_07_is_critical_where_an_added_scope_is_high_risk(
    before: tuple[str, ...], after: tuple[str, ...], expected: str | None
) -> None:
    assert graded(policy_of("DT-SCP-07"), turn({"scopes": before}, {"scopes": after})) == expected


def test_scp_07_ends_for_each_scope_when_it_is_taken_away() -> None:
    policy = policy_of("DT-SCP-07")
    seen = course("scopes", ("a",), ("a", "b", "settings.write"), ("a", "b", "c"))
    violation = said_of(judged(policy, seen))
    assert violation.severity == "high"
    assert violation.evidence["added"] == [
        {"scope": "b", "added_after": "2025-08-19T12:00:00Z", "seen_at": "2026-06-15T12:00:00Z"},
        {"scope": "c", "added_after": "2026-06-15T12:00:00Z", "seen_at": "2026-06-16T12:00:00Z"},
    ]
    assert (violation.evidence["scopes_before"], violation.evidence["scopes"]) == (["a"], ["a", "b", "c"])
    assert judged(policy, [*seen, sight(NOW + 2 * DAY, scopes=("a",))]) is None


def test_scp_07_forgets_each_scope_in_its_own_time() -> None:
    policy = policy_of("DT-SCP-07")
    seen = course("scopes", ("a",), ("a", "b"), ("a", "b", "c"), days=10)
    for days, scopes in ((29, ["b", "c"]), (30, ["c"]), (39, ["c"])):
        violation = said_of(judged(policy, [*seen, sight(NOW + days * DAY, scopes=("a", "b", "c"))]))
        assert [added["scope"] for added in violation.evidence["added"]] == scopes
    assert judged(policy, [*seen, sight(NOW + 40 * DAY, scopes=("a", "b", "c"))]) is None


def test_scp_07_takes_a_scope_given_anew_for_an_escalation() -> None:
    violation = said_of(judged(policy_of("DT-SCP-07"), course("scopes", ("a", "b"), ("a",), ("a", "b"))))
    assert [added["scope"] for added in violation.evidence["added"]] == ["b"]


def ticket(starts: timedelta, ends: timedelta, **fields: Any) -> dict[str, Any]:
    return {"ticket": "CHG-1", "starts_at": NOW + starts, "ends_at": NOW + ends, **fields}


TICKETS: list[tuple[dict[str, Any], bool]] = [
    (ticket(-DAY, DAY), True),
    (ticket(-DAY, -HOUR), True),
    (ticket(-DAY, -HOUR - SECOND), False),
    (ticket(timedelta(), DAY), True),
    (ticket(SECOND, DAY), False),
    (ticket(-HOUR / 2, -HOUR / 4), True),
    (ticket(-DAY, DAY, owner="svc-ingest"), True),
    (ticket(-DAY, DAY, owner="svc-other"), False),
    (ticket(-DAY, DAY, environment="test"), False),
]


@pytest.mark.parametrize(("window", "is_covered"), TICKETS)
def test_scp_07_and_sta_02_are_silent_where_the_change_can_have_been_made_in_an_expected_time(
    window: dict[str, Any], is_covered: bool
) -> None:
    added = turn({"scopes": ("a",)}, {"scopes": ("a", "b")})
    assert (judged(policy_of("DT-SCP-07", ignore_if_change_ticket=[window]), added) is None) is is_covered
    enabled = turn({"enabled": False}, {"enabled": True})
    assert (judged(policy_of("DT-STA-02", approved_window=[window]), enabled) is None) is is_covered


def test_scp_07_heeds_which_scopes_a_ticket_adds() -> None:
    policy = policy_of("DT-SCP-07", ignore_if_change_ticket=[ticket(-DAY, DAY, scopes=["settings.*"])])
    seen = turn({"scopes": ("a",)}, {"scopes": ("a", "b", "settings.write")})
    violation = said_of(judged(policy, seen))
    assert (violation.severity, [added["scope"] for added in violation.evidence["added"]]) == ("high", ["b"])


@pytest.mark.parametrize(
    ("rule_id", "parameter"), [("DT-SCP-07", "ignore_if_change_ticket"), ("DT-STA-02", "approved_window")]
)
@pytest.mark.parametrize(
    "window",
    [
        ticket(DAY, DAY),
        ticket(DAY, -DAY),
        ticket(-DAY, DAY) | {"ticket": ""},
        ticket(-DAY, DAY) | {"starts_at": "2026-03-31T08:00:00"},
        ticket(-DAY, DAY) | {"color": "red"},
        {"ticket": "CHG-1"},
    ],
)
def test_expected_time_must_have_a_name_a_zone_and_an_end_after_its_start(
    rule_id: str, parameter: str, window: dict[str, Any]
) -> None:
    table: dict[str, Any] = {parameter: [window]}
    with pytest.raises(ValidationError):
        policy_of(rule_id, **table)


def test_policy_with_instants_has_a_digest() -> None:
    assert len(document("DT-STA-02", approved_window=[ticket(-DAY, DAY)]).digest) == 64


# Hidden changes


@pytest.mark.parametrize(
    ("before", "after", "changes", "expected"),
    [
        (NOW - DAY, NOW - HOUR, {}, "high"),
        (NOW - DAY, NOW - DAY + SECOND, {}, "high"),
        (NOW - DAY, NOW - DAY, {}, NO),
        (NOW - DAY, NOW - DAY - SECOND, {}, NO),
        (None, NOW - HOUR, {}, NO),
        (NOW - DAY, None, {}, NO),
        (NOW - DAY, NOW - HOUR, {"scopes": ("logs.read",)}, NO),
        (NOW - DAY, NOW - HOUR, {"name": "other"}, NO),
        (NOW - DAY, NOW - HOUR, {"enabled": False}, "high"),
    ],
)
def test_scp_08_fires_where_only_the_date_of_the_modification_shows_it(
    before: datetime | None, after: datetime | None, changes: dict[str, Any], expected: str | None
) -> None:
    seen = turn({"modified_date": before}, {"modified_date": after, **changes})
    assert graded(policy_of("DT-SCP-08"), seen) == expected


@pytest.mark.parametrize(("hours", "expected"), [(0, NO), (1, NO), (2, "high"), (24, "high")])
def test_scp_08_leaves_modifications_alone_that_lie_too_far_back(hours: int, expected: str | None) -> None:
    seen = turn({"modified_date": NOW - DAY}, {"modified_date": NOW - HOUR})
    assert graded(policy_of("DT-SCP-08", sweep_gap_max_hours=hours), seen) == expected
    at_the_limit = turn({"modified_date": NOW - DAY}, {"modified_date": NOW - hours * HOUR})
    assert graded(policy_of("DT-SCP-08", sweep_gap_max_hours=hours), at_the_limit) is None


def test_scp_08_counts_hidden_changes_and_tells_of_the_last() -> None:
    seen = course("modified_date", NOW - 9 * DAY, NOW - DAY, NOW + HOUR)
    violation = said_of(judged(policy_of("DT-SCP-08"), seen))
    assert (violation.evidence["times"], violation.evidence["modified_date"]) == (2, "2026-06-15T13:00:00Z")


# Enabled again


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(False, True, "high"), (True, False, NO), (None, True, NO), (False, None, NO), (True, True, NO)],
)
def test_sta_02_fires_only_from_disabled_to_enabled(
    before: bool | None, after: bool | None, expected: str | None
) -> None:
    assert graded(policy_of("DT-STA-02"), turn({"enabled": before}, {"enabled": after})) == expected


def test_sta_02_ends_when_the_token_is_disabled_and_begins_anew_when_it_is_enabled() -> None:
    policy = policy_of("DT-STA-02")
    assert judged(policy, course("enabled", False, True, False)) is None
    violation = said_of(judged(policy, course("enabled", False, True, False, True)))
    assert violation.evidence["seen_at"] == "2026-06-17T12:00:00Z"
    assert violation.evidence["changed_after"] == "2026-06-16T12:00:00Z"


def test_sta_02_does_not_need_a_modified_date_that_moved() -> None:
    seen = turn({"enabled": False, "modified_date": START}, {"enabled": True, "modified_date": START})
    assert graded(policy_of("DT-STA-02"), seen) == "high"
