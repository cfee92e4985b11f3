"""DT-EXP-01: a token that never expires."""

from collections.abc import Callable
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.selectors import Globs, matcher


class NoExpiration(Params):
    """Which tokens may live without an end."""

    exempt_scopes: frozenset[str] = frozenset()
    """A token whose scopes all lie in this set is exempt, for instance ``InstallerDownload``."""
    exempt_names: Globs = ()
    """Globs over the token's name, matched without regard to case; a token whose name matches one is exempt."""

    @cached_property
    def exempts_name(self) -> Callable[[str], bool]:
        """The test of ``exempt_names``."""
        return matcher(self.exempt_names)


def check(_observation: Observation, token: TokenMetadata, params: NoExpiration, context: Context) -> Violation | None:
    """Fire where ``expirationDate`` is absent and the token is not disabled."""
    if token.expiration_date is not None or token.enabled is False:
        return None
    if token.scopes and params.exempt_scopes.issuperset(token.scopes):
        return None
    if params.exempt_names and params.exempts_name(token.name or ""):
        return None
    is_high_risk = context.tier.is_high_risk
    return Violation(
        RULE.id,
        Severity.CRITICAL if is_high_risk else Severity.HIGH,
        f"never expires and holds {context.tier}-risk scopes" if is_high_risk else "never expires",
        {"expiration_date": None, "risk_tier": context.tier},
    )


RULE = Rule(
    id="DT-EXP-01",
    title="No expiration date",
    kind=Kind.SNAPSHOT,
    severity="high (critical with a high-risk scope)",
    test="expirationDate is absent and the token is not disabled",
    rationale="A token without an end stays valid until somebody remembers it; a leaked copy works for years.",
    remediation=(
        "Create a successor with an expiration date within policy, move the consumers to it, then delete this one. "
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
    params=NoExpiration,
    check=check,
    can_speak=lambda seen: not seen.ends,
    example='exempt_scopes = ["InstallerDownload"]\nexempt_names = ["oneagent-installer-*"]',
    sample=Sample(metadata={"expiration_date": None, "scopes": ("settings.read", "settings.write")}),
)
