"""What a report holds and what a format is."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TextIO

import msgspec

from auditor.model.finding import Finding, Severity
from auditor.model.sweep import SweepSummary


class RulePosture(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule stands in one environment."""

    environment: str
    rule_id: str
    title: str
    state: str
    """``assessed``, ``not assessed`` or ``disabled``; a rule that is not assessed is never a pass."""
    reason: str = ""
    """Why it is not assessed."""


class EnvironmentPosture(msgspec.Struct, frozen=True, kw_only=True):
    """How one environment stands: its last sweep and what is open."""

    name: str
    url: str
    last_sweep: SweepSummary | None
    """None: never swept."""
    last_complete_at: datetime | None
    """When a sweep last gave evidence about every token."""
    open_by_severity: Mapping[Severity, int]
    stored_tokens: int
    """Tokens that the last complete reading of the sources held."""
    unknown_tokens: int
    """Of these, tokens whose last lookup was no evidence."""


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report says, read at one instant; findings come apart, as a stream."""

    made_at: datetime
    version: str
    """The auditor's."""
    environments: Sequence[EnvironmentPosture]
    rules: Sequence[RulePosture]
    policy_name: str
    policy_digest: str
    resolved_since_days: int
    """Findings resolved within so many days are listed beside the open ones."""


Findings = Callable[[], AsyncIterator[Sequence[Finding]]]
"""Starts a stream of findings, worst first, in batches; each call starts anew."""


class Format(Protocol):
    """One format of a report: one file, one member."""

    name: str
    media_type: str
    suffix: str
    """File name ending without the dot."""

    async def write(self, data: ReportData, findings: Findings, out: TextIO) -> None:
        """Write the report; every value from outside is escaped as the format demands."""
        ...
