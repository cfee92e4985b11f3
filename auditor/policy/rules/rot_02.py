"""DT-ROT-02: a token that stays valid long after its successor was made."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Rule, Sample
from auditor.policy.fleet import Generation, LineageParams
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import Days
from auditor.policy.wording import day, iso


class Overlap(LineageParams):
    """How long a rotation may take."""

    overlap_days: Days = 7
    """For so many days after the successor was made both may be valid."""


def check(generation: Generation, params: Overlap, now: datetime) -> Iterator[Violation]:
    """Fire where more than ``overlap_days`` passed since the successor's ``creationDate``; exactly as many may."""
    if now - generation.successor_creation_date <= timedelta(days=params.overlap_days):
        return
    yield Violation(
        RULE.id,
        Severity.MEDIUM,
        f"still valid beside its successor {generation.successor}, made on {day(generation.successor_creation_date)}; "
        f"a rotation may take {params.overlap_days} days",
        {
            "successor": generation.successor,
            "successor_creation_date": iso(generation.successor_creation_date),
            "overlap_days": params.overlap_days,
        },
    )


RULE = Rule(
    id="DT-ROT-02",
    title="Rotation overlap too long",
    kind=Kind.FLEET,
    severity="medium",
    test="two live tokens of the same owner, name stem and scopes, the later one made more than N days ago",
    rationale=(
        "A rotation ends when the old token is gone. As long as both are valid, the old copies, wherever they lie, "
        "still open the same doors."
    ),
    remediation=(
        "See that nothing uses the old token any more (DT-ROT-03 tells), disable it, wait, and delete it. Tokens that "
        "are no generations of one another get names that tell them apart, or an exemption."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025", "NHI7:2025"),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.CIS: ("6.2",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.5.4",),
    },
    params=Overlap,
    check=check,
    candidates=Generation,
    sample=Sample(candidate=Generation(days_ago(0.25), "dt0c01.SUCCESSOREXAMPLEAAAAAAAA", days_ago(12))),
)
