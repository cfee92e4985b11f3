"""What a report holds and what a format is."""

import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import BinaryIO, Final, Protocol, TextIO, runtime_checkable

import msgspec

from auditor.model.finding import Finding, Severity
from auditor.model.sweep import RuleState, SweepSummary
from auditor.policy.base import Framework, Rule
from auditor.policy.forecast import Forecast
from auditor.policy.revocation import Judgement
from auditor.reports.figures import Figures
from auditor.reports.period import Period
from auditor.store.timeline import Timeline


class RulePosture(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule stands in one environment."""

    environment: str
    rule_id: str
    title: str
    state: RuleState
    reason: str = ""
    """Why it is not assessed."""
    open_findings: int
    """Findings of this rule that are open in this environment and that no waiver covers, whatever the state is now."""
    open_by_severity: Mapping[Severity, int] = {}
    """The same by severity; a severity may be absent for none."""
    waived_by_severity: Mapping[Severity, int] = {}
    """Open findings that a waiver covers."""


class EnvironmentPosture(msgspec.Struct, frozen=True, kw_only=True):
    """How one environment stands: its last sweep and what is open."""

    name: str
    url: str
    last_sweep: SweepSummary | None
    """The last sweep that ended, or, before any has, the one under way; None: never swept."""
    last_complete_at: datetime | None
    """When a sweep last gave evidence about every token."""
    open_by_severity: Mapping[Severity, int]
    """Open findings that no waiver covers; a severity may be absent for none."""
    tokens_with_findings: int
    """Tokens with at least one of them."""
    resolved_recently: int
    """Findings resolved within ``ReportData.resolved_since_days``."""
    stored_tokens: int
    """Tokens that the last complete reading of the sources held."""
    unknown_tokens: int
    """Of these, tokens whose last lookup was no evidence, or too old, or that were never looked up."""
    policy_name: str = ""
    """Of the policy that the last sweep applied here; empty before the first."""
    unknown_scopes: Mapping[str, int] = {}
    """Scopes that neither ship nor stand in that policy, with how many stored tokens hold each, most frequent first."""
    waived_by_severity: Mapping[Severity, int] = {}
    """Open findings that a waiver covers, counted apart; a severity may be absent for none."""
    outdated_tokens: int = 0
    """Of the unknown ones, those of which the last lookup was evidence that is too old (``OLD_EVIDENCE``)."""

    @property
    def audited_tokens(self) -> int:
        """Stored tokens about which the last lookup was evidence that is not too old."""
        return self.stored_tokens - self.unknown_tokens

    @property
    def open_findings(self) -> int:
        """Open findings of every severity that no waiver covers."""
        return sum(self.open_by_severity.values())

    @property
    def waived_findings(self) -> int:
        """Open findings of every severity that a waiver covers."""
        return sum(self.waived_by_severity.values())


Verdicts = Callable[[], AsyncGenerator[Sequence[Judgement], None]]
"""Starts a stream of verdicts on revoking tokens, in batches, by environment and token; each call starts anew."""


async def _none() -> AsyncGenerator[Sequence[Judgement], None]:
    return
    yield


Timelines = Callable[[], Awaitable[Timeline]]
"""Reads how findings stood on each day until the report's instant; asked for only where a format shows it."""


async def _no_days() -> Timeline:
    return Timeline(date.min, date.min, (), ())


AWS_ACCOUNT: Final = "[0-9]{12}"
AWS_REGION: Final = "[a-z]{2}(-[a-z]+)+-[0-9]+"


class Aws(msgspec.Struct, frozen=True):
    """Where in AWS findings belong that go there."""

    account: str
    """Twelve digits (``AWS_ACCOUNT``)."""
    region: str
    """``eu-central-1`` (``AWS_REGION``)."""


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report says, read at one instant; findings and verdicts come apart, as streams.

    The figures and the streams agree only when they are read in one snapshot of the database.
    """

    made_at: datetime
    """When the report was made; what it says is of ``instant``."""
    version: str
    """The auditor's."""
    environments: Sequence[EnvironmentPosture]
    rules: Sequence[RulePosture]
    policy_name: str
    policy_digest: str
    resolved_since_days: int
    """Findings resolved within so many days are listed beside the open ones."""
    as_of: datetime | None = None
    """The earlier instant that the report is of; None: of the one it was made at."""
    period: Period | None = None
    """The days whose end the report is of, and what happened in which it tells."""
    exact_since: datetime | None = None
    """From when on history holds all that a report of an earlier instant says; None where that is not known."""
    timeline: Timelines = _no_days
    """Over the days of ``period``; without one, over the 90 days until the report's instant."""
    forecasts: Sequence[Forecast] = ()
    """What expires within twelve months, for each environment that was swept."""
    verdicts: Verdicts = _none
    """On every stored token."""
    figures: Figures = Figures()
    """Counts for pictures and statements, of the same instant."""
    schedules: Sequence[str] = ()
    """When sweeps are due, a line for each schedule; empty where none is configured, or it is not known."""
    written: Mapping[str, Rule] = {}
    """Rules that the applied policies write, by id, beside those of the catalogue."""
    aws: Aws | None = None
    """For formats of AWS; None where nobody said it."""
    frameworks: Sequence[Framework] = tuple(Framework)
    """Whose controls it speaks of; unless all, its rules and findings are only of rules that serve one of them."""

    @property
    def instant(self) -> datetime:
        """When everything stood as the report says."""
        return self.as_of or self.made_at


Findings = Callable[[], AsyncGenerator[Sequence[Finding], None]]
"""Starts a stream of findings in batches: the open ones, then those of them that a waiver covers, then the recently
resolved ones; each worst first.

Each call starts anew. A format that stops early closes the generator, so that a cursor behind it can end.
"""


class Format(Protocol):
    """One format of a report: one file, one member."""

    name: str
    media_type: str
    suffix: str
    """File name ending without the dot."""
    is_binary: bool
    """Whether it is no text, so that a terminal cannot show it."""

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the report; every value from outside is escaped as the format demands.

        ``out`` only takes bytes: it can neither be read nor sought. Text is UTF-8 (``as_text``).
        """
        ...


@runtime_checkable
class Demanding(Protocol):
    """A format that takes more than auditor itself installs."""

    def require(self) -> None:
        """Raise ``ConfigError``, with the mend, where it cannot be written here."""
        ...


@contextmanager
def as_text(out: BinaryIO) -> Iterator[TextIO]:
    """Offer a binary stream as text, in UTF-8 and with line ends as they come; the stream stays open afterwards."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        yield text
        text.flush()
    finally:
        with suppress(OSError):  # the failure before it is the one to tell
            text.detach()
