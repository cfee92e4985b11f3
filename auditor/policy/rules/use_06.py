"""DT-USE-06: a token whose dates cannot be true."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, NamedTuple

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.model.history import Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import EventParams, Seconds, advances, recent, steps
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.wording import iso, iso_or_none, minute

_SHOWN: Final = 10


class ImpossibleDates(EventParams):
    """How exact dates are, and how long an impossible one is spoken of."""

    skew_seconds: Seconds = 300
    """By how many seconds clocks may differ: a date that lies so far ahead of the lookup, or moved back so far, is
    possible."""

    @cached_property
    def skew(self) -> timedelta:
        """``skew_seconds`` as a span."""
        return timedelta(seconds=self.skew_seconds)


class _Oddity(NamedTuple):
    field: str
    value: datetime
    before: datetime | None = None
    """None: the value lay in the future. Only that is said of it, and not by which lookup: every one shows it anew."""
    seen_at: datetime | None = None

    @property
    def said(self) -> str:
        if self.before is None or self.seen_at is None:
            return f"{self.field} {minute(self.value)} lay in the future when a lookup showed it"
        verb = "moved back" if self.value < self.before else "changed"
        return f"{self.field} {verb} from {minute(self.before)} to {minute(self.value)}, seen on {minute(self.seen_at)}"


def check(
    observation: Observation, token: TokenMetadata, params: ImpossibleDates, context: Context
) -> Violation | None:
    """Fire where a date moved back, lay in the future of the lookup that showed it, or changed though it never should.

    ``lastUsedDate`` and ``modifiedDate`` may only advance; ``creationDate`` may not change while the id is the same. No
    earlier lookup is needed to see that a date lies in the future.
    """
    history = context.history
    odd: list[_Oddity] = []
    at, used, modified, created = observation.at, token.last_used_date, token.modified_date, token.creation_date
    if (used and used > at) or (modified and modified > at) or (created and created > at):
        odd += _ahead(at, token, params)
    if history.states:
        odd += _in_states(observation, params, context)
    if history.uses:
        odd += _in_uses(observation, params, context)
    if not odd:
        return None
    odd = sorted(set(odd), key=_when)
    rest = len(odd) - 1
    return Violation(
        RULE.id,
        Severity.HIGH,
        odd[-1].said + (f"; and {rest} more like it" if rest else ""),
        {
            "dates": [
                {
                    "field": oddity.field,
                    "before": iso_or_none(oddity.before),
                    "value": iso(oddity.value),
                    "seen_at": iso_or_none(oddity.seen_at),
                }
                for oddity in odd[-_SHOWN:]
            ]
        },
    )


def _when(oddity: _Oddity) -> tuple[datetime, str, datetime]:
    return oddity.seen_at or oddity.value, oddity.field, oddity.value


def _ahead(seen_at: datetime, token: TokenMetadata, params: ImpossibleDates) -> Iterator[_Oddity]:
    used, modified, created = token.last_used_date, token.modified_date, token.creation_date
    if used is not None and used > seen_at and used - seen_at > params.skew:
        yield _Oddity("lastUsedDate", used)
    if modified is not None and modified > seen_at and modified - seen_at > params.skew:
        yield _Oddity("modifiedDate", modified)
    if created is not None and created > seen_at and created - seen_at > params.skew:
        yield _Oddity("creationDate", created)


def _in_states(observation: Observation, params: ImpossibleDates, context: Context) -> Iterator[_Oddity]:
    for step in recent(steps(context.history, observation), params, context.now):
        before, after = step.before, step.after
        created, created_before = after.creation_date, before.creation_date
        if created_before is not None and created is not None and created != created_before and before.id == after.id:
            yield _Oddity("creationDate", created, created_before, step.at)
        modified, modified_before = after.modified_date, before.modified_date
        if modified_before is not None and modified is not None and modified_before - modified > params.skew:
            yield _Oddity("modifiedDate", modified, modified_before, step.at)
        yield from _ahead(step.at, msgspec.structs.replace(after, last_used_date=None), params)


def _in_uses(observation: Observation, params: ImpossibleDates, context: Context) -> Iterator[_Oddity]:
    for before, use in advances(context.history, observation):
        if context.now - use.observed_at >= params.kept:
            continue
        if before is not None and before.used_at - use.used_at > params.skew:
            yield _Oddity("lastUsedDate", use.used_at, before.used_at, use.observed_at)
        if use.used_at - use.observed_at > params.skew:
            yield _Oddity("lastUsedDate", use.used_at)


RULE = Rule(
    id="DT-USE-06",
    title="Timestamps regress or lie in the future",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "lastUsedDate or modifiedDate is earlier than at the lookup before, creationDate differs for the same id, or "
        "one of them is later than the lookup; a date that is withdrawn altogether is not looked at"
    ),
    rationale=(
        "Every judgement about age, use and change rests on these dates. One that runs backwards means a restored or "
        "tampered environment, or a proxy that answers in its place."
    ),
    remediation=(
        "See whether the environment was restored from a backup or its address now leads elsewhere, and compare "
        "clocks. If neither explains it, report it to the provider and trust none of the token's dates until then."
    ),
    controls={
        Framework.NIST_800_53: ("AU-6", "SI-4"),
        Framework.ISO_27001: ("A.8.15",),
        Framework.PCI_DSS: ("10.4.3",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
    },
    params=ImpossibleDates,
    check=check,
    sample=Sample(
        metadata={"last_used_date": days_ago(9)},
        history=history_of(last_used_date=days_ago(1.5), uses=(Use(days_ago(1.4), days_ago(1.5), "203.0.113.7"),)),
    ),
)
