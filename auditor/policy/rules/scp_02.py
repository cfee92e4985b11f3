"""DT-SCP-02: a token that can do too many different things."""

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample


class ScopeCount(Params):
    """How many scopes a token may hold."""

    scopes: int = Field(default=12, ge=1, strict=True)
    """The most scopes."""
    families: int = Field(default=5, ge=1, strict=True)
    """The most families of scopes: what scopes are about, as docs/scopes.md and ``[risk.scopes]`` have it."""


def check(_observation: Observation, token: TokenMetadata, params: ScopeCount, context: Context) -> Violation | None:
    """Fire where the token holds more scopes, or scopes of more families, than allowed."""
    scopes = len(token.scopes)
    if scopes <= params.families and scopes <= params.scopes:
        return None
    families = len(set(map(context.risk.family_of, token.scopes)))
    if scopes <= params.scopes and families <= params.families:
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f"holds {scopes} scopes of {families} families; {params.scopes} of {params.families} are allowed",
        {"scopes": list(token.scopes), "scope_count": scopes, "family_count": families},
    )


RULE = Rule(
    id="DT-SCP-02",
    title="Too many scopes",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="more than N scopes, or scopes of more than M families",
    rationale="A token for everything is shared by many consumers: it cannot be narrowed, rotated or revoked in peace.",
    remediation="Split it: one token a consumer, with the scopes that this consumer needs.",
    controls={
        Framework.OWASP_NHI: ("NHI5:2025",),
        Framework.NIST_800_53: ("AC-6",),
        Framework.ISO_27001: ("A.8.2",),
        Framework.PCI_DSS: ("7.2.5",),
        Framework.CIS: ("6.8",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.2.2.a",),
        Framework.DORA: ("Art9",),
    },
    params=ScopeCount,
    check=check,
    sample=Sample(
        metadata={
            "scopes": (
                "entities.read",
                "events.ingest",
                "logs.ingest",
                "metrics.read",
                "problems.read",
                "settings.read",
            )
        }
    ),
)
