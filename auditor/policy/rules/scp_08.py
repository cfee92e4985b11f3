"""DT-SCP-08: a token that was changed and put back before anybody looked."""

from datetime import timedelta
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import EventParams, Step, recent, steps
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.thresholds import Hours
from auditor.policy.wording import iso, iso_or_none, minute


class HiddenChange(EventParams):
    """When a change counts as hidden, and how long it is spoken of."""

    sweep_gap_max_hours: Hours = 168
    """The longest time from ``modifiedDate`` to the lookup that showed it. Where sweeps were apart for longer, somebody
    may well have changed the token and changed it back in the ordinary course of things; 0 speaks of none."""

    @cached_property
    def longest_gap(self) -> timedelta:
        """``sweep_gap_max_hours`` as a span."""
        return timedelta(hours=self.sweep_gap_max_hours)


def check(observation: Observation, _token: TokenMetadata, params: HiddenChange, context: Context) -> Violation | None:
    """Fire where ``modifiedDate`` advanced from one lookup to the next while scopes and name stayed what they were."""
    hidden = [step for step in recent(steps(context.history, observation), params, context.now) if _hides(step, params)]
    if not hidden:
        return None
    last = hidden[-1]
    modified = last.after.modified_date
    assert modified is not None  # _hides saw to it
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"modified on {minute(modified)}, yet its scopes and name are what they were before",
        {
            "modified_date_before": iso_or_none(last.before.modified_date),
            "modified_date": iso(modified),
            "changed_after": iso_or_none(last.since),
            "seen_at": iso(last.at),
            "times": len(hidden),
        },
    )


def _hides(step: Step, params: HiddenChange) -> bool:
    before, after = step.before, step.after
    return (
        before.modified_date is not None
        and after.modified_date is not None
        and after.modified_date > before.modified_date
        and before.scopes == after.scopes
        and before.name == after.name
        and step.at - after.modified_date < params.longest_gap
    )


RULE = Rule(
    id="DT-SCP-08",
    title="Hidden change (modified, then put back)",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "modifiedDate is later than at the lookup before while scopes and name are equal; enabling and disabling do "
        "not move modifiedDate and so cannot be seen by it"
    ),
    rationale=(
        "The platform records only the last modification. A scope added for an hour and taken away again leaves no "
        "other trace in the token, and does its work in that hour."
    ),
    remediation=(
        "Read the environment's audit log for what was changed around modifiedDate and by whom. Unless it was "
        "decided, rotate the token."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI5:2025",),
        Framework.NIST_800_53: ("AU-6", "CM-3"),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("10.2.1.5",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2", "CC8.1"),
        Framework.NIS2: ("3.2.3.b",),
        Framework.DORA: ("Art10",),
    },
    params=HiddenChange,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    sample=Sample(metadata={"modified_date": days_ago(0.5)}, history=history_of()),
)
