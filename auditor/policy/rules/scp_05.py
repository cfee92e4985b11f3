"""DT-SCP-05: a token of great power that nobody uses."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.rules.scp_01 import HighRiskScopes, unapproved
from auditor.policy.rules.use_01 import NeverUsed, unused_since
from auditor.policy.rules.use_02 import Stale, staleness
from auditor.policy.sampling import days_ago
from auditor.policy.wording import day, iso_or_none, listed


class UnusedPower(HighRiskScopes):
    """What counts as unused and as powerful, set here apart from the rules that it is made of."""

    never_used: NeverUsed = NeverUsed()
    """The parameters of DT-USE-01."""
    stale: Stale = Stale()
    """The parameters of DT-USE-02."""


def _idleness(token: TokenMetadata, params: UnusedPower, context: Context) -> str | None:
    since = unused_since(token, params.never_used, context)
    if since is not None:
        return f"never used since it was created on {day(since)}"
    if token.last_used_date is None or staleness(token, params.stale, context) is None:
        return None
    return f"last used on {day(token.last_used_date)}"


def check(observation: Observation, token: TokenMetadata, params: UnusedPower, context: Context) -> Violation | None:
    """Fire where DT-SCP-01 fires, and DT-USE-01 or DT-USE-02 too, with this rule's own parameters."""
    idle = _idleness(token, params, context)
    if idle is None:
        return None
    held = unapproved(observation, token, params, context)
    if not held:
        return None
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"{idle}, yet holds high-risk scopes: {listed(held)}",
        {
            "scopes": list(held),
            "creation_date": iso_or_none(token.creation_date),
            "last_used_date": iso_or_none(token.last_used_date),
            "risk_tier": context.tier,
        },
    )


RULE = Rule(
    id="DT-SCP-05",
    title="Unused but powerful",
    kind=Kind.SNAPSHOT,
    severity="high",
    test="DT-USE-01 or DT-USE-02 is true, and DT-SCP-01 is true",
    rationale="The worst token to lose is one that can do much and that nobody would miss: start cleaning up here.",
    remediation="Disable it today; delete it when a sweep or two have passed without complaints.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025", "NHI5:2025"),
        Framework.NIST_800_53: ("AC-6(7)", "AC-2(3)"),
        Framework.ISO_27001: ("A.8.2",),
        Framework.PCI_DSS: ("7.2.5.1",),
        Framework.CIS: ("5.3",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.5.4",),
        Framework.DORA: ("Art9",),
    },
    params=UnusedPower,
    check=check,
    example="never_used = { days = { critical = 7, high = 7, default = 14 } }\nstale = { days = { high = 30 } }",
    sample=Sample(
        metadata={"creation_date": days_ago(80), "last_used_date": days_ago(61), "scopes": ("credentialVault.read",)}
    ),
)
