"""A sweep: one pass over an environment's stored tokens, which accounts for every one of them."""

from datetime import datetime
from enum import StrEnum

import msgspec


class SweepStatus(StrEnum):
    """How a sweep stands."""

    RUNNING = "running"
    """It is under way, or was cut short and can be taken up."""
    COMPLETE = "complete"
    """Every source was read to its end and every enrolled token has evidence: found or missing."""
    INCOMPLETE = "incomplete"
    """It reached its end, but some tokens or sources could not be audited."""
    FAILED = "failed"
    """It stopped early: authentication refused, environment unreachable, or the process died and none took it up."""


class RuleState(StrEnum):
    """Whether a rule had its say in a sweep; only ``ASSESSED`` can be a pass."""

    ASSESSED = "assessed"
    NOT_ASSESSED = "not assessed"
    DISABLED = "disabled"


class RuleStanding(msgspec.Struct, frozen=True):
    """What a policy made of one rule in a sweep."""

    state: RuleState
    reason: str = ""
    """Why it is not assessed."""


class SweepSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a sweep: ``enrolled = found + missing + refused + failed``."""

    id: int
    environment: str
    started_at: datetime
    finished_at: datetime | None
    status: SweepStatus
    enrolled: int = 0
    found: int = 0
    missing: int = 0
    refused: int = 0
    failed: int = 0
    reasons: dict[str, int] = {}
    """Why lookups were refused or failed, with counts."""
    source_problems: dict[str, str] = {}
    """Sources that could not be read to their end, with the reason; their tokens may be unaccounted for."""
    policy_digest: str = ""
    """SHA-256 of the policy that was applied."""
    self_lookup: bool = False
    """Whether the auditor's own token was looked up with itself, which may move its ``lastUsedDate``."""

    @property
    def audited(self) -> int:
        """Tokens with evidence in this sweep."""
        return self.found + self.missing

    @property
    def coverage(self) -> float | None:
        """Share of enrolled tokens with evidence, 0 to 1; None when nothing was enrolled."""
        return self.audited / self.enrolled if self.enrolled else None

    @property
    def is_balanced(self) -> bool:
        """Whether the sum accounts for every enrolled token."""
        return self.enrolled == self.found + self.missing + self.refused + self.failed
