"""Days by risk tier, and ladders of which only the tightest step that was reached speaks."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.model.finding import Severity
from auditor.policy.scopes import RiskTier
from auditor.policy.thresholds import AgeLadder, CountdownLadder, DaysByTier
from tests.policy.policy_samples import DAY, SECOND

days = st.integers(1, 36_500)
spans = st.timedeltas(timedelta(days=-10), timedelta(days=40_000))
tables = st.dictionaries(st.sampled_from(list(Severity)), days, min_size=1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"default": 30}, (30, 30, 30, 30)),
        ({"critical": 10, "default": 30}, (30, 30, 30, 10)),
        ({"high": 20, "critical": 20, "default": 30}, (30, 30, 20, 20)),
        ({"medium": 25, "high": 20, "critical": 10, "default": 30}, (30, 25, 20, 10)),
        ({"medium": 1, "high": 1, "critical": 1, "default": 1}, (1, 1, 1, 1)),
    ],
)
def test_tier_that_is_not_named_has_the_default(table: dict[str, int], expected: tuple[int, ...]) -> None:
    days_by_tier = DaysByTier.model_validate(table)
    assert tuple(days_by_tier.of(tier).days for tier in RiskTier) == expected


@pytest.mark.parametrize(
    "table",
    [
        {"critical": 31, "default": 30},
        {"medium": 31, "default": 30},
        {"medium": 20, "default": 30},  # high and critical would fall back to 30
        {"high": 20, "default": 30},  # so would critical
        {"high": 20, "critical": 21, "default": 30},
    ],
)
def test_tiers_that_contradict_one_another_are_refused(table: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="a riskier tier may have as many at most"):
        DaysByTier.model_validate(table)


def in_order(table: dict[Severity, int], *, worst_first: bool) -> dict[str, int]:
    """Return the table with its days put in the order that a ladder wants, without those that are there twice."""
    severities = sorted(table, key=lambda severity: severity.rank, reverse=worst_first)
    return {severity.value: count for severity, count in zip(severities, sorted(set(table.values())), strict=False)}


@given(tables, spans)
def test_age_reaches_the_worst_step_that_it_has_come_to(table: dict[Severity, int], age: timedelta) -> None:
    steps = in_order(table, worst_first=False)
    reached = [Severity(name).rank for name, count in steps.items() if age >= count * DAY]
    said = AgeLadder.model_validate(steps).reached(age)
    assert (said.rank if said else None) == max(reached, default=None)


@given(tables, spans)
def test_countdown_reaches_the_worst_step_that_it_has_come_down_to(table: dict[Severity, int], left: timedelta) -> None:
    steps = in_order(table, worst_first=True)
    reached = [Severity(name).rank for name, count in steps.items() if left <= count * DAY]
    said = CountdownLadder.model_validate(steps).reached(left)
    assert (said.rank if said else None) == max(reached, default=None)


@pytest.mark.parametrize("count", [1, 36_500])
def test_a_step_is_reached_at_its_very_second(count: int) -> None:
    age, countdown = AgeLadder(medium=count), CountdownLadder(medium=count)
    at = timedelta(days=count)
    assert [age.reached(at + offset) for offset in (-SECOND, timedelta(), SECOND)] == [None, "medium", "medium"]
    assert [countdown.reached(at + offset) for offset in (-SECOND, timedelta(), SECOND)] == ["medium", "medium", None]


@pytest.mark.parametrize("ladder", [AgeLadder, CountdownLadder])
@pytest.mark.parametrize("table", [{}, {"low": 0}, {"low": -1}, {"low": 36_501}, {"low": 5, "high": 5}, {"lo": 5}])
def test_a_ladder_that_makes_no_sense_is_refused(
    ladder: type[AgeLadder | CountdownLadder], table: dict[str, int]
) -> None:
    with pytest.raises(ValidationError):
        ladder.model_validate(table)


def test_ladders_go_opposite_ways() -> None:
    AgeLadder(low=5, high=6)
    CountdownLadder(low=6, high=5)
    with pytest.raises(ValidationError, match="must come later than"):
        AgeLadder(low=6, high=5)
    with pytest.raises(ValidationError, match="must come nearer to the end than"):
        CountdownLadder(low=5, high=6)
