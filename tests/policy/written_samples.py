"""Rules written in policies, as tests of them start."""

from typing import Any

from auditor.model.history import NO_HISTORY, History
from auditor.model.lookup import Observation
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Assessment, Policy
from auditor.policy.written.rules import made_of
from tests.policy.policy_samples import NOW, observed

RULE: dict[str, Any] = {
    "id": "ACME-01",
    "title": "A rule of ours",
    "severity": "medium",
    "when": 'token.owner == "mallory"',
    "message": "belongs to {token.owner}",
    "rationale": "Because we say so.",
    "remediation": "Give it back.",
}


def written(*tables: dict[str, Any], **changes: Any) -> PolicyDocument:
    """Return a policy with one rule, the sample with changes, or with several."""
    return PolicyDocument.model_validate(
        {"name": "test", "rule": [RULE | table for table in tables or ({},)]} | changes
    )


def policy_of(*tables: dict[str, Any], kind: str | None = None) -> Policy:
    """Return a policy of written rules and no others."""
    document = written(*tables)
    return Policy(document, list(made_of(document.rule).values()), feeds=Feeds(), environment_kind=kind)


def assessed(when: str, observation: Observation | None = None, history: History = NO_HISTORY) -> Assessment:
    """Return what a rule with this condition says of an observation, by default of the quiet token."""
    return policy_of({"when": when, "message": "is so"}).assess(observation or observed(), history, NOW)


def answer(when: str, observation: Observation | None = None, history: History = NO_HISTORY) -> bool | str:
    """Return whether a condition holds, or why it has no answer."""
    violations, unassessed = assessed(when, observation, history)
    return unassessed["ACME-01"] if unassessed else bool(violations)
