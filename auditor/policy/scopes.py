"""How much power a scope gives: the shipped classification and what an operator adds to it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag

from auditor.model.table import Table
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


class Access(StrEnum):
    """What a scope lets its holder do, in the project's judgement."""

    READ = "read"
    """See data or configuration."""
    INGEST = "ingest"
    """Send data in."""
    WRITE = "write"
    """Change or delete what is there."""
    ADMIN = "admin"
    """Make or change credentials, or what watches over others: tokens, certificates, agents, privacy."""


class ScopeSettings(Table):
    """What a policy says of one scope; what it leaves out is as shipped."""

    tier: RiskTier | None = None
    """How much power it gives. Of a scope that does not ship: the tier of unknown ones, unless it is said here."""
    family: Annotated[str, Field(min_length=1)] | None = None
    """What it is about, for DT-SCP-02. Of a scope that does not ship: what stands before the name's first dot."""
    access: Access | None = None
    """What it lets its holder do. Of a scope that does not ship: what the end of its name says."""


def _alone_or_described(value: Any) -> str:
    return "alone" if isinstance(value, str) else "described"


_SETS_KEPT: Final = 1024
_ENDS: Final = {
    "read": Access.READ,
    "lookup": Access.READ,
    "ingest": Access.INGEST,
    "write": Access.WRITE,
    "create": Access.WRITE,
    "install": Access.WRITE,
}
"""What the end of a scope's name says of it."""


class RiskSettings(Table):
    """The ``[risk]`` table of a policy: what it says of scopes that the shipped catalogue lacks or grades otherwise."""

    unknown: RiskTier = RiskTier.MEDIUM
    """Tier of a scope in no list: the provider adds scopes without notice."""
    scopes: Mapping[
        str,
        Annotated[
            Annotated[RiskTier, Tag("alone")] | Annotated[ScopeSettings, Tag("described")],
            Discriminator(_alone_or_described),
        ],
    ] = {}
    """Scope → its tier, or a table of tier, family and access; in place of or beside the shipped classification."""

    @cached_property
    def _tiers(self) -> dict[str, RiskTier]:
        shipped = {name: RiskTier(scope.tier) for name, scope in SCOPES.items()}
        said = {name: settings.tier or shipped.get(name, self.unknown) for name, settings in self._settings.items()}
        return shipped | said

    @cached_property
    def _settings(self) -> dict[str, ScopeSettings]:
        return {
            name: said if isinstance(said, ScopeSettings) else ScopeSettings(tier=said)
            for name, said in self.scopes.items()
        }

    @cached_property
    def _families(self) -> dict[str, str]:
        shipped = {name: scope.family for name, scope in SCOPES.items()}
        return shipped | {name: said.family for name, said in self._settings.items() if said.family is not None}

    @cached_property
    def _high_risk(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """What ``high_risk_among`` found: many tokens hold the same scopes."""
        return {}

    @cached_property
    def _is_high_risk(self) -> dict[str, bool]:
        return {scope: tier.is_high_risk for scope, tier in self._tiers.items()}

    def tier_of(self, scope: str) -> RiskTier:
        """Return the tier of one scope."""
        return self._tiers.get(scope, self.unknown)

    def high_risk_among(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the scopes of tier high or critical, in the given order."""
        found = self._high_risk.get(scopes)
        if found is None:
            if len(self._high_risk) >= _SETS_KEPT:
                self._high_risk.clear()
            is_high_risk, unknown = self._is_high_risk, self.unknown.is_high_risk
            found = tuple([scope for scope in scopes if is_high_risk.get(scope, unknown)])
            self._high_risk[scopes] = found
        return found

    def is_known(self, scope: str) -> bool:
        """Whether the shipped catalogue or this policy names the scope."""
        return scope in self._tiers

    def family_of(self, scope: str) -> str:
        """Return what a scope is about; of an unknown one, what stands before its name's first dot."""
        return self._families.get(scope) or scope.partition(".")[0]

    def access_of(self, scope: str) -> Access | None:
        """Return what a scope lets its holder do; None where neither a list nor its name tells."""
        said = self._settings.get(scope)
        if said is not None and said.access is not None:
            return said.access
        shipped = SCOPES.get(scope)
        return Access(shipped.access) if shipped is not None else _ENDS.get(scope.rpartition(".")[2])

    def tier_of_all(self, scopes: Sequence[str]) -> RiskTier:
        """Return the highest tier among ``scopes``; low for a token that holds none."""
        return max(map(self.tier_of, scopes), key=lambda tier: tier.rank, default=RiskTier.LOW)
