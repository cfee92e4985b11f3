"""DT-EXP-05, DT-EXP-06, DT-ROT-02, DT-ROT-03, DT-OWN-04, DT-NAM-01 and DT-ENV-01: at their boundaries."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.model.finding import Violation
from auditor.model.token import Location
from auditor.policy.base import Feeds, Kind
from auditor.policy.engine import Policy
from auditor.policy.fleet import ExpiredToken, ExpiryWindow, Generation, NamedToken, OwnerHoldings, StoredCopies
from auditor.policy.registry import rules
from tests.policy.policy_samples import DAY, NOW, SECOND, document, policy_of

MIDNIGHT = datetime(2026, 7, 1, tzinfo=UTC)
BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
EXPIRED = ExpiredToken(NOW - DAY, NOW - 2 * DAY, None)
NEXT = Generation(None, "dt0c01.NEXT", NOW - 30 * DAY)
ALONE = NamedToken("ingest", 1, ())
ONE_PLACE = StoredCopies((Location("vault", "line 1"),), (), ())


def judged(rule: str, candidate: msgspec.Struct, /, now: datetime = NOW, **table: Any) -> list[Violation]:
    """Return what a rule says of a candidate."""
    return policy_of(rule, **table).judge(rules()[rule], candidate, now)


def fires(rule: str, candidate: msgspec.Struct, /, now: datetime = NOW, **table: Any) -> bool:
    return bool(judged(rule, candidate, now, **table))


@pytest.mark.parametrize(
    ("expired", "expected"),
    [
        (EXPIRED, True),
        (msgspec.structs.replace(EXPIRED, successor="dt0c01.NEXT"), False),
        (ExpiredToken(NOW, NOW - DAY, None), True),
        (ExpiredToken(NOW + SECOND, NOW - DAY, None), False),
        (ExpiredToken(NOW - DAY, None, None), False),
        (ExpiredToken(NOW - DAY, NOW - 15 * DAY + SECOND, None), True),
        (ExpiredToken(NOW - DAY, NOW - 15 * DAY, None), True),
        (ExpiredToken(NOW - DAY, NOW - 15 * DAY - SECOND, None), False),
        (ExpiredToken(NOW - DAY, NOW, None), True),  # used after its end
        (ExpiredToken(BEGINNING, BEGINNING, None), True),
        (ExpiredToken(BEGINNING, END, None), True),
    ],
)
def test_exp_05_fires_where_use_lasted_until_the_end(expired: ExpiredToken, expected: bool) -> None:
    assert fires("DT-EXP-05", expired) is expected


@pytest.mark.parametrize(
    ("tokens", "active", "table", "expected"),
    [
        (9, 1000, {}, False),
        (10, 1000, {}, True),
        (11, 1000, {}, True),
        (3, 31, {}, False),
        (3, 30, {}, True),
        (3, 29, {}, True),
        (2, 2, {}, False),
        (2, 2, {"pct_min_count": 2}, True),
        (10, 101, {"needs": "all"}, False),
        (10, 100, {"needs": "all"}, True),
        (9, 9, {"needs": "all"}, False),
        (1, 1, {}, False),
        (5, 1000, {"pct": 0.5}, True),
        (4, 1000, {"pct": 0.5}, False),
    ],
)
def test_exp_06_fires_from_the_count_or_the_share_on(
    tokens: int, active: int, table: dict[str, Any], expected: bool
) -> None:
    assert fires("DT-EXP-06", ExpiryWindow(MIDNIGHT, tokens, active), **table) is expected


@pytest.mark.parametrize(
    ("starts_at", "days", "message", "part"),
    [
        (MIDNIGHT, 1, "12 tokens of 40 expire on 2026-07-01", "2026-07-01"),
        (MIDNIGHT, 7, "12 tokens of 40 expire from 2026-07-01 to 2026-07-07", "2026-07-01"),
        (
            datetime(9999, 12, 30, tzinfo=UTC),
            7,
            "12 tokens of 40 expire from 9999-12-30 to 9999-12-31",
            "9999-12-30",
        ),
    ],
)
def test_exp_06_names_its_window(starts_at: datetime, days: int, message: str, part: str) -> None:
    (violation,) = judged("DT-EXP-06", ExpiryWindow(starts_at, 12, 40), window_days=days)
    assert (violation.message, violation.discriminator) == (message, part)
    assert violation.evidence["percent"] == 30.0


@pytest.mark.parametrize(
    ("age", "table", "expected"),
    [
        (7 * DAY - SECOND, {}, False),
        (7 * DAY, {}, False),
        (7 * DAY + SECOND, {}, True),
        (DAY + SECOND, {"overlap_days": 1}, True),
        (-DAY, {}, False),  # a successor from the future
    ],
)
def test_rot_02_allows_exactly_the_overlap(age: timedelta, table: dict[str, Any], expected: bool) -> None:
    generation = msgspec.structs.replace(NEXT, successor_creation_date=NOW - age)
    assert fires("DT-ROT-02", generation, **table) is expected


@pytest.mark.parametrize(
    ("used", "table", "expected"),
    [
        (None, {}, False),
        (NOW - 31 * DAY, {}, False),
        (NOW - 27 * DAY, {}, False),
        (NOW - 27 * DAY + SECOND, {}, True),
        (NOW - 30 * DAY, {"grace_days": 0}, False),
        (NOW - 30 * DAY + SECOND, {"grace_days": 0}, True),
        (END, {}, True),
        (BEGINNING, {}, False),
    ],
)
def test_rot_03_allows_use_until_the_grace_is_over(
    used: datetime | None, table: dict[str, Any], expected: bool
) -> None:
    assert fires("DT-ROT-03", msgspec.structs.replace(NEXT, last_used_date=used), **table) is expected


def test_generations_may_be_made_at_any_time_that_a_date_can_say() -> None:
    for made in (BEGINNING, END):
        generation = Generation(NOW, "dt0c01.NEXT", made)
        assert fires("DT-ROT-02", generation) is fires("DT-ROT-03", generation) is (made is BEGINNING)


@given(later=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=20_000)))
def test_overlap_that_is_too_long_only_grows(later: timedelta) -> None:
    generation = msgspec.structs.replace(NEXT, successor_creation_date=NOW - 7 * DAY - SECOND)
    assert judged("DT-ROT-02", generation, NOW + later) == judged("DT-ROT-02", generation, NOW)


@pytest.mark.parametrize(
    ("tokens", "active", "table", "expected"),
    [
        (25, 1000, {}, False),
        (26, 1000, {}, True),
        (5, 25, {}, False),
        (5, 24, {}, True),
        (4, 4, {}, False),
        (1, 1, {"pct_min_count": 1}, True),
        (2, 1000, {"n": 1}, True),
    ],
)
def test_own_04_allows_exactly_the_count_and_the_share(
    tokens: int, active: int, table: dict[str, Any], expected: bool
) -> None:
    assert fires("DT-OWN-04", OwnerHoldings("svc-ingest", tokens, active), **table) is expected


@given(one=st.text(), other=st.text())
def test_own_04_tells_owners_apart_and_never_by_name(one: str, other: str) -> None:
    parts = [judged("DT-OWN-04", OwnerHoldings(owner, 30, 30))[0].discriminator for owner in (one, other)]
    assert (parts[0] == parts[1]) is (one == other)
    assert all(len(part) == 16 and set(part) <= set("0123456789abcdef") for part in parts)


@pytest.mark.parametrize(
    ("token", "table", "parts"),
    [
        (ALONE, {}, []),
        (NamedToken(None, 1, ()), {}, []),
        (ALONE, {"regex": "[a-z]+"}, []),
        (ALONE, {"regex": "inges"}, ["convention"]),  # the whole name has to match
        (NamedToken(None, 1, ()), {"regex": "[a-z]+"}, ["convention"]),
        (NamedToken("", 1, ()), {"regex": "[a-z]+"}, ["convention"]),
        (NamedToken(None, 1, ()), {"regex": "[a-z]*"}, []),
        (NamedToken("ingest", 2, ("a",)), {}, ["shared"]),
        (NamedToken("Ingest", 2, ("a",)), {"regex": "[a-z]+"}, ["convention", "shared"]),
    ],
)
def test_nam_01_holds_names_to_the_convention_and_apart(
    token: NamedToken, table: dict[str, Any], parts: list[str]
) -> None:
    assert [violation.discriminator for violation in judged("DT-NAM-01", token, **table)] == parts


def test_nam_01_counts_the_namesakes_that_it_does_not_list() -> None:
    (violation,) = judged("DT-NAM-01", NamedToken("ingest", 9, ("a", "b", "c", "d", "e")))
    assert violation.message == 'its name "ingest" is that of 8 other live tokens, too: a, b, c, d, e and 3 more'


@pytest.mark.parametrize(
    ("copies", "parts"),
    [
        (ONE_PLACE, []),
        (StoredCopies((), (), ()), []),
        (msgspec.structs.replace(ONE_PLACE, locations=(Location("a", "1"), Location("b", "1"))), ["places"]),
        (msgspec.structs.replace(ONE_PLACE, environments=("staging",)), ["environments"]),
        (msgspec.structs.replace(ONE_PLACE, other_secrets=("dt0c01.A~1",)), ["id"]),
        (
            StoredCopies((Location("a", "1"), Location("a", "2")), ("x", "y"), ("dt0c01.A~1",)),
            ["places", "environments", "id"],
        ),
    ],
)
def test_env_01_tells_each_kind_of_copy_by_itself(copies: StoredCopies, parts: list[str]) -> None:
    assert [violation.discriminator for violation in judged("DT-ENV-01", copies)] == parts


def test_env_01_does_not_claim_to_know_all_of_very_many_places() -> None:
    places = tuple(Location("vault", f"line {number}") for number in range(1000))
    (most,) = judged("DT-ENV-01", StoredCopies(places[:999], (), ()))
    assert most.message.startswith("the same secret is stored in 999 places: vault line 0, ")
    assert most.message.endswith(" and 994 more")
    (more,) = judged("DT-ENV-01", StoredCopies(places, (), ()))
    told = "the same secret is stored in 1000 places or more, among them vault line 0, vault line 1, vault line 2"
    assert more.message == told


def test_severity_of_the_policy_takes_the_place_of_the_rules() -> None:
    assert [violation.severity.value for violation in judged("DT-EXP-05", EXPIRED, severity="low")] == ["low"]


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        ("DT-EXP-05", {"name_stem_regex": ""}),
        ("DT-ROT-02", {"name_stem_regex": "("}),
        ("DT-ROT-02", {"overlap_days": 0}),
        ("DT-ROT-03", {"grace_days": -1}),
        ("DT-EXP-06", {"min_count": 1}),
        ("DT-EXP-06", {"pct": 0}),
        ("DT-EXP-06", {"pct": 100.5}),
        ("DT-EXP-06", {"needs": "some"}),
        ("DT-OWN-04", {"n": 0}),
        ("DT-NAM-01", {"regex": "["}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(rule: str, table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        document(rule, **table).params_of(rules()[rule])


def test_every_fleet_rule_that_looks_at_candidates_is_assessed_and_none_speaks_of_one_observation() -> None:
    fleet = [rule for rule in rules().values() if rule.candidates is not None]
    assert {rule.kind for rule in fleet} == {Kind.FLEET}
    policy = Policy(document(), fleet, feeds=Feeds(), environment_kind=None)
    assert policy.fleet == tuple(fleet)
    assert policy.assessed == policy.comparing == tuple(rule.id for rule in fleet)
