"""How much power a scope gives: the shipped classification and what an operator adds to it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from auditor.policy.scope_catalogue import SCOPES


class RiskTier(StrEnum):
    """What harm a leaked token with such a scope can do, in the project's judgement; ordered by ``rank``."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __init__(self, word: str) -> None:
        # Attributes rather than properties, since rules ask for them several times for every token.
        self.rank: int = len(type(self).__members__)
        """Position in the order, 0 (low) to 3 (critical)."""
        self.is_high_risk: bool = word in {"high", "critical"}
        """Whether rules treat a token of this tier as high-risk."""


class RiskSettings(BaseModel):
    """The ``[risk]`` table of a policy: tiers for scopes that the shipped catalogue lacks or grades otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    unknown: RiskTier = RiskTier.MEDIUM
    """Tier of a scope in no list: the provider adds scopes without notice."""
    scopes: Mapping[str, RiskTier] = {}
    """Scope → tier, in place of or beside the shipped classification."""

    @cached_property
    def _tiers(self) -> dict[str, RiskTier]:
        shipped = {name: RiskTier(scope.tier) for name, scope in SCOPES.items()}
        return shipped | dict(self.scopes)

    @cached_property
    def _is_high_risk(self) -> dict[str, bool]:
        return {scope: tier.is_high_risk for scope, tier in self._tiers.items()}

    def tier_of(self, scope: str) -> RiskTier:
        """Return the tier of one scope."""
        return self._tiers.get(scope, self.unknown)

    def high_risk_among(self, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return the scopes of tier high or critical, in the given order."""
        is_high_risk, unknown = self._is_high_risk, self.unknown.is_high_risk
        return tuple([scope for scope in scopes if is_high_risk.get(scope, unknown)])

    def is_known(self, scope: str) -> bool:
        """Whether the shipped catalogue or this policy names the scope."""
        return scope in self._tiers

    def tier_of_all(self, scopes: Sequence[str]) -> RiskTier:
        """Return the highest tier among ``scopes``; low for a token that holds none."""
        return max(map(self.tier_of, scopes), key=lambda tier: tier.rank, default=RiskTier.LOW)
