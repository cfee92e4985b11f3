"""DT-EXP-02: a token made to live longer than policy allows."""

from datetime import timedelta
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import days_ahead
from auditor.policy.thresholds import DaysByTier
from auditor.policy.wording import counted, iso

_DAY: Final = timedelta(days=1)


class Lifetime(Params):
    """How long tokens may be made to live."""

    max_days: DaysByTier = DaysByTier(critical=90, high=180, default=365)
    """The longest lifetime in days, from creation to expiration, by the token's risk tier."""


def check(_observation: Observation, token: TokenMetadata, params: Lifetime, context: Context) -> Violation | None:
    """Fire where ``expirationDate - creationDate`` is more than ``max_days``; exactly as much is allowed.

    Silent where either date is absent: a token without an end is DT-EXP-01's.
    """
    if token.expiration_date is None or token.creation_date is None:
        return None
    lifetime = token.expiration_date - token.creation_date
    allowed = params.max_days.of(context.tier)
    if lifetime <= allowed:
        return None
    begun = -(-lifetime // _DAY)  # a day that has begun counts: of 365 days and a second, 365 would look allowed
    return Violation(
        RULE.id,
        Severity.HIGH if context.tier.is_high_risk else Severity.MEDIUM,
        f"made to live {counted(begun, 'day')}; {context.tier}-risk tokens may live {allowed.days}",
        {
            "creation_date": iso(token.creation_date),
            "expiration_date": iso(token.expiration_date),
            "max_days": allowed.days,
            "risk_tier": context.tier,
        },
    )


RULE = Rule(
    id="DT-EXP-02",
    title="Lifetime longer than policy",
    kind=Kind.SNAPSHOT,
    severity="medium (high with a high-risk scope)",
    test="expirationDate - creationDate > N days by risk tier",
    rationale="An end that lies years ahead protects little more than none: a leaked copy outlives every memory of it.",
    remediation=(
        "Create a successor with a lifetime within policy, move the consumers to it, then delete this one. "
        "The expiration date of an existing token cannot be edited."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI7:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.PCI_DSS: ("8.6.3",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.6.2.c",),
        Framework.DORA: ("Art9",),
    },
    params=Lifetime,
    check=check,
    can_speak=lambda seen: seen.ends,
    sample=Sample(metadata={"expiration_date": days_ahead(710)}),
)
