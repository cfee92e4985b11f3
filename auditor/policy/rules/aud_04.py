"""DT-AUD-04: a finding that is open for longer than its severity may be."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.lifecycle import LATE
from auditor.policy.sampling import SAMPLED_AT, days_ago
from auditor.policy.thresholds import Deadlines
from auditor.policy.wording import counted, day, iso


class Overdue(Params):
    """How long findings may stay open."""

    sla: Deadlines = Deadlines(critical=1, high=7, medium=30, low=90)
    """Days, by the severity that the finding's own rule gives it, from when it gave it. A severity that is left out has
    no deadline."""


_NEXT_WORSE: Final = dict(pairwise(Severity)) | {Severity.CRITICAL: Severity.CRITICAL}


def check(violation: Violation, severity_since: datetime, params: Overdue, now: datetime) -> Violation:
    """Return a violation one severity worse where its finding is past its deadline, else as it is.

    ``violation`` is what the finding's own rule says now, and ``severity_since`` when the finding was opened or
    reopened, or since then got this severity. Who asks again, later, gets the same again, so that nothing eases what
    was escalated but the finding's own rule. A critical one stays critical and gains the words.
    """
    allowed = params.sla.of(violation.severity)
    if allowed is None or now - severity_since < allowed:
        return violation
    return msgspec.structs.replace(
        violation,
        severity=_NEXT_WORSE[violation.severity],
        message=f"{violation.message}; {violation.severity} since {day(severity_since)}, past its deadline of "
        f"{counted(allowed.days, 'day')}",
        evidence={
            **violation.evidence,
            LATE: {
                "rule": RULE.id,
                "severity": violation.severity.value,
                "since": iso(severity_since),
                "sla_days": allowed.days,
            },
        },
    )


def _example(params: Overdue) -> Iterator[Violation]:
    stale = Violation(
        "DT-USE-02", Severity.MEDIUM, "last used on 2026-07-20", {"last_used_date": "2026-07-20T06:00:00Z"}
    )
    yield check(stale, days_ago(31), params, SAMPLED_AT)


RULE = Rule(
    id="DT-AUD-04",
    title="Finding past its deadline",
    kind=Kind.AUDITOR,
    severity="one step above the finding's own",
    test="a finding has been open, with the severity that its own rule gives it, for as long as that allows",
    rationale=(
        "A finding that nobody mends says that it reaches nobody, or that nobody is responsible. Raising it puts it in "
        "front of the next one."
    ),
    remediation=(
        "Mend the finding, or accept it with a waiver that has an end. The rule has no findings of its own: it "
        "escalates the one that is late, once, and says so in its message."
    ),
    controls={
        Framework.NIST_800_53: ("CA-5", "RA-7"),
        Framework.ISO_27001: ("A.5.36",),
        Framework.PCI_DSS: ("10.4.3",),
        Framework.SOC_2: ("CC4.2", "CC7.4"),
        Framework.NIS2: ("2.2.1",),
        Framework.DORA: ("Art17",),
    },
    params=Overdue,
    check=check,
    sample=Sample(says=_example),
)
