"""Plain values that the policy's tests start from."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from auditor.model.finding import Violation
from auditor.model.history import NO_HISTORY
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"

QUIET = TokenMetadata(
    id=PUBLIC_ID,
    name="ingest-frankfurt",
    owner="svc-ingest",
    enabled=True,
    personal_access_token=False,
    creation_date=NOW - 10 * DAY,
    expiration_date=NOW + 80 * DAY,
    last_used_date=NOW - HOUR,
    last_used_ip_address="203.0.113.7",
    scopes=("metrics.ingest",),
)
"""A token that no rule has anything to say of."""


def token(**changes: Any) -> TokenMetadata:
    """Return the quiet token with changes."""
    return msgspec.structs.replace(QUIET, **changes)


def observed(metadata: TokenMetadata = QUIET, **changes: Any) -> Observation:
    """Return an observation of a token, in the environment ``prod``."""
    seen = Observation("prod", PUBLIC_ID, NOW, Outcome.FOUND, metadata, public_id=PUBLIC_ID)
    return msgspec.structs.replace(seen, **changes)


def document(rule_id: str = "", /, risk: dict[str, Any] | None = None, **table: Any) -> PolicyDocument:
    """Return a policy with one rule's table."""
    return PolicyDocument.model_validate(
        {"name": "test", "risk": risk or {}, "rules": {rule_id: table} if rule_id else {}}
    )


def policy_of(
    rule_id: str,
    /,
    feeds: Feeds | None = None,
    kind: str | None = None,
    risk: dict[str, Any] | None = None,
    **table: Any,
) -> Policy:
    """Return a policy that knows only one rule."""
    return Policy(document(rule_id, risk, **table), [rules()[rule_id]], feeds=feeds or Feeds(), environment_kind=kind)


def said(policy: Policy, observation: Observation, now: datetime = NOW) -> Violation | None:
    """Return what a policy of one rule says of an observation; the rule must be assessed."""
    assert policy.assessed, policy.unassessed
    violations = policy.evaluate(observation, NO_HISTORY, now)
    assert len(violations) <= 1
    return violations[0] if violations else None


def severity(policy: Policy, observation: Observation, now: datetime = NOW) -> str | None:
    """Return how bad a policy of one rule finds an observation; None where it says nothing."""
    violation = said(policy, observation, now)
    return violation.severity.value if violation else None
