"""What holds of the snapshot rules whatever the token: in time, in zones, and as scopes come."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynatrace.answer import decode
from auditor.model.finding import Severity, Violation
from auditor.model.history import NO_HISTORY, History, State, Use
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Feeds, Kind, Sight, sight_of
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.lifecycle import THRESHOLD
from auditor.policy.registry import SHIPPED
from auditor.policy.scope_catalogue import SCOPES
from tests.policy.policy_samples import DAY, NOW, PUBLIC_ID, observed, policy_of, severity, token

CONFIGURED: dict[str, Any] = {
    "DT-EXP-01": {"exempt_names": "exempt-*"},
    "DT-NET-01": {"cidrs": ["203.0.113.0/24"], "networks": [{"owner": "eve", "cidrs": ["10.0.0.0/8"]}]},
    "DT-NET-05": {"human_cidrs": ["10.0.0.0/8"]},
    "DT-SCP-01": {"approvals": [{"owner": "eve", "scopes": ["settings.*"]}]},
    "DT-SCP-04": {"profiles": [{"profile": "ingest", "name": "ingest-*", "scopes": ["*.ingest"]}]},
    "DT-OWN-01": {"patterns": "svc-*"},
    "DT-PAT-02": {"env_selector": {"environment": "prod"}},
}
POLICY = Policy(
    PolicyDocument.model_validate({"name": "everything", "rules": CONFIGURED}),
    [rule for rule in SHIPPED if rule.kind is Kind.SNAPSHOT],
    feeds=Feeds(
        owners=frozenset({"jdoe"}),
        leavers={"eve": NOW - 40 * DAY, "jdoe": NOW + 40 * DAY},
        attestations={PUBLIC_ID: NOW - 100 * DAY},
    ),
    environment_kind="production",
)
HIGH_RISK = sorted(name for name, scope in SCOPES.items() if scope.tier in {"high", "critical"})

spans = st.timedeltas(timedelta(), timedelta(days=800))
instants = st.timedeltas(timedelta(days=-800), timedelta(days=800)).map(lambda span: NOW + span) | st.sampled_from(
    [NOW + sign * days * DAY for days in (0, 1, 7, 14, 30, 45, 60, 90, 180, 365) for sign in (-1, 1)]
)
scope_sets = st.lists(st.sampled_from([*SCOPES, "brand.new", ""]), max_size=16).map(
    lambda scopes: tuple(sorted(set(scopes)))
)
tokens = st.builds(
    TokenMetadata,
    id=st.just(PUBLIC_ID) | st.just("other"),
    name=st.sampled_from([None, "", "ingest-1", "exempt-1", "jenkins", "dev", "report"]),
    owner=st.sampled_from([None, "", "eve", "jdoe", "svc-ingest", "staging"]),
    enabled=st.sampled_from([None, False, True]),
    personal_access_token=st.sampled_from([None, False, True]),
    creation_date=st.none() | instants,
    expiration_date=st.none() | instants,
    last_used_date=st.none() | instants,
    last_used_ip_address=st.sampled_from([None, "10.1.2.3", "203.0.113.9", "198.51.100.7", "nowhere"]),
    scopes=scope_sets,
)
observations = st.builds(
    lambda metadata, disabled_since, public_id: observed(
        metadata, disabled_since=disabled_since if metadata.enabled is False else None, public_id=public_id
    ),
    tokens,
    instants,
    st.sampled_from([None, PUBLIC_ID]),
)

histories = st.builds(
    lambda before, states, uses: History(
        None if before is None else observed(before, at=NOW - DAY), before, tuple(states), tuple(uses)
    ),
    st.none() | tokens,
    st.lists(st.builds(State, instants, st.just(Outcome.FOUND), tokens), max_size=3),
    st.lists(st.builds(Use, instants, instants, st.sampled_from([None, "10.1.2.3", "203.0.113.9"])), max_size=3),
)


def told(observation: Observation, now: datetime = NOW) -> dict[str, Violation]:
    """Return what each rule says; each says one thing at most, so of a ladder the tightest step only."""
    violations = POLICY.evaluate(observation, NO_HISTORY, now)
    by_rule = {violation.rule_id: violation for violation in violations}
    assert len(by_rule) == len(violations)
    return by_rule


def rank(severity: str | None) -> int:
    return -1 if severity is None else Severity(severity).rank


def ranks(observation: Observation, now: datetime = NOW) -> dict[str, int]:
    """Return how bad each rule finds a token; -1 where it says nothing."""
    violations = told(observation, now)
    return {rule_id: violations[rule_id].severity.rank if rule_id in violations else -1 for rule_id in POLICY.assessed}


def changed(observation: Observation, **changes: Any) -> Observation:
    """Return an observation with changes to its metadata."""
    assert observation.metadata is not None
    metadata = msgspec.structs.replace(observation.metadata, **changes)
    return msgspec.structs.replace(observation, metadata=metadata)


def test_all_snapshot_rules_are_assessed_here() -> None:
    assert POLICY.unassessed == {}
    assert len(POLICY.assessed) == 24


@given(observations, instants, spans)
def test_severity_never_falls_as_time_passes_but_where_an_end_comes(
    observation: Observation, now: datetime, more: timedelta
) -> None:
    before, after = ranks(observation, now), ranks(observation, now + more)
    fallen = {rule_id for rule_id in before if after[rule_id] < before[rule_id]}
    assert fallen <= {"DT-EXP-03"}
    if fallen:  # at its end the token becomes DT-EXP-04's
        assert before["DT-EXP-04"] == -1
        assert after["DT-EXP-04"] >= 0


@given(observations, instants, spans)
def test_words_and_evidence_stay_while_only_time_passes(
    observation: Observation, now: datetime, more: timedelta
) -> None:
    before, after = told(observation, now), told(observation, now + more)
    for rule_id in before.keys() & after.keys():
        first, then = dict(before[rule_id].evidence), dict(after[rule_id].evidence)
        assert cast(int, then.pop(THRESHOLD, 0)) <= cast(int, first.pop(THRESHOLD, 0))  # it only comes nearer
        assert (before[rule_id].message, first) == (after[rule_id].message, then)


@given(observations, st.sampled_from(HIGH_RISK))
def test_a_further_high_risk_scope_never_lowers_a_severity(observation: Observation, scope: str) -> None:
    assert observation.metadata is not None
    scopes = tuple(sorted({*observation.metadata.scopes, scope}))
    before, after = ranks(observation), ranks(changed(observation, scopes=scopes))
    assert {rule_id for rule_id in before if after[rule_id] < before[rule_id]} == set()


@given(st.lists(st.sampled_from([*SCOPES, "brand.new"]), max_size=16), st.randoms(use_true_random=False))
def test_order_and_repetition_of_scopes_do_not_matter(scopes: list[str], random: Any) -> None:
    again = [*scopes, *scopes[::2]]
    random.shuffle(again)
    first, second = (
        observed(decode("v2", json.dumps({"id": PUBLIC_ID, "scopes": given}).encode())) for given in (scopes, again)
    )
    assert told(first) == told(second)


@given(observations, st.integers(-23, 23), instants)
def test_an_instant_is_the_same_in_every_zone(observation: Observation, hours: int, now: datetime) -> None:
    zone = timezone(timedelta(hours=hours, minutes=30))
    metadata = observation.metadata
    assert metadata is not None
    dates = {
        name: value.astimezone(zone)
        for name in metadata.__struct_fields__
        if isinstance(value := getattr(metadata, name), datetime)
    }
    assert ranks(changed(observation, **dates), now.astimezone(zone)) == ranks(observation, now)


@given(st.timedeltas(timedelta(), timedelta(days=70)), st.timedeltas(timedelta(), timedelta(days=70)), spans)
def test_severity_of_a_near_end_never_falls_before_the_end(
    one: timedelta, other: timedelta, used_before_end: timedelta
) -> None:
    policy = policy_of("DT-EXP-03")
    seen = observed(token(expiration_date=NOW, last_used_date=NOW - used_before_end))
    earlier, later = sorted((NOW - one, NOW - other))
    assert rank(severity(policy, seen, earlier)) <= rank(severity(policy, seen, later))


@given(st.timedeltas(timedelta(), timedelta(days=60)))
def test_a_near_end_is_never_skipped_whenever_a_sweep_comes(left: timedelta) -> None:
    assert severity(policy_of("DT-EXP-03"), observed(token(expiration_date=NOW + left))) is not None


@given(st.timedeltas(timedelta(days=45), timedelta(days=3000)), spans)
def test_stale_stays_stale_until_used(idle: timedelta, more: timedelta) -> None:
    policy = policy_of("DT-USE-02")
    seen = observed(token(last_used_date=NOW - idle))
    assert severity(policy, seen, NOW + more) is not None
    assert severity(policy, observed(token(last_used_date=NOW + more)), NOW + more) is None


@given(st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_a_token_is_either_about_to_end_or_ended(left: timedelta) -> None:
    seen = observed(token(expiration_date=NOW + left))
    near, ended = severity(policy_of("DT-EXP-03"), seen), severity(policy_of("DT-EXP-04"), seen)
    assert near is None or ended is None
    assert (ended is not None) is (left < timedelta())


@given(observations, histories)
def test_a_rule_that_is_not_asked_would_have_nothing_to_say(observation: Observation, history: History) -> None:
    asked = [rule for rule in SHIPPED if rule.kind in {Kind.SNAPSHOT, Kind.HISTORY} and not rule.speaks_of_missing]
    assert observation.metadata is not None
    sight = Sight(*sight_of(observation.metadata, history))
    silent = [replace(rule, can_speak=lambda _sight: True) for rule in asked if not rule.can_speak(sight)]
    policy = Policy(POLICY.document, silent, feeds=POLICY.feeds, environment_kind="production")
    assert policy.evaluate(observation, history, NOW) == []
