"""Judges controls by the findings of the rules that serve them, environment by environment and altogether.

A control passes only where everything was looked at: the last sweep was complete, every stored token has evidence
that is not too old, and every rule that serves the control and that the policy applies was assessed. An open finding
fails it all the same, whatever else is unknown.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from auditor.model.finding import Severity
from auditor.model.sweep import RuleState, SweepStatus, SweepSummary
from auditor.policy.base import Framework, Rule
from auditor.policy.controls import CONTROLS
from auditor.policy.revocation import TOO_OLD
from auditor.policy.wording import counted, listed


class ControlState(StrEnum):
    """What can be said of a control."""

    PASS = "pass"  # noqa: S105 - not a password
    """Every rule that serves it looked at every token, and nothing is open."""
    EXCEPTIONS = "pass with exceptions"
    """The same, but waivers cover findings that are open."""
    PARTLY = "partly assessed"
    """Nothing is open that no waiver covers, but some of the rules, or some of the environments, were not assessed."""
    FAIL = "fail"
    """A finding is open that no waiver covers."""
    UNKNOWN = "unknown"
    """Nothing such is open, but nothing is known of some tokens at present, or the last sweep was not complete."""
    NOT_ASSESSED = "not assessed"
    """No rule serves it, or none that does could be applied, or there is no token to look at."""


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one rule stands in one environment."""

    rule_id: str
    state: RuleState
    reason: str = ""
    """Why it is not assessed."""
    open_by_severity: Mapping[Severity, int] = {}
    """Open findings that no waiver covers; a severity may be absent for none."""
    waived_by_severity: Mapping[Severity, int] = {}
    """Open findings that a waiver covers."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one environment's sweeps found out, as far as it bears on controls."""

    environment: str
    last_sweep: SweepSummary | None
    """The last one that ended; None before the first."""
    last_complete_at: datetime | None
    """When a sweep last gave evidence about every token."""
    stored_tokens: int
    unknown_tokens: int
    """Of these, tokens whose last lookup was no evidence, or too old, or that were never looked up."""
    rules: Mapping[str, RuleResult]
    """By id: every rule of the policy that the last sweep applied."""
    outdated_tokens: int = 0
    """Of the unknown ones, those of which the last lookup was evidence that is too old (``OLD_EVIDENCE``)."""


class EnvironmentResult(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of a control in one environment, and by what."""

    environment: str
    state: ControlState
    reason: str
    """Why, in half a sentence."""
    stored_tokens: int
    assessed_tokens: int
    """Stored tokens about which the last lookup was evidence that is not too old."""
    last_complete_at: datetime | None
    open_by_severity: Mapping[Severity, int]
    """Open findings of its rules that no waiver covers; severities without any are absent."""
    waived_by_severity: Mapping[Severity, int]
    """Open findings of its rules that a waiver covers."""
    rules: Sequence[RuleResult]
    """The rules that serve the control and that were in the policy here."""


class ControlAssessment(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of a control, and by what."""

    id: str
    title: str
    """Empty where the catalogue has none: a rule that a policy writes may name any control."""
    state: ControlState
    reason: str
    """Why, in half a sentence."""
    rules: tuple[str, ...]
    """Ids of the rules that serve it; without any it is not assessed."""
    environments: Sequence[EnvironmentResult] = ()

    @property
    def open_findings(self) -> int:
        """Open findings of its rules that no waiver covers."""
        return sum(sum(one.open_by_severity.values()) for one in self.environments)

    @property
    def waived_findings(self) -> int:
        """Open findings of its rules that a waiver covers."""
        return sum(sum(one.waived_by_severity.values()) for one in self.environments)


class FrameworkAssessment(msgspec.Struct, frozen=True, kw_only=True):
    """A framework's controls, each with what can be said of it, in the framework's order."""

    framework: Framework
    controls: Sequence[ControlAssessment]
    """All that the catalogue holds, which need not be all that the framework holds."""

    @property
    def served(self) -> Sequence[ControlAssessment]:
        """The controls that some rule serves."""
        return [control for control in self.controls if control.rules]

    @property
    def unserved(self) -> Sequence[ControlAssessment]:
        """The controls that no rule serves: not assessed, here or anywhere."""
        return [control for control in self.controls if not control.rules]

    @property
    def counts(self) -> Mapping[ControlState, int]:
        """How many of the served controls are in each state, zeros included."""
        counts = dict.fromkeys(ControlState, 0)
        for control in self.served:
            counts[control.state] += 1
        return counts


def assess(
    framework: Framework, catalogue: Mapping[str, Rule], environments: Sequence[Evidence]
) -> FrameworkAssessment:
    """Judge every control of a framework.

    ``catalogue`` says which rules serve which controls: those that ship and those that the applied policies write.
    """
    serving: dict[str, list[str]] = {control: [] for control in CONTROLS.get(framework, {})}
    for rule in catalogue.values():
        for control in rule.controls.get(framework, ()):
            serving.setdefault(control, []).append(rule.id)
    titles = CONTROLS.get(framework, {})
    return FrameworkAssessment(
        framework=framework,
        controls=[
            _control(control, titles.get(control, ""), tuple(rules), environments) for control, rules in serving.items()
        ],
    )


def _control(control: str, title: str, rules: tuple[str, ...], environments: Sequence[Evidence]) -> ControlAssessment:
    if not rules:
        return ControlAssessment(
            id=control, title=title, state=ControlState.NOT_ASSESSED, reason="no rule serves it", rules=()
        )
    results = [_in_environment(rules, evidence) for evidence in environments]
    state, reason = _altogether(results)
    return ControlAssessment(id=control, title=title, state=state, reason=reason, rules=rules, environments=results)


def _in_environment(rules: Iterable[str], evidence: Evidence) -> EnvironmentResult:
    results = [evidence.rules[rule_id] for rule_id in rules if rule_id in evidence.rules]
    opened = _summed(result.open_by_severity for result in results)
    waived = _summed(result.waived_by_severity for result in results)
    state, reason = _judged(evidence, results, sum(opened.values()), sum(waived.values()))
    return EnvironmentResult(
        environment=evidence.environment,
        state=state,
        reason=reason,
        stored_tokens=evidence.stored_tokens,
        assessed_tokens=evidence.stored_tokens - evidence.unknown_tokens,
        last_complete_at=evidence.last_complete_at,
        open_by_severity=opened,
        waived_by_severity=waived,
        rules=results,
    )


def _judged(evidence: Evidence, results: Sequence[RuleResult], opened: int, waived: int) -> tuple[ControlState, str]:
    if opened:
        return ControlState.FAIL, counted(opened, "open finding")
    applied = [result for result in results if result.state is not RuleState.DISABLED]
    assessed = [result for result in applied if result.state is RuleState.ASSESSED]
    gap = _gap(evidence)
    if gap is not None and (assessed or evidence.last_sweep is None):
        return ControlState.UNKNOWN, gap
    if not assessed:
        return ControlState.NOT_ASSESSED, _why_none(applied)
    if not evidence.stored_tokens:
        return ControlState.NOT_ASSESSED, "no token is stored for it"
    if len(assessed) < len(applied):
        missing = ", ".join(result.rule_id for result in applied if result.state is RuleState.NOT_ASSESSED)
        return ControlState.PARTLY, f"nothing open, but not assessed: {missing}"
    if waived:
        return ControlState.EXCEPTIONS, counted(waived, "waived finding")
    return ControlState.PASS, f"nothing open on {counted(evidence.stored_tokens, 'token')}"


def _gap(evidence: Evidence) -> str | None:
    """Return what was not looked at, or None where a complete sweep looked at everything."""
    if evidence.last_sweep is None:
        return "never swept"
    if evidence.unknown_tokens:
        return _unknown(evidence)
    if evidence.last_sweep.status is SweepStatus.RUNNING:
        return "the first sweep has not ended"
    if evidence.last_sweep.status is not SweepStatus.COMPLETE:
        return f"the last sweep is {evidence.last_sweep.status}"
    return None if evidence.last_complete_at is not None else "no sweep was complete"


def _unknown(evidence: Evidence) -> str:
    """Return of how many tokens nothing is known at present, and why."""
    whole = counted(evidence.stored_tokens, "token")
    failed = evidence.unknown_tokens - evidence.outdated_tokens
    reasons = [f"{failed} of {whole} could not be looked up"] if failed else []
    if evidence.outdated_tokens:
        reasons.append(f"the last evidence on {evidence.outdated_tokens} of {whole} is {TOO_OLD}")
    return ", and ".join(reasons)


def _why_none(applied: Sequence[RuleResult]) -> str:
    if not applied:
        return "the policy applies none of its rules"
    reasons = sorted({result.reason for result in applied if result.reason})
    return "none of its rules could be applied" + (f": {'; '.join(reasons)}" if reasons else "")


def _altogether(results: Sequence[EnvironmentResult]) -> tuple[ControlState, str]:
    """Join environments: the worst speaks for all, and a pass holds only where no environment was left out."""
    if not results:
        return ControlState.NOT_ASSESSED, "no environment was swept"
    bearing = [one for one in results if one.stored_tokens or one.state is not ControlState.NOT_ASSESSED] or results
    states = {one.state for one in bearing}
    if ControlState.NOT_ASSESSED in states and not states & {ControlState.FAIL, ControlState.UNKNOWN}:
        of = {ControlState.NOT_ASSESSED, ControlState.PARTLY} & states
        return (ControlState.PARTLY if len(states) > 1 else ControlState.NOT_ASSESSED), _where(bearing, of)
    worst = next(state for state in _WORST_FIRST if state in states)
    return worst, _where(bearing, {worst})


_WORST_FIRST: Final = (
    ControlState.FAIL,
    ControlState.UNKNOWN,
    ControlState.PARTLY,
    ControlState.EXCEPTIONS,
    ControlState.PASS,
)


def _where(results: Sequence[EnvironmentResult], states: Container[ControlState]) -> str:
    """Return the reasons of environments in such states: ``production: 3 open findings; lab: 1 open finding``."""
    if len(results) == 1:
        return results[0].reason
    places: dict[str, list[str]] = {}
    for result in results:
        if result.state in states:
            places.setdefault(result.reason, []).append(result.environment)
    return "; ".join(f"{listed(names)}: {reason}" for reason, names in places.items())


def _summed(counts: Iterable[Mapping[Severity, int]]) -> dict[Severity, int]:
    total: dict[Severity, int] = {}
    for one in counts:
        for severity, count in one.items():
            if count:
                total[severity] = total.get(severity, 0) + count
    return dict(sorted(total.items(), key=lambda item: -item[0].rank))
