"""DT-USE-01: a token that was made and never used."""

from datetime import datetime

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import DaysByTier
from auditor.policy.wording import day, iso


class NeverUsed(Params):
    """How long a new token may wait for its first use."""

    days: DaysByTier = DaysByTier(critical=14, high=14, default=30)
    """Days from creation, by the token's risk tier."""


def unused_since(token: TokenMetadata, params: NeverUsed, context: Context) -> datetime | None:
    """Return when a token that was never used in its time was made; None where it was used, is young or has no date."""
    if token.last_used_date is not None or token.creation_date is None:
        return None
    return token.creation_date if context.now - token.creation_date >= params.days.of(context.tier) else None


def check(_observation: Observation, token: TokenMetadata, params: NeverUsed, context: Context) -> Violation | None:
    """Fire where ``lastUsedDate`` is absent at the age of ``days``; silent where ``creationDate`` is absent."""
    since = unused_since(token, params, context)
    if since is None:
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f"never used since it was created on {day(since)}",
        {"creation_date": iso(since), "last_used_date": None, "risk_tier": context.tier},
    )


RULE = Rule(
    id="DT-USE-01",
    title="Never used",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="lastUsedDate is absent and now - creationDate >= N days by risk tier",
    rationale="A token that nothing needs is only an open door.",
    remediation="Ask the owner what it was made for; delete it, and create a new one when the need comes.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2(3)",),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("8.2.6",),
        Framework.CIS: ("5.3",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.5.4",),
        Framework.DORA: ("Art9",),
    },
    params=NeverUsed,
    check=check,
    can_speak=lambda seen: not seen.is_used,
    sample=Sample(metadata={"creation_date": days_ago(33), "last_used_date": None, "last_used_ip_address": None}),
)
