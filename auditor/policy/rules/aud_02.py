"""DT-AUD-02: an environment of which too much goes unaudited."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from auditor.model.account import SweepAccount
from auditor.model.finding import Severity, Violation
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import SAMPLED_AT, days_ago
from auditor.policy.wording import counted, iso_or_none, minute


class Coverage(Params):
    """How much of an environment must be audited, and how often."""

    target: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Share of the enrolled tokens that a sweep must give evidence of, 0 to 1."""
    intervals: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 2
    """Intervals of the environment's schedule that may pass without a full sweep."""


def check(account: SweepAccount, params: Coverage) -> Violation | None:
    """Fire where less than ``target`` was audited, or more than ``intervals`` passed since the last full sweep began.

    Full is a sweep that read every source to its end and gave evidence of every token.
    """
    summary = account.summary
    said: list[str] = []
    coverage = summary.coverage
    is_low = coverage is not None and coverage < params.target
    if is_low:
        said.append(f"{summary.audited} of {counted(summary.enrolled, 'token')} audited, target {_percent(params)}")
    is_late = account.slots_passed is not None and account.slots_passed > params.intervals
    if is_late:
        said.append(_lateness(account, params))
    if not said:
        return None
    return Violation(
        RULE.id,
        Severity.HIGH,
        "; ".join(said),
        {
            "coverage_is_low": is_low,
            "full_sweep_is_late": is_late,
            "enrolled": summary.enrolled,
            "audited": summary.audited,
            "target": params.target,
            "last_full_sweep_at": iso_or_none(account.full_since) if account.was_ever_full else None,
            "intervals": params.intervals,
            "reasons": dict(summary.reasons),
            "unread_sources": sorted(summary.source_problems),
        },
    )


def inconclusive(account: SweepAccount) -> str | None:
    """Return why silence of the rule is no pass: of what was not read, nobody knows how much it is; None where it is.

    Only for a sweep of which the rule said nothing.
    """
    summary = account.summary
    if summary.source_problems:
        return f"not read to the end: {', '.join(sorted(summary.source_problems))}"
    if summary.status is SweepStatus.FAILED:
        return "the sweep failed"
    return None


def _percent(params: Coverage) -> str:
    return f"{params.target * 100:g}%"


def _lateness(account: SweepAccount, params: Coverage) -> str:
    spans = counted(params.intervals, "interval")
    if account.full_since is None or not account.was_ever_full:
        return f"no full sweep yet, for more than {spans} of the schedule"
    return f"no full sweep since that of {minute(account.full_since)}, for more than {spans} of the schedule"


def _example(params: Coverage) -> Iterator[Violation]:
    summary = SweepSummary(
        id=7,
        environment="prod",
        started_at=SAMPLED_AT,
        finished_at=SAMPLED_AT,
        status=SweepStatus.INCOMPLETE,
        enrolled=120,
        found=112,
        failed=8,
        reasons={"HTTP 503": 8},
    )
    violation = check(SweepAccount(summary=summary, full_since=days_ago(1), slots_passed=1), params)
    if violation is not None:
        yield violation


RULE = Rule(
    id="DT-AUD-02",
    title="Sweep coverage below target",
    kind=Kind.AUDITOR,
    severity="high",
    test="audited / enrolled is below the target, or no full sweep began for more than N intervals of the schedule",
    rationale=(
        "Findings are as good as the sweeps behind them. Where sweeps leave tokens out or do not come, a quiet report "
        "looks the same as a good one."
    ),
    remediation=(
        "Read the sweep's reasons and unread sources, mend them and sweep again: `auditor sweep ENVIRONMENT`. Where "
        "the environment throttles, lower requests_per_second and give the sweep more time."
    ),
    controls={
        Framework.NIST_800_53: ("CA-7", "SI-6"),
        Framework.ISO_27001: ("A.5.36",),
        Framework.PCI_DSS: ("10.7.2",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC4.2",),
        Framework.NIS2: ("2.2.3",),
        Framework.DORA: ("Art10",),
    },
    params=Coverage,
    check=check,
    sample=Sample(says=_example),
)
