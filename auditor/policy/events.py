"""What rules about events have in common: a finding that outlives the sweep that saw the event."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from operator import eq, ne
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import AwareDatetime, Field, model_validator

from auditor.model.history import USES_SHOWN, History, State, Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Params
from auditor.policy.networks import network_of, parse_address
from auditor.policy.observing import is_changed
from auditor.policy.selectors import Predicate, Selector
from auditor.policy.thresholds import Days
from auditor.policy.wording import minute

_ADDRESSES_KEPT: Final = 16_384

Seconds = Annotated[int, Field(ge=0, le=86_400, strict=True)]
"""A whole number of seconds, none to a day's."""
Count = Annotated[int, Field(ge=1, le=50, strict=True)]
"""A whole number of sweeps, uses or networks: as many as a token's history shows for sure."""


class EventParams(Params):
    """How long an event is spoken of."""

    keep_days: Days = 30
    """For how many days after a sweep saw the event its finding stays open, unless the event is undone before."""

    @cached_property
    def kept(self) -> timedelta:
        """``keep_days`` as a span."""
        return timedelta(days=self.keep_days)

    @property
    def look_back(self) -> timedelta:
        """How far back the rule must see."""
        return self.kept


class ReversibleParams(EventParams):
    """How long a change is spoken of that can be undone by changing back."""

    @property
    def look_back(self) -> timedelta:
        """How far back the rule must see: a change back is known for what it is by the change that it undoes."""
        return 2 * self.kept


class PrefixParams(EventParams):
    """What counts as one network of addresses."""

    v4_prefix: Annotated[int, Field(ge=1, le=32, strict=True)] = 24
    """IPv4 addresses that agree in so many leading bits are in one network."""
    v6_prefix: Annotated[int, Field(ge=1, le=128, strict=True)] = 48
    """IPv6 addresses that agree in so many leading bits are in one network."""

    def network_of(self, use: Use) -> str | None:
        """Return the network that a use came from, ``203.0.113.0/24``; None where it has no address."""
        return None if use.ip_address is None else _network(use.ip_address, self.v4_prefix, self.v6_prefix)


@lru_cache(maxsize=_ADDRESSES_KEPT)
def _network(address: str, v4_prefix: int, v6_prefix: int) -> str | None:
    if parse_address(address) is None:
        return None
    return network_of(address, v4_prefix=v4_prefix, v6_prefix=v6_prefix)


class ChangeWindow(Selector):
    """A time in which a change of the selected tokens is expected."""

    ticket: str = Field(min_length=1)
    """The change's ticket or whatever else names the decision."""
    starts_at: AwareDatetime
    """From when on, as an instant with its zone."""
    ends_at: AwareDatetime
    """Until when."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise ValueError(f"ends_at ({self.ends_at}) must be later than starts_at ({self.starts_at})")
        return self

    @cached_property
    def selects(self) -> Predicate:
        """The conditions, compiled."""
        return self.compile()

    def covers(self, step: "Step", observation: Observation, context: Context) -> bool:
        """Whether the step can have been made in the window, between the lookups that saw its two sides."""
        since = step.since or step.at
        return (
            self.starts_at <= step.at and since <= self.ends_at and self.selects(observation, step.after, context.tier)
        )


class Step(NamedTuple):
    """A token as one lookup found it, and as a later one found it changed."""

    since: datetime | None
    """When the last lookup before the change was made; None where that is not known."""
    at: datetime
    """When a lookup saw the change first."""
    before: TokenMetadata
    after: TokenMetadata

    @property
    def between(self) -> str:
        """When it was made, as a message says it."""
        return between(self.since, self.at)


def between(since: datetime | None, at: datetime) -> str:
    """Say when something was done that one lookup did not see yet and a later one did."""
    return f"before {minute(at)}" if since is None else f"between {minute(since)} and {minute(at)}"


def states(history: History, observation: Observation) -> Sequence[State]:
    """Return a token's states, oldest first; the last is the observation's.

    Empty where nothing changed while rules look back.
    """
    if not history.states:
        return ()
    previous = history.previous
    if not is_changed(observation, previous):
        return history.states
    now = State(
        observation.at,
        observation.outcome,
        observation.metadata,
        history.misses,
        previous.at if previous is not None else None,
    )
    return (*history.states, now)


def steps(history: History, observation: Observation) -> list[Step]:
    """Return how a token changed from each state that it was found in to the next, oldest first.

    What a token was before and after it was missing makes a step too.
    """
    seen: list[Step] = []
    before: TokenMetadata | None = None
    since: datetime | None = None
    is_next = False
    for state in states(history, observation):
        if is_next:
            since, is_next = state.previous_at, False
        if state.metadata is None:
            continue
        if before is not None:
            seen.append(Step(since, state.at, before, state.metadata))
        before, is_next = state.metadata, True
    return seen


def recent(steps: Iterable[Step], params: EventParams, now: datetime) -> list[Step]:
    """Return the steps that are still spoken of."""
    kept = params.kept
    return [step for step in steps if now - step.at < kept]


def standing(
    steps: Iterable[Step],
    params: ReversibleParams,
    now: datetime,
    value: Callable[[TokenMetadata], Any],
    *,
    counts: Callable[[Any, Any], bool] = ne,
    undoes: Callable[[Any, Any], bool] = eq,
) -> Step | None:
    """Return the last step still spoken of that changed a value, and that neither was undone nor undid another.

    ``counts(before, after)`` tells whether a change is an event; ``undoes(before, now)`` whether a later value takes
    back a change from ``before``. A change back after the finding ended undoes nothing: it is an event of its own.
    """
    kept = params.kept
    open_steps: list[Step] = []
    for step in steps:
        before, after = value(step.before), value(step.after)
        if before == after:
            continue
        for position, earlier in enumerate(open_steps):
            if step.at - earlier.at < kept and undoes(value(earlier.before), after):
                del open_steps[position:]
                break
        else:
            if counts(before, after):
                open_steps.append(step)
    return open_steps[-1] if open_steps and now - open_steps[-1].at < kept else None


class Advance(NamedTuple):
    """A use that a lookup showed and the one before did not."""

    before: Use | None
    """The use that was the last one until then; None where the token had not been used."""
    use: Use


def advances(history: History, observation: Observation) -> list[Advance]:
    """Return the uses that lookups saw come in, oldest first, with what may be the observation's.

    Those that the first lookup of the token found there already are none. Empty where the token's use was ordinary
    all along: such uses are not shown to rules.
    """
    uses = seen_uses(history, observation)
    if not uses:
        return []
    oldest = uses[0]
    is_first = (
        len(uses) < USES_SHOWN
        and observation.first_seen_at is not None
        and oldest.observed_at > observation.first_seen_at
    )
    later = [Advance(before, use) for before, use in pairwise(uses)]
    return [Advance(None, oldest), *later] if is_first else later


def seen_uses(history: History, observation: Observation) -> Sequence[Use]:
    """Return the uses that rules are shown, oldest first, the observation's among them where it is a new one."""
    token = observation.metadata
    if token is None or token.last_used_date is None:
        return history.uses
    if history.uses:
        last = history.uses[-1]
        if (last.used_at, last.ip_address) == (token.last_used_date, token.last_used_ip_address):
            return history.uses
    elif history.last_found is None or history.last_found.last_used_date is not None:
        return ()
    return (*history.uses, Use(observation.at, token.last_used_date, token.last_used_ip_address))
