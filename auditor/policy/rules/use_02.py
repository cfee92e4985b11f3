"""DT-USE-02: a token that was used once and no longer is."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import AgeLadder
from auditor.policy.wording import day, iso


class Stale(Params):
    """After how long without use a token counts as stale."""

    days: AgeLadder = AgeLadder(low=45, medium=90, high=180)
    """Days without use by severity; only the highest step that was reached speaks. The first step should be longer
    than the time between two sweeps, and than the provider takes to show a use."""


def staleness(token: TokenMetadata, params: Stale, context: Context) -> Severity | None:
    """Return how bad it is that a token has been idle; None for one that is not stale."""
    if token.last_used_date is None:
        return None
    severity = params.days.reached(context.now - token.last_used_date)
    if severity is None:
        return None
    if context.tier.is_high_risk and severity is not Severity.CRITICAL:
        severity = Severity.HIGH
    return severity


def check(_observation: Observation, token: TokenMetadata, params: Stale, context: Context) -> Violation | None:
    """Fire where ``lastUsedDate`` lies at least the first step back, at least as high for a high-risk token.

    A token never used is DT-USE-01's.
    """
    severity = staleness(token, params, context)
    if severity is None or token.last_used_date is None:
        return None
    return Violation(
        RULE.id,
        severity,
        f"last used on {day(token.last_used_date)}",
        {"last_used_date": iso(token.last_used_date), "risk_tier": context.tier},
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
    can_speak=lambda seen: seen.is_used,
    sample=Sample(metadata={"creation_date": days_ago(110), "last_used_date": days_ago(97)}),
)
