"""What holds of every rule about events, whatever a token's past."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.history import NO_HISTORY, History, State, Use
from auditor.model.lookup import Outcome, TokenMetadata
from auditor.policy.base import Feeds, Kind, Rule
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.events import EventParams
from auditor.policy.registry import SHIPPED
from tests.policy.history_samples import Sight, judged, shown, sight
from tests.policy.policy_samples import DAY, HOUR, NOW, observed, policy_of

RULES = [rule for rule in SHIPPED if rule.kind is Kind.HISTORY]
TABLES: dict[str, dict[str, Any]] = {
    "DT-NET-03": {"egress_cidrs": ["203.0.113.0/24"]},
    "DT-STA-05": {"profiles": [{"profile": "a", "name": "a*", "scopes": ["*"]}]},
    "DT-SCP-07": {
        "ignore_if_change_ticket": [
            {"ticket": "C-1", "starts_at": NOW, "ends_at": NOW + DAY, "owner": "a", "scopes": ["logs.*"]}
        ]
    },
    "DT-STA-02": {"approved_window": [{"ticket": "C-1", "starts_at": NOW, "ends_at": NOW + DAY, "owner": "a"}]},
}
ALL = Policy(
    PolicyDocument.model_validate({"name": "history", "rules": TABLES}),
    RULES,
    feeds=Feeds(),
    environment_kind="production",
)
ids = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)

instants = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOW, NOW - DAY, NOW + DAY]
)
texts = st.text(st.characters(), max_size=10) | st.sampled_from(["a", "b", "x" * 500, "\ud800"])
addresses = st.none() | texts | st.ip_addresses().map(str)
any_token = st.builds(
    TokenMetadata,
    id=texts,
    name=st.none() | texts,
    owner=st.none() | texts,
    enabled=st.none() | st.booleans(),
    creation_date=st.none() | instants,
    modified_date=st.none() | instants,
    expiration_date=st.none() | instants,
    last_used_date=st.none() | instants,
    last_used_ip_address=addresses,
    scopes=st.lists(texts, max_size=5).map(lambda names: tuple(sorted(set(names)))),
)
any_state = st.builds(
    lambda at, metadata, misses, previous_at: State(
        at, Outcome.MISSING if metadata is None else Outcome.FOUND, metadata, misses, previous_at
    ),
    instants,
    st.none() | any_token,
    st.integers(0, 9),
    st.none() | instants,
)
any_use = st.builds(Use, instants, instants, addresses)
any_observation = st.builds(
    lambda metadata, at, first_seen_at, disabled_since: observed(
        metadata,
        at=at,
        outcome=Outcome.MISSING if metadata is None else Outcome.FOUND,
        first_seen_at=first_seen_at,
        disabled_since=disabled_since,
    ),
    st.none() | any_token,
    instants,
    st.none() | instants,
    st.none() | instants,
)
any_history = st.builds(
    History,
    st.none() | any_observation,
    st.none() | any_token,
    st.lists(any_state, max_size=6).map(tuple),
    st.lists(any_use, max_size=14).map(tuple),
    st.integers(0, 9),
)


@given(any_observation, any_history, instants)
def test_rules_take_any_history_and_say_only_json(observation: Any, history: History, now: datetime) -> None:
    for violation in ALL.evaluate(observation, history, now):
        assert violation.message
        assert len(violation.message) < 1000
        assert violation.discriminator == ""
        assert msgspec.to_builtins(violation.evidence) == violation.evidence


@given(any_observation, instants)
def test_token_without_history_breaks_none_of_them(observation: Any, now: datetime) -> None:
    for violation in ALL.evaluate(observation, NO_HISTORY, now):
        assert violation.rule_id == "DT-USE-06", "a date in the future needs no earlier lookup to be seen"
        assert all(odd["before"] is None for odd in violation.evidence["dates"])


def test_quiet_token_breaks_none_of_them() -> None:
    at = [NOW - n * DAY for n in range(70, -1, -1)]
    sights = [sight(day, creation_date=NOW - 90 * DAY, last_used_date=day - HOUR) for day in at]
    for end in range(1, len(sights) + 1):
        observation, history = shown(*sights[:end])
        assert ALL.evaluate(observation, history, observation.at) == []


@ids
def test_rule_speaks_of_events_for_days_that_the_operator_sets(rule: Rule) -> None:
    assert issubclass(rule.params, EventParams)
    params = rule.params.model_validate({"keep_days": 3})
    assert isinstance(params, EventParams)
    assert params.kept == 3 * DAY
    assert params.look_back >= params.kept


def test_policy_looks_back_as_far_as_its_farthest_rule() -> None:
    assert ALL.lookback == 60 * DAY
    table: dict[str, Any] = {rule.id: {"keep_days": 5} for rule in RULES}
    table["DT-STA-04"] = {"keep_days": 90}
    document = PolicyDocument.model_validate({"name": "long", "rules": table})
    assert Policy(document, RULES, feeds=Feeds(), environment_kind=None).lookback == 90 * DAY
    assert Policy(document, [], feeds=Feeds(), environment_kind=None).lookback == timedelta()


# A token's course: lookups after spans that meet the limits of the rules, each of which may show something new. Making
# one takes longer than judging it by every rule, so that a course made once meets them all.

spans = st.sampled_from([HOUR, DAY, 7 * DAY, 29 * DAY, 30 * DAY - HOUR, 30 * DAY, 31 * DAY, 45 * DAY])
fields = st.fixed_dictionaries(
    {},
    optional={
        "owner": st.sampled_from(["a", "b", None]),
        "name": st.sampled_from(["a", "b"]),
        "enabled": st.booleans(),
        "scopes": st.sampled_from([("logs.read",), ("logs.read", "settings.write"), ()]),
        "expiration_date": st.sampled_from([NOW + 9 * DAY, NOW + 99 * DAY, None]),
        "modified_date": st.sampled_from([NOW - 99 * DAY, NOW - DAY, NOW + 5 * DAY]),
        "creation_date": st.sampled_from([NOW - 99 * DAY, NOW - 98 * DAY]),
    },
)
uses = st.none() | st.tuples(
    st.sampled_from([timedelta(), HOUR, 20 * DAY, -HOUR]), st.sampled_from(["203.0.113.7", "198.51.100.9", "10.0.0.1"])
)
moves = st.tuples(spans, st.none() | st.tuples(fields, uses))


def course_of(steps: Sequence[tuple[timedelta, tuple[Mapping[str, Any], Any] | None]]) -> list[Sight]:
    """Return a token's lookups: each step is a span and what is new then; None: it is missing."""
    at = NOW
    known: dict[str, Any] = {"creation_date": NOW - 99 * DAY, "last_used_date": NOW - DAY}
    sights = [sight(at, **known)]
    for span, news in steps:
        at += span
        if news is None:
            sights.append(Sight(at, None))
            continue
        changes, use = news
        known |= changes
        if use is not None:
            known |= {"last_used_date": at - use[0], "last_used_ip_address": use[1]}
        sights.append(sight(at, **known))
    return sights


courses = st.lists(moves, min_size=1, max_size=8).map(course_of)
later = st.lists(spans | st.timedeltas(timedelta(), 90 * DAY), min_size=2, max_size=2)


@cache
def policy(rule_id: str) -> Policy:
    return policy_of(rule_id, **TABLES.get(rule_id, {}))


def again(last: Sight, wait: timedelta) -> Sight:
    """Return a later lookup that says the same."""
    return Sight(last.at + wait, last.metadata)


TURNING: Final = {"DT-USE-05", "DT-STA-03"}
"""Rules that begin to speak as time passes or further lookups say the same."""


@given(sights=courses, waits=later)
def test_what_is_said_of_an_event_ends_once_and_never_begins_without_news(
    sights: list[Sight], waits: list[timedelta]
) -> None:
    soon, late = sorted(waits)
    one = again(sights[-1], soon)
    for rule_id in [rule.id for rule in RULES if rule.id not in TURNING]:
        first = judged(policy(rule_id), [*sights, one])
        second = judged(policy(rule_id), [*sights, one, again(sights[-1], late)])
        if first is None:
            assert second is None, rule_id
        elif second is not None and rule_id not in {"DT-SCP-07", "DT-SCP-08", "DT-USE-06"}:  # these list several events
            assert first == second, f"what {rule_id} says changes when a fact does, and not as days go by"


def changed(**changes: Any) -> Callable[[datetime], list[Sight]]:
    """A lookup that found the token with values that it never had, and one that found it with others."""
    before = {name: values[0] for name, values in changes.items()}
    after = {name: values[1] for name, values in changes.items()}
    return lambda at: [sight(at - DAY, **before), sight(at, **after)]


def uses_of(*seen: tuple[timedelta, str]) -> Callable[[datetime], list[Sight]]:
    """Lookups a minute after uses that came so long before the last lookup, from these addresses."""
    minute = timedelta(minutes=1)
    return lambda at: [
        sight(at - ago, creation_date=NOW - 99 * DAY, last_used_date=at - ago - minute, last_used_ip_address=address)
        for ago, address in seen
    ]


ELSEWHERE: Final = "192.0.2.77"
EVENTS: Final[dict[str, Callable[[datetime], list[Sight]]]] = {
    "DT-EXP-07": changed(expiration_date=(NOW + 500 * DAY, NOW + 501 * DAY)),
    "DT-USE-03": uses_of((50 * DAY, ELSEWHERE), (timedelta(), ELSEWHERE)),
    "DT-USE-04": lambda at: [
        sight(at - DAY, enabled=False, last_used_date=NOW - 50 * DAY),
        sight(at, enabled=False, last_used_date=at - HOUR),
    ],
    "DT-USE-06": changed(last_used_date=(NOW - 20 * DAY, NOW - 21 * DAY)),
    "DT-NET-02": uses_of(*((n * DAY, ELSEWHERE) for n in range(5, 0, -1)), (timedelta(), "198.18.0.1")),
    "DT-NET-03": uses_of((DAY, "10.0.0.1"), (timedelta(), ELSEWHERE)),
    "DT-NET-04": uses_of(*((n * DAY, f"192.0.{n}.1") for n in range(3, -1, -1))),
    "DT-SCP-07": changed(scopes=(("a",), ("a", "zzz"))),
    "DT-SCP-08": changed(modified_date=(NOW + 600 * DAY, NOW + 601 * DAY)),
    "DT-OWN-03": changed(owner=("somebody", "somebody else")),
    "DT-STA-02": changed(enabled=(False, True)),
    "DT-STA-04": lambda at: [Sight(at - 2 * HOUR, None), Sight(at - HOUR, None), sight(at)],
    "DT-STA-05": changed(name=("something", "something else")),
}


@given(
    past=courses,
    pause=st.timedeltas(60 * DAY, 90 * DAY),
    wait=st.timedeltas(timedelta(), 30 * DAY - timedelta(seconds=1)),
)
def test_event_is_spoken_of_for_its_days_and_no_longer_whatever_came_before(
    past: list[Sight], pause: timedelta, wait: timedelta
) -> None:
    for rule_id, event in EVENTS.items():
        sights = [*past, *event(past[-1].at + pause)]
        assert judged(policy(rule_id), sights) is not None, rule_id
        assert judged(policy(rule_id), [*sights, again(sights[-1], wait)]) is not None, rule_id
        assert judged(policy(rule_id), [*sights, again(sights[-1], 30 * DAY)]) is None, rule_id


def test_every_rule_that_does_not_turn_has_an_event_here() -> None:
    assert EVENTS.keys() == {rule.id for rule in RULES} - TURNING


found_courses = st.lists(st.tuples(spans, st.tuples(fields, uses)), min_size=1, max_size=10).map(course_of)


@given(sights=found_courses)
def test_rule_says_the_same_of_all_history_and_of_as_much_as_it_asks_for(sights: list[Sight]) -> None:
    observation, everything = shown(*sights)
    for rule_id in ("DT-EXP-07", "DT-OWN-03", "DT-STA-05", "DT-SCP-07", "DT-SCP-08", "DT-STA-02"):
        one = policy(rule_id)
        _same, enough = shown(*sights, look_back=one.lookback)
        # A value that changes there and back twice in a row can be told from one that does so once only by all of it;
        # what is said of it then ends early, and no more.
        whole, part = (bool(one.evaluate(observation, seen, observation.at)) for seen in (everything, enough))
        is_plain = rule_id.startswith(("DT-SCP", "DT-STA-02")) or len(everything.states) <= 2
        assert part == whole or not is_plain, rule_id
