"""Example findings: what rules say of the tokens that they give as samples, at one fixed instant."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from auditor.model.finding import Violation
from auditor.model.history import History, State, Use
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.model.token import Location
from auditor.policy.base import Rule
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy

SAMPLED_AT: Final = datetime(2026, 11, 1, 6, tzinfo=UTC)
"""The instant that samples are observed and judged at."""


def days_ago(days: float) -> datetime:
    """Return the instant so many days before samples are judged."""
    return SAMPLED_AT - timedelta(days=days)


def days_ahead(days: float) -> datetime:
    """Return the instant so many days after samples are judged."""
    return SAMPLED_AT + timedelta(days=days)


_PUBLIC_ID: Final = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
"""That of the token that the provider's page gives as an example."""
_TOKEN: Final = TokenMetadata(
    id=_PUBLIC_ID,
    name="ingest-frankfurt",
    owner="svc-ingest",
    enabled=True,
    personal_access_token=False,
    creation_date=days_ago(20),
    modified_date=days_ago(20),
    expiration_date=days_ahead(70),
    last_used_date=days_ago(0.25),
    last_used_ip_address="203.0.113.7",
    scopes=("logs.ingest", "metrics.ingest"),
)
_OBSERVATION: Final = Observation(
    environment="prod",
    label=_PUBLIC_ID,
    at=SAMPLED_AT,
    outcome=Outcome.FOUND,
    metadata=_TOKEN,
    public_id=_PUBLIC_ID,
    locations=(Location("deploy", "tokens.env:4"),),
    first_seen_at=days_ago(20),
)


def ordinary_token(**changes: Any) -> TokenMetadata:
    """Return a token that no rule has anything to say of, with changes to its fields."""
    return msgspec.structs.replace(_TOKEN, **changes)


def ordinary_observation(metadata: TokenMetadata | None = _TOKEN, /, **changes: Any) -> Observation:
    """Return an observation of a token in a production environment, with changes to its fields; None: it is missing."""
    outcome = Outcome.MISSING if metadata is None else Outcome.FOUND
    return msgspec.structs.replace(_OBSERVATION, metadata=metadata, outcome=outcome, **changes)


def history_of(*, uses: tuple[Use, ...] = (), days: float = 1, **changes: Any) -> History:
    """Return the history of a token that was ordinary but for changes until a number of days before it is judged."""
    token = ordinary_token(**changes)
    previous = ordinary_observation(token, at=days_ago(days))
    return History(previous, token, (State(days_ago(20), Outcome.FOUND, token),), uses)


def example_of(rule: Rule) -> Violation | None:
    """Return what a rule says of its sample; None where it has none.

    Raises ``ValueError`` where the rule cannot be applied to its sample, or says nothing of it or several things.
    """
    sample = rule.sample
    if sample is None:
        return None
    document = PolicyDocument.model_validate({"name": "example", "rules": {rule.id: sample.params}})
    if sample.says is not None:
        (violation,) = sample.says(document.params_of(rule))
        return violation
    policy = Policy(document, [rule], feeds=sample.feeds, environment_kind="production")
    if sample.candidate is not None:
        violations = policy.judge(rule, sample.candidate, SAMPLED_AT)
    else:
        metadata = None if sample.metadata is None else ordinary_token(**sample.metadata)
        observation = ordinary_observation(metadata, **sample.observation)
        violations = policy.evaluate(observation, sample.history, SAMPLED_AT)
    if len(violations) != 1:
        raise ValueError(f"{rule.id} says {len(violations)} things of its sample: {violations}, {policy.unassessed}")
    return violations[0]
