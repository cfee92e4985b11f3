"""DT-SCP-01: a token that holds a scope of great power without approval."""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.scopes import RiskTier
from auditor.policy.selectors import Predicate, ScopeGrant, remembering
from auditor.policy.wording import listed


class HighRiskScopes(Params):
    """Which scopes are high-risk, and who may hold them."""

    high_risk: Annotated[frozenset[str], Field(min_length=1)] | None = None
    """The high-risk scopes by name, in place of those of tier high and critical."""
    approvals: tuple[ScopeGrant, ...] = ()
    """Which tokens may hold which of them: the conditions of a selector, and ``scopes`` as globs."""

    @cached_property
    def approved(self) -> tuple[tuple[Predicate, Callable[[str], bool]], ...]:
        """``approvals``, compiled."""
        return tuple((approval.compile(), remembering(approval.scopes)) for approval in self.approvals)


def unapproved(
    observation: Observation, token: TokenMetadata, params: HighRiskScopes, context: Context
) -> tuple[str, ...]:
    """Return the high-risk scopes that the token holds and that no approval covers."""
    if params.high_risk is not None:
        named = params.high_risk
        held = tuple(scope for scope in token.scopes if scope in named)
    elif context.tier.is_high_risk:
        held = context.risk.high_risk_among(token.scopes)
    else:
        return ()
    for selects, covers in params.approved:
        if not held:
            break
        if selects(observation, token, context.tier):
            held = tuple(scope for scope in held if not covers(scope))
    return held


def check(observation: Observation, token: TokenMetadata, params: HighRiskScopes, context: Context) -> Violation | None:
    """Fire where the token holds an unapproved high-risk scope; critical where one of them is of tier critical."""
    held = unapproved(observation, token, params, context)
    if not held:
        return None
    is_critical = context.tier is RiskTier.CRITICAL and RiskTier.CRITICAL in map(context.risk.tier_of, held)
    return Violation(
        RULE.id,
        Severity.CRITICAL if is_critical else Severity.HIGH,
        f"holds high-risk scopes without approval: {listed(held)}",
        {"scopes": list(held), "risk_tier": context.tier},
    )


RULE = Rule(
    id="DT-SCP-01",
    title="High-risk scope held",
    kind=Kind.SNAPSHOT,
    severity="high (critical where a scope manages tokens or credentials)",
    test="scopes hold one of the high-risk set that no approval covers",
    rationale=(
        "With such a scope a leaked token changes the configuration, reads credentials or makes itself new tokens. "
        "Few consumers need one, and each should be known."
    ),
    remediation=(
        "Replace the token by one without the scope. Where the consumer needs it, record the decision as an approval "
        "in the policy."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI5:2025",),
        Framework.NIST_800_53: ("AC-6", "AC-6(5)"),
        Framework.ISO_27001: ("A.8.2",),
        Framework.PCI_DSS: ("7.2.5",),
        Framework.CIS: ("6.8",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.3.2.c",),
        Framework.DORA: ("Art9",),
    },
    params=HighRiskScopes,
    check=check,
    example='approvals = [{ owner = "svc-terraform", environment = "prod*", scopes = ["settings.write"] }]',
    sample=Sample(metadata={"scopes": ("apiTokens.read", "apiTokens.write")}),
)
