"""Runs the tests of written rules: of each given token, the rule must say what its test expects."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from auditor.model.finding import Violation
from auditor.model.history import NO_HISTORY, History
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.model.token import Location
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Assessment, Policy
from auditor.policy.written.document import GivenToken, RuleTest, WrittenRule
from auditor.policy.written.rules import made_of

_ANY_INSTANT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def failures(document: PolicyDocument, table: WrittenRule, *, uses_now: bool) -> Iterable[tuple[int, str, str]]:
    """Run a sound rule's tests; yield position, key and what is wrong for each that fails.

    The rule is applied with its selectors, as if it were enabled, and with the document's risk tiers.
    """
    applied = table.model_copy(update={"enabled": True})
    alone = document.model_copy(update={"rule": (applied,), "rules": {}})
    for position, test in enumerate(table.test):
        if uses_now and test.now is None:
            yield position, "now", "is missing; the rule uses it, so say at which instant to judge"
            continue
        policy = Policy(alone, list(made_of([applied]).values()), feeds=Feeds(), environment_kind=test.environment.kind)
        for key, problem in _failures_of(test, _assessed(policy, test), table.id):
            called = f' ("{test.name}")' if test.name else ""
            yield position, key, f"{problem}{called}"


def _assessed(policy: Policy, test: RuleTest) -> Assessment:
    instants = (test.now, test.first_seen, test.token.last_used_date, test.token.creation_date)
    # Where the rule does not use ``now``, any instant will do.
    now = next((instant for instant in instants if instant is not None), _ANY_INSTANT)
    observation = Observation(
        test.environment.name,
        test.public_id or test.token.id,
        now,
        Outcome.FOUND,
        _metadata(test.token),
        public_id=test.public_id or test.token.id,
        locations=tuple(Location(location.source, location.place) for location in test.locations),
        tags=frozenset(test.tags),
        first_seen_at=test.first_seen,
    )
    if test.previous is None:
        return policy.assess(observation, NO_HISTORY, now)
    token = _metadata(test.previous)
    previous = Observation(
        test.environment.name, observation.label, now, Outcome.FOUND, token, public_id=observation.public_id
    )
    return policy.assess(observation, History(previous, token), now)


def _metadata(given: GivenToken) -> TokenMetadata:
    fields = {name: getattr(given, name) for name in GivenToken.model_fields}
    return TokenMetadata(
        **fields | {"scopes": tuple(sorted(set(given.scopes))), "additional_metadata": dict(given.additional_metadata)}
    )


def _failures_of(test: RuleTest, assessment: Assessment, rule_id: str) -> Iterable[tuple[str, str]]:
    violation = next(iter(assessment.violations), None)
    reason = assessment.unassessed.get(rule_id)
    got = "violation" if violation is not None else "not assessed" if reason is not None else "none"
    if got != test.expect:
        yield "expect", f"the test expects {test.expect}, but the rule {_told(violation, reason)}"
        return
    if violation is None:
        return
    if test.severity is not None and violation.severity is not test.severity:
        yield "severity", f"the test expects {test.severity.value}, but the violation is {violation.severity.value}"
    if test.message is not None and violation.message != test.message:
        yield "message", f'the message is "{violation.message}"'


def _told(violation: Violation | None, reason: str | None) -> str:
    if violation is not None:
        return f'says: {violation.severity.value}: "{violation.message}"'
    return "says nothing" if reason is None else f"cannot tell: {reason}"
