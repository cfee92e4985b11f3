"""Why a rule says what it says of a token: applied or not, fired or not, with the reason for each."""

from datetime import datetime
from enum import StrEnum

import msgspec

from auditor.model.finding import Violation
from auditor.model.history import History
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Feeds, Kind, Rule
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy


class Answer(StrEnum):
    """What becomes of a rule for one token."""

    FIRED = "fired"
    PASSED = "passed"
    NOT_ASSESSED = "not assessed"
    """It could not tell, which is no pass."""
    EXEMPT = "exempt"
    """One of its ``exempt`` selectors selects the token."""
    NOT_SELECTED = "not selected"
    """None of its ``only`` selectors does."""
    NOT_CONCERNED = "not concerned"
    """It speaks of missing tokens and this one was found, or the other way about."""
    AT_SWEEPS_END = "at a sweep's end"
    """It looks at more than one token, so that one observation cannot answer."""
    DISABLED = "disabled"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule makes of one token."""

    rule: Rule
    answer: Answer
    reason: str
    """What it said where it fired; else the test that the token passed, or what kept the rule from it."""
    violations: tuple[Violation, ...] = ()
    selector: int | None = None
    """Position in ``exempt`` of the selector that exempts the token."""


def explain(
    document: PolicyDocument,
    rule: Rule,
    observation: Observation,
    history: History,
    now: datetime,
    *,
    feeds: Feeds,
    environment_kind: str | None,
) -> Explanation:
    """Return what a rule of a policy makes of an observation, judged at ``now``."""
    policy = Policy(document, [rule], feeds=feeds, environment_kind=environment_kind)

    def answered(
        answer: Answer, reason: str, violations: tuple[Violation, ...] = (), selector: int | None = None
    ) -> Explanation:
        return Explanation(rule=rule, answer=answer, reason=reason, violations=violations, selector=selector)

    if rule.id in policy.disabled:
        return answered(Answer.DISABLED, "enabled = false")
    if rule.id in policy.unassessed:
        return answered(Answer.NOT_ASSESSED, policy.unassessed[rule.id])
    kept_out = _kept_out(document, rule, observation, history)
    if kept_out is not None:
        answer, reason, selector = kept_out
        return answered(answer, reason, selector=selector)
    if rule.kind not in {Kind.SNAPSHOT, Kind.HISTORY}:
        return answered(Answer.AT_SWEEPS_END, "looks at more than this token, when a sweep ends")
    if rule.speaks_of_missing and observation.outcome is Outcome.FOUND:
        return answered(Answer.NOT_CONCERNED, "speaks of tokens that are missing; this one was found")
    if not rule.speaks_of_missing and observation.outcome is Outcome.MISSING:
        return answered(Answer.NOT_CONCERNED, "speaks of tokens that are found; this one is missing")
    assessment = policy.assess(observation, history, now)
    if rule.id in assessment.unassessed:
        return answered(Answer.NOT_ASSESSED, assessment.unassessed[rule.id])
    if not assessment.violations:
        return answered(Answer.PASSED, f"does not hold: {rule.test}")
    return answered(
        Answer.FIRED,
        "; ".join(violation.message for violation in assessment.violations),
        tuple(assessment.violations),
    )


def _kept_out(
    document: PolicyDocument, rule: Rule, observation: Observation, history: History
) -> tuple[Answer, str, int | None] | None:
    """Return what keeps a rule from a token, None where nothing does; the number is that of the exempting selector."""
    settings = document.settings_of(rule.id)
    if settings is None:
        return None
    token = observation.metadata or history.last_found or TokenMetadata(observation.public_id or observation.label)
    tier = document.risk.tier_of_all(token.scopes)
    if settings.only and not any(selector.compile()(observation, token, tier) for selector in settings.only):
        return Answer.NOT_SELECTED, "no selector of only selects the token", None
    for position, selector in enumerate(settings.exempt):
        if selector.compile()(observation, token, tier):
            return Answer.EXEMPT, f"exempt[{position}] selects the token", position
    return None
