"""DT-ROT-01: a token that should have been replaced by now."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import DaysByTier
from auditor.policy.wording import day, iso


class Rotation(Params):
    """How old a token may become before a successor replaces it."""

    max_age_days: DaysByTier = DaysByTier(critical=90, high=180, default=365)
    """The rotation period in days, from creation, by the token's risk tier."""


def check(_observation: Observation, token: TokenMetadata, params: Rotation, context: Context) -> Violation | None:
    """Fire where the token's age has come to ``max_age_days``; silent where ``creationDate`` is absent."""
    if token.creation_date is None:
        return None
    age = context.now - token.creation_date
    allowed = params.max_age_days.of(context.tier)
    if age < allowed:
        return None
    return Violation(
        RULE.id,
        Severity.HIGH if context.tier.is_high_risk else Severity.MEDIUM,
        f"created on {day(token.creation_date)}; {context.tier}-risk tokens are rotated after {allowed.days} days",
        {
            "creation_date": iso(token.creation_date),
            "max_age_days": allowed.days,
            "risk_tier": context.tier,
        },
    )


RULE = Rule(
    id="DT-ROT-01",
    title="Rotation overdue",
    kind=Kind.SNAPSHOT,
    severity="medium (high with a high-risk scope)",
    test="now - creationDate >= N days by risk tier",
    rationale="The older a secret, the more copies of it lie in backups, logs and the notes of people who have left.",
    remediation="Create a successor with the same or fewer scopes, move the consumers to it, then delete this one.",
    controls={
        Framework.OWASP_NHI: ("NHI7:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.PCI_DSS: ("8.6.3",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.6.2.c",),
        Framework.DORA: ("Art9",),
    },
    params=Rotation,
    check=check,
    sample=Sample(metadata={"creation_date": days_ago(400)}),
)
