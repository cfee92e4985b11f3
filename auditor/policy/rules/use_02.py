"""DT-USE-02: a token that was used once and no longer is."""

from typing import Self

from pydantic import Field, model_validator

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, days_between


class Stale(Params):
    """After how many days without use a token counts as stale, as a ladder; only the highest step reached speaks."""

    low_days: int = Field(default=45, ge=1)
    medium_days: int = Field(default=90, ge=1)
    high_days: int = Field(default=180, ge=1)
    """Also the severity of any stale token of a high-risk tier."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if not self.low_days < self.medium_days < self.high_days:
            raise ValueError("low_days, medium_days and high_days must ascend")
        return self


def check(_observation: Observation, token: TokenMetadata, params: Stale, context: Context) -> Violation | None:
    """Fire where ``lastUsedDate`` lies at least ``low_days`` back; a token never used is DT-USE-01's."""
    if token.last_used_date is None:
        return None
    idle_days = days_between(token.last_used_date, context.now)
    if idle_days < params.low_days:
        return None
    if idle_days >= params.high_days or context.tier.is_high_risk:
        severity = Severity.HIGH
    elif idle_days >= params.medium_days:
        severity = Severity.MEDIUM
    else:
        severity = Severity.LOW
    return Violation(
        RULE.id,
        severity,
        f"not used for {int(idle_days)} days",
        {"last_used_date": token.last_used_date.isoformat(), "risk_tier": context.tier},
    )


RULE = Rule(
    id="DT-USE-02",
    title="Stale token",
    kind=Kind.SNAPSHOT,
    severity="low from 45 days, medium from 90, high from 180 or with a high-risk scope",
    test="now - lastUsedDate >= N days",
    rationale="A token that nobody uses still opens the door, and nobody would notice who else comes through it.",
    remediation="Ask the owner; disable the token, wait a sweep or two for complaints, then delete it.",
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
    params=Stale,
    check=check,
)
