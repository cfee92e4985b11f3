"""The riskiest first, the rest by age, and nobody starves under a budget."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.lookup import TokenMetadata
from auditor.policy.scopes import RiskSettings
from auditor.policy.urgency import Choice, Urgency, urgency

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RISK = RiskSettings()
POWERFUL = ("apiTokens.write",)


def of(
    token: TokenMetadata | None, looked_up_at: datetime | None = NOW - DAY, changed_at: datetime | None = None
) -> Urgency:
    return urgency(token, looked_up_at=looked_up_at, changed_at=changed_at, risk=RISK, now=NOW)


def held(
    *, scopes: tuple[str, ...] = ("metrics.read",), expires: timedelta | None = None, enabled: bool = True
) -> TokenMetadata:
    return TokenMetadata(
        "id", scopes=scopes, expiration_date=None if expires is None else NOW + expires, enabled=enabled
    )


def test_sample_scope_is_powerful() -> None:
    assert RISK.high_risk_among(POWERFUL)
    assert not RISK.high_risk_among(("metrics.read",))


@pytest.mark.parametrize(
    ("sooner", "later"),
    [
        (of(None, None), of(held(scopes=POWERFUL, expires=DAY), NOW - 300 * DAY, NOW)),
        (of(held(scopes=POWERFUL)), of(held())),
        (of(held(expires=13 * DAY)), of(held(expires=15 * DAY), NOW - 300 * DAY)),
        (of(held(expires=-13 * DAY)), of(held(expires=-15 * DAY), NOW - 300 * DAY)),
        (of(held(), changed_at=NOW - 6 * DAY), of(held(), NOW - 300 * DAY, NOW - 8 * DAY)),
        (of(held(scopes=POWERFUL, expires=DAY)), of(held(scopes=POWERFUL), NOW - 300 * DAY)),
        (of(held(), NOW - 2 * DAY), of(held(), NOW - DAY)),
        (of(None, NOW - 2 * DAY), of(held(scopes=POWERFUL, enabled=False), NOW - DAY)),
    ],
)
def test_one_is_looked_up_before_the_other(sooner: Urgency, later: Urgency) -> None:
    assert sooner < later


URGENCIES = st.builds(Urgency, st.integers(0, 3), st.floats(0, 2e9, allow_nan=False)) | st.just(Urgency(-1, 0.0))


@given(st.lists(URGENCIES, max_size=60), st.integers(1, 70))
def test_as_many_are_chosen_as_there_are_places(offered: list[Urgency], places: int) -> None:
    choice = Choice[int](places)
    for number, one in enumerate(offered):
        choice.offer(number, one)
    chosen = choice.chosen()
    assert len(chosen) == min(places, len(offered))
    waiting = sorted(one.looked_up_at for number, one in enumerate(offered) if number not in chosen)
    oldest = sorted(one.looked_up_at for one in offered)[: places - places // 4]
    if waiting and oldest:
        assert waiting[0] >= oldest[-1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 20))
def test_every_token_has_its_turn(calm: list[int], places: int) -> None:
    """Those who are always risky take no more than their share."""
    looked_up_at = [0.0] * len(calm)
    sweeps = ceil(len(calm) / (places - places // 4)) + 1
    for sweep in range(1, sweeps + 1):
        choice = Choice[int](places)
        for number, calm_of_one in enumerate(calm):
            at = looked_up_at[number]
            choice.offer(number, Urgency(calm_of_one, at) if at else Urgency(-1, 0.0))
        for key in choice.chosen():
            looked_up_at[key] = float(sweep)
    assert all(looked_up_at)


def test_the_riskiest_are_looked_up_in_every_sweep() -> None:
    choice = Choice[int](40)
    for number in range(1000):
        choice.offer(number, Urgency(1 if number >= 995 else 3, float(number)))
    assert set(range(995, 1000)) <= set(choice.chosen())


def test_the_riskiest_come_first_then_the_others_by_age() -> None:
    choice = Choice[str](5)
    for name, one in [
        ("old", Urgency(3, 10.0)),
        ("older", Urgency(3, 5.0)),
        ("young", Urgency(3, 90.0)),
        ("risky", Urgency(2, 80.0)),
        ("never", Urgency(-1, 0.0)),
        ("younger", Urgency(3, 95.0)),
    ]:
        choice.offer(name, one)
    assert (choice.offered, choice.chosen()) == (6, ["never", "older", "old", "risky", "young"])


@given(st.lists(URGENCIES, min_size=2, max_size=20))
def test_rank_is_the_order_to_the_minute(urgencies: list[Urgency]) -> None:
    for one, other in pairwise(sorted(urgencies)):
        assert one.rank <= other.rank
        if other.calm > one.calm or other.looked_up_at - one.looked_up_at >= 60:
            assert one.rank < other.rank
