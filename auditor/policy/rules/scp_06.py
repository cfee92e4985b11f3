"""DT-SCP-06: a token that holds scopes of the old kind."""

from typing import Final

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.scope_catalogue import SCOPES
from auditor.policy.wording import listed

_OLD_STYLE: Final = frozenset(scope for scope in SCOPES if "." not in scope)


class LegacyScopes(Params):
    """Which scopes count as legacy."""

    legacy: frozenset[str] = Field(default=_OLD_STYLE, min_length=1)
    """The legacy scopes by name; by default every catalogued scope without a dot, which the provider named before
    version 2 of its API."""


def check(_observation: Observation, token: TokenMetadata, params: LegacyScopes, _context: Context) -> Violation | None:
    """Fire where the token holds one of ``legacy``."""
    if params.legacy.isdisjoint(token.scopes):
        return None
    held = [scope for scope in token.scopes if scope in params.legacy]
    return Violation(RULE.id, Severity.LOW, f"holds legacy scopes: {listed(held)}", {"scopes": held})


RULE = Rule(
    id="DT-SCP-06",
    title="Legacy scope",
    kind=Kind.SNAPSHOT,
    severity="low",
    test="scopes hold one of the legacy list",
    rationale="Scopes of the old kind are broad, and what they open is being retired: their users will break.",
    remediation="Find the scopes of the new kind that the consumer needs; replace the token by one that holds those.",
    controls={
        Framework.OWASP_NHI: ("NHI4:2025",),
        Framework.NIST_800_53: ("AC-6",),
        Framework.ISO_27001: ("A.8.5",),
        Framework.SOC_2: ("CC6.1",),
    },
    params=LegacyScopes,
    check=check,
    example='legacy = ["DataExport", "ReadConfig", "WriteConfig", "TenantTokenManagement"]',
    sample=Sample(metadata={"scopes": ("DataExport", "ReadConfig", "metrics.read")}),
)
