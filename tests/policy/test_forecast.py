"""What expires, where too much ends at once, and when to renew it: counted by hand, and by property."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.policy.forecast import Ending, Forecast, Proposal, Proposer, Staggering, day_of, forecast, horizon
from auditor.policy.rules.exp_06 import Cliff

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)  # a Monday
TODAY = date(2026, 6, 15)
DAY = timedelta(days=1)


def made(
    days: Mapping[int, int],
    active: int = 1000,
    cliff: Cliff | None = None,
    now: datetime = NOW,
    **staggering: Any,
) -> Forecast:
    """A forecast for tokens that expire so many days from today."""
    return forecast(
        "prod",
        {TODAY + ahead * DAY: tokens for ahead, tokens in days.items()},
        active,
        now=now,
        cliff=cliff or Cliff(),
        staggering=Staggering(**staggering),
    )


def ahead(days: Mapping[date, int]) -> dict[int, int]:
    return {(day - TODAY).days: tokens for day, tokens in days.items()}


def slots(of: Forecast) -> list[tuple[int, int, int, bool]]:
    return [
        ((slot.expire_on - TODAY).days, (slot.renew_on - TODAY).days, slot.tokens, slot.keeps_lead) for slot in of.slots
    ]


def endings(days: Mapping[int, Sequence[str]]) -> list[Ending]:
    """Tokens by the day they expire, each with its owner."""
    return [
        Ending("prod", f"token-{day}-{number}", None, owner, NOW + day * DAY)
        for day in sorted(days)
        for number, owner in enumerate(sorted(days[day]))
    ]


def proposed(counted: Forecast, tokens: Sequence[Ending]) -> list[Proposal]:
    proposer = Proposer(counted)
    return [one for token in tokens if (one := proposer.propose(token)) is not None]


def test_horizon_is_twelve_months_from_today_on() -> None:
    assert horizon(NOW) == (TODAY, date(2027, 6, 14))
    assert horizon(datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)) == (date(2024, 2, 29), date(2025, 2, 28))


def test_days_beyond_the_horizon_and_before_it_are_left_out() -> None:
    counted = made({-1: 3, 0: 1, 364: 2, 365: 4, 30: 0})
    assert ahead(counted.days) == {0: 1, 364: 2}
    assert (counted.tokens, counted.most_before) == (3, 2)


def test_day_is_that_of_utc() -> None:
    east = timezone_hours(10)
    assert day_of(datetime(2026, 6, 16, 9, 59, 59, tzinfo=east)) == TODAY
    assert day_of(datetime(2026, 6, 16, 10, tzinfo=east)) == TODAY + DAY


def timezone_hours(hours: int) -> Any:
    return timezone(timedelta(hours=hours))


@pytest.mark.parametrize(
    ("tokens", "active", "is_cliff"),
    [(9, 1000, False), (10, 1000, True), (2, 2, False), (3, 30, True), (3, 31, False)],
)
def test_cliff_is_what_the_rule_says(tokens: int, active: int, is_cliff: bool) -> None:
    counted = made({40: tokens}, active)
    assert bool(counted.cliffs) is is_cliff
    assert bool(counted.slots) is is_cliff


def test_window_of_several_days_is_the_rule_s_own() -> None:
    first = (TODAY - date(1970, 1, 1)).days
    start = 70 - (first + 70) % 7  # a window of seven days begins then
    counted = made({start - 1: 6, start: 4, start + 6: 6, start + 7: 6}, cliff=Cliff(window_days=7))
    (cliff,) = counted.cliffs
    assert (cliff.first_day, cliff.last_day) == (TODAY + start * DAY, TODAY + (start + 6) * DAY)
    assert cliff.tokens == 10
    assert {slot.expire_on for slot in counted.slots} == {cliff.first_day, cliff.last_day}


def test_nothing_that_expires_is_no_cliff_and_no_proposal() -> None:
    counted = made({})
    assert (counted.most_before, counted.most_after, counted.cliffs, counted.slots) == (0, 0, [], [])


def test_cliff_is_spread_over_the_days_before_its_lead_time() -> None:
    counted = made({100: 10}, lead_days=14, spread_days=9)
    assert slots(counted) == [(100, day, 1, True) for day in range(77, 87)]
    assert (counted.most_before, counted.most_after, counted.without_lead) == (10, 1, 0)
    assert ahead(counted.renewals) == dict.fromkeys(range(77, 87), 1)


def test_days_that_have_renewals_of_their_own_get_fewer() -> None:
    counted = made({100: 10, 80: 3, 82: 1}, lead_days=14, spread_days=9)
    assert ahead(counted.renewals) == dict.fromkeys((77, 78, 79, 81, 82), 2) | {80: 3, 83: 1}
    assert counted.most_after == 3


def test_lead_time_that_has_begun_is_given_up_and_said() -> None:
    counted = made({3: 12}, lead_days=14)
    assert slots(counted) == [(3, 0, 3, False), (3, 1, 3, False), (3, 2, 3, False), (3, 3, 3, False)]
    assert (counted.without_lead, counted.most_after) == (12, 3)


@pytest.mark.parametrize(("lead_days", "without"), [(39, 0), (40, 0), (41, 10)])
def test_lead_time_is_kept_to_the_day(lead_days: int, without: int) -> None:
    counted = made({40: 10}, lead_days=lead_days)
    assert counted.without_lead == without


def test_cliff_of_today_is_renewed_today() -> None:
    assert slots(made({0: 11})) == [(0, 0, 11, False)]


def test_cliffs_that_leave_no_room_give_up_lead_and_not_the_maximum() -> None:
    counted = made({0: 9, 20: 30, 21: 30, 22: 30}, lead_days=20)
    assert slots(counted) == [(20, 0, 21, True), (20, 3, 9, False), (21, 1, 30, True), (22, 2, 30, True)]
    assert (counted.most_before, counted.most_after, counted.without_lead) == (30, 30, 9)


def test_cliffs_one_after_the_other_stay_where_they_are() -> None:
    counted = made(dict.fromkeys(range(41), 10), lead_days=14)
    assert slots(counted) == [(day, day, 10, False) for day in range(41)]


def test_weekends_are_left_out_on_demand() -> None:
    counted = made({100: 10}, lead_days=14, spread_days=9, weekdays_only=True)
    assert all(slot.renew_on.weekday() < 5 for slot in counted.slots)
    assert sum(slot.tokens for slot in counted.slots) == 10
    assert counted.most_after == 2


def test_token_that_expires_on_a_weekend_without_a_weekday_before_is_renewed_then() -> None:
    saturday = NOW + 5 * DAY
    counted = forecast(
        "prod",
        {day_of(saturday): 10},
        100,
        now=saturday,
        cliff=Cliff(),
        staggering=Staggering(weekdays_only=True),
    )
    (slot,) = counted.slots
    assert (slot.renew_on, slot.tokens, slot.keeps_lead) == (day_of(saturday), 10, False)


def test_tokens_of_one_owner_are_spread() -> None:
    counted = made({100: 12}, lead_days=14, spread_days=5)
    every = proposed(counted, endings({100: ["a"] * 6 + ["b"] * 6}))
    by_owner: dict[str | None, Counter[date]] = {}
    for one in every:
        by_owner.setdefault(one.token.owner, Counter())[one.renew_on] += 1
    assert {owner: max(days.values()) for owner, days in by_owner.items()} == {"a": 1, "b": 1}


def test_only_tokens_of_cliffs_are_proposed_anything() -> None:
    counted = made({50: 3, 100: 10})
    every = proposed(counted, endings({50: ["a"] * 3, 100: ["a"] * 10}))
    assert {day_of(one.token.expiration_date) for one in every} == {TODAY + 100 * DAY}
    assert len(every) == 10
    assert Proposer(counted).days == [TODAY + 100 * DAY]


calendars = st.dictionaries(st.integers(0, 364), st.integers(1, 40), max_size=40) | st.dictionaries(
    st.integers(0, 40), st.integers(1, 40), max_size=40
)
wishes = st.fixed_dictionaries(
    {"lead_days": st.integers(0, 60), "spread_days": st.integers(0, 60), "weekdays_only": st.booleans()}
)
measures = st.builds(
    Cliff,
    window_days=st.integers(1, 20),
    min_count=st.integers(2, 60),
    pct=st.floats(1, 100),
    needs=st.sampled_from(["any", "all"]),
)


@settings(max_examples=300, deadline=None)
@given(calendars, wishes, measures, st.integers(0, 6))
def test_every_proposal_holds_what_it_promises(
    days: dict[int, int], wish: dict[str, Any], measure: Cliff, later: int
) -> None:
    now = NOW + later * DAY
    days = {day + later: tokens for day, tokens in days.items() if day + 6 < 365}
    counted = made(days, max(sum(days.values()), 1), measure, now, **wish)
    assert counted == made(days, max(sum(days.values()), 1), measure, now, **wish)

    # Nothing is lost or invented, and no day gets fuller than the fullest was.
    assert sum(counted.renewals.values()) == sum(counted.days.values()) == sum(days.values())
    assert counted.most_after <= counted.most_before
    in_cliffs = Counter(
        {
            day: tokens
            for day, tokens in counted.days.items()
            if any(cliff.first_day <= day <= cliff.last_day for cliff in counted.cliffs)
        }
    )
    assert sum((Counter({slot.expire_on: slot.tokens}) for slot in counted.slots), Counter()) == in_cliffs

    every = proposed(counted, endings({day: [f"owner-{n % 3}" for n in range(days[day])] for day in days}))
    assert len(every) == sum(in_cliffs.values())
    assert len({one.token.label for one in every}) == len(every)
    assert Counter(one.renew_on for one in every) + Counter(counted.days) - in_cliffs == Counter(counted.renewals)
    lead = wish["lead_days"] * DAY
    for one in every:
        expires = day_of(one.token.expiration_date)
        assert day_of(now) <= one.renew_on <= expires
        if one.keeps_lead:
            assert one.renew_on <= expires - lead
            assert one.renew_on >= expires - lead - wish["spread_days"] * DAY
        if wish["weekdays_only"]:
            assert one.renew_on.weekday() < 5 or (one.renew_on == expires and not one.keeps_lead)


@settings(max_examples=100, deadline=None)
@given(calendars, wishes)
def test_lead_is_kept_wherever_there_is_room(days: dict[int, int], wish: dict[str, Any]) -> None:
    counted = made(days, 1000, **wish | {"weekdays_only": False})
    if any((slot.expire_on - TODAY).days >= wish["lead_days"] and not slot.keeps_lead for slot in counted.slots):
        assert (
            counted.most_after == counted.most_before
        )  # all the room there is was needed before any lead was given up
