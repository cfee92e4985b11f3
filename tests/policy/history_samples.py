"""Sweeps over one token in memory: what rules are shown of it at the last of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from auditor.model.finding import Violation
from auditor.model.history import USES_SHOWN, History, State, Use
from auditor.model.lookup import Lookup, Observation, Outcome, TokenMetadata
from auditor.policy.engine import Policy
from auditor.policy.observing import is_changed, is_used, observe
from tests.policy.policy_samples import PUBLIC_ID, token


class Sight(NamedTuple):
    """What one evident lookup said."""

    at: datetime
    metadata: TokenMetadata | None
    """None: the token is missing."""


def sight(at: datetime, **changes: Any) -> Sight:
    """Return a lookup that found the quiet token with changes."""
    return Sight(at, token(**changes))


def gone(at: datetime) -> Sight:
    """Return a lookup that did not find the token."""
    return Sight(at, None)


def shown(*sights: Sight, look_back: timedelta | None = None) -> tuple[Observation, History]:
    """Return the last of some lookups as an observation, with the history that the others make.

    ``look_back`` leaves out the states that ended so long before it.
    """
    previous: Observation | None = None
    last_found: TokenMetadata | None = None
    states: list[State] = []
    uses: list[Use] = []
    misses = 0
    *earlier, last = sights
    for at, metadata in earlier:
        observation = _observed(at, metadata, previous, sights[0].at)
        if is_changed(observation, previous):
            bare = None if metadata is None else _without_use(metadata)
            states.append(State(at, observation.outcome, bare, misses, previous.at if previous else None))
        if metadata is not None and metadata.last_used_date is not None and is_used(observation, previous):
            uses.append(Use(at, metadata.last_used_date, metadata.last_used_ip_address))
        misses = misses + 1 if metadata is None else 0
        last_found = metadata or last_found
        previous = observation
    observation = _observed(last.at, last.metadata, previous, sights[0].at)
    if look_back is not None:
        in_force = max((n for n, state in enumerate(states) if last.at - state.at >= look_back), default=0)
        states = states[in_force:]
    if len(states) == 1 and not is_changed(observation, previous):
        states = []
    return observation, History(previous, last_found, tuple(states), tuple(uses[-USES_SHOWN:]), misses)


def judged(policy: Policy, sights: Sequence[Sight], now: datetime | None = None) -> Violation | None:
    """Return what a policy of one rule says at the last of some lookups, or at a later instant."""
    assert policy.assessed, policy.unassessed
    observation, history = shown(*sights)
    violations = policy.evaluate(observation, history, now or observation.at)
    assert len(violations) <= 1
    return violations[0] if violations else None


def graded(policy: Policy, sights: Sequence[Sight], now: datetime | None = None) -> str | None:
    """Return how bad a policy of one rule finds it; None where it says nothing."""
    violation = judged(policy, sights, now)
    return violation.severity.value if violation else None


def _observed(
    at: datetime, metadata: TokenMetadata | None, previous: Observation | None, first_seen_at: datetime
) -> Observation:
    lookup = Lookup(Outcome.MISSING if metadata is None else Outcome.FOUND, at, metadata)
    observation = observe(
        lookup,
        previous,
        environment="prod",
        label=PUBLIC_ID,
        public_id=PUBLIC_ID,
        locations=(),
        tags=(),
        first_seen_at=first_seen_at,
    )
    assert observation is not None
    return observation


def _without_use(metadata: TokenMetadata) -> TokenMetadata:
    fields = {name: getattr(metadata, name) for name in metadata.__struct_fields__}
    return TokenMetadata(**fields | {"last_used_date": None, "last_used_ip_address": None})
