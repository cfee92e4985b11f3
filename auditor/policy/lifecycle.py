"""What becomes of a token's findings when it is observed again: pure, so that it can be replayed."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from auditor.model.finding import Resolution, Severity, Transition, Violation, Waived
from auditor.model.waiver import Waiver

_SEVERITIES: Final = frozenset(Severity)
LATE: Final = "overdue"
"""Under this key the evidence of a finding that was escalated for its age says of which severity it was, since when,
and what its deadline was."""


THRESHOLD: Final = "threshold_days"
"""Under this key the evidence of a finding about something that comes nearer says which threshold was crossed last."""


class KnownFinding(msgspec.Struct, frozen=True, gc=False):
    """A finding as the database holds it before an observation."""

    id: int
    rule_id: str
    discriminator: str
    severity: Severity
    is_open: bool
    message: str
    evidence: dict[str, Any]
    waived: Waived | None = None
    """Present only while it is open and a waiver mutes it."""
    severity_since: datetime | None = None
    """When it was opened, reopened, a waiver of it lapsed, or its own rule last made it worse; None where that does not
    matter."""
    opened_at: datetime | None = None
    """When it was first opened; None where that does not matter."""

    @property
    def own_severity(self) -> Severity:
        """The severity that its own rule last gave it, whatever lateness made of it."""
        late = self.evidence.get(LATE)
        own = late.get("severity") if isinstance(late, dict) else None
        return Severity(own) if own in _SEVERITIES else self.severity


class Change(msgspec.Struct, frozen=True, gc=False):
    """What happens to one finding. Without a transition only its words or evidence are brought up to date."""

    transition: Transition | None
    known: KnownFinding | None
    """None exactly when the finding is opened."""
    violation: Violation
    """For a resolved finding, what it last said."""
    resolution: Resolution | None = None
    """Present exactly when the finding is resolved."""
    waiver: Waiver | None = None
    """Present exactly when the finding is waived or lapses: the waiver that covers it now, or the one that did."""
    rises: bool = False
    """Whether its own rule made an open finding worse, so that the time until it is late begins anew."""
    nears: bool = False
    """Whether an open finding came to the next of its thresholds without getting worse, so that it is spoken of again.
    """


Verdict = Callable[[str], Resolution | None]
"""Rule id → how a finding of a rule that did not fire ends, or None where the silence is no evidence."""

Deadline = Callable[[KnownFinding, Violation], tuple[Violation, bool]]
"""An open finding and what its rule says of it now → the same or worse where it is late, and whether it is so for the
first time."""


def on_time(_finding: KnownFinding, violation: Violation) -> tuple[Violation, bool]:
    """Return what a rule says as it is: the ``Deadline`` of a finding that has none."""
    return violation, False


def changes(
    known: Sequence[KnownFinding], violations: Sequence[Violation], verdict: Verdict, deadline: Deadline = on_time
) -> list[Change]:
    """Compare a token's findings with the violations of an evident observation of it.

    A violation opens a finding, reopens a resolved one, or lets an open one rise, fall or stand; one that passed its
    deadline is worse than its rule says. An open finding whose rule did not fire ends as ``verdict`` says of the rule;
    where it says None, the finding stays as it is.
    """
    if not known:
        return [Change(Transition.OPENED, None, violation) for violation in violations]
    before = {(finding.rule_id, finding.discriminator): finding for finding in known}
    happened: list[Change] = []
    for violation in violations:
        finding = before.pop((violation.rule_id, violation.discriminator), None)
        rises = is_newly_late = False
        if finding is not None and finding.is_open:
            rises = violation.severity.rank > finding.own_severity.rank
            violation, is_newly_late = deadline(finding, violation)
        # There is nothing worse than critical, but that it is late must be heard of.
        transition = _transition(finding, violation) or (Transition.ESCALATED if is_newly_late else None)
        if (
            transition is not None
            or finding is None
            or (finding.message, finding.evidence) != (violation.message, violation.evidence)
        ):
            nears = transition is None and finding is not None and _nears(finding, violation)
            happened.append(Change(transition, finding, violation, rises=rises, nears=nears))
    happened.extend(_ended(before.values(), verdict))
    return happened


def _ended(findings: Iterable[KnownFinding], verdict: Verdict) -> list[Change]:
    happened: list[Change] = []
    for finding in findings:
        if not finding.is_open:
            continue
        resolution = verdict(finding.rule_id)
        if resolution is not None:
            last = Violation(
                finding.rule_id, finding.severity, finding.message, finding.evidence, finding.discriminator
            )
            happened.append(Change(Transition.RESOLVED, finding, last, resolution))
    return happened


def _nears(finding: KnownFinding, violation: Violation) -> bool:
    before, after = finding.evidence.get(THRESHOLD), violation.evidence.get(THRESHOLD)
    return isinstance(before, int) and isinstance(after, int) and after < before


def _transition(finding: KnownFinding | None, violation: Violation) -> Transition | None:
    if finding is None:
        return Transition.OPENED
    if not finding.is_open:
        return Transition.REOPENED
    if violation.severity.rank > finding.severity.rank:
        return Transition.ESCALATED
    if violation.severity.rank < finding.severity.rank:
        return Transition.EASED
    return None
