"""Thresholds in days, as policies write them: one for each risk tier, or a ladder with one for each severity."""

from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from auditor.model.finding import Severity
from auditor.model.table import Table
from auditor.policy.scopes import RiskTier

_CENTURY: Final = 36_500

Days = Annotated[int, Field(ge=1, le=_CENTURY, strict=True)]
"""A whole number of days, from one to a century."""
Hours = Annotated[int, Field(ge=0, le=_CENTURY * 24, strict=True)]
"""A whole number of hours, none to a century's."""


class DaysByTier(Table):
    """Days by the token's risk tier: ``{ critical = 90, high = 180, default = 365 }``.

    A riskier tier never has more days than a milder one.
    """

    critical: Days | None = None
    high: Days | None = None
    medium: Days | None = None
    default: Days
    """For every tier that is not named."""

    @model_validator(mode="after")
    def _tightens_with_risk(self) -> Self:
        for milder, riskier in pairwise(RiskTier):
            if self.of(riskier) > self.of(milder):
                raise ValueError(
                    f"tier {riskier} has more days ({self.of(riskier).days}) than tier {milder} "
                    f"({self.of(milder).days}); a riskier tier may have as many at most"
                )
        return self

    @cached_property
    def _spans(self) -> tuple[timedelta, ...]:
        """The span for each tier, at its rank: an index is found faster than a member of an enumeration is hashed."""
        named = {RiskTier.MEDIUM: self.medium, RiskTier.HIGH: self.high, RiskTier.CRITICAL: self.critical}
        return tuple(timedelta(days=named.get(tier) or self.default) for tier in RiskTier)

    def of(self, tier: RiskTier) -> timedelta:
        """Return the span for a tier."""
        return self._spans[tier.rank]


class _Ladder(Table):
    """Severity → days. A severity that is left out is no step of the ladder."""

    info: Days | None = None
    low: Days | None = None
    medium: Days | None = None
    high: Days | None = None
    critical: Days | None = None

    @model_validator(mode="after")
    def _has_a_step(self) -> Self:
        if not self._worst_first:
            raise ValueError(f"the ladder has no step; name days for one of {', '.join(Severity)}")
        return self

    @cached_property
    def _worst_first(self) -> tuple[tuple[Severity, timedelta], ...]:
        days = {
            Severity.CRITICAL: self.critical,
            Severity.HIGH: self.high,
            Severity.MEDIUM: self.medium,
            Severity.LOW: self.low,
            Severity.INFO: self.info,
        }
        return tuple((severity, timedelta(days=count)) for severity, count in days.items() if count is not None)

    @cached_property
    def _mildest(self) -> timedelta:
        """The step that most tokens have not come to, so that one look is enough for them."""
        return self._worst_first[-1][1]

    def days_of(self, severity: Severity) -> int | None:
        """Return the days of a step; None where the severity is none."""
        return next((span.days for step, span in self._worst_first if step is severity), None)


class AgeLadder(_Ladder):
    """The longer, the worse: ``{ low = 45, medium = 90, high = 180 }``."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        for (worse, longer), (milder, shorter) in pairwise(self._worst_first):
            if longer <= shorter:
                raise ValueError(f"{worse} ({longer.days} days) must come later than {milder} ({shorter.days} days)")
        return self

    def reached(self, age: timedelta) -> Severity | None:
        """Return the worst step that an age has come to, None before the first."""
        if age < self._mildest:
            return None
        for severity, span in self._worst_first:
            if age >= span:
                return severity
        return None


class CountdownLadder(_Ladder):
    """The less is left, the worse: ``{ low = 30, medium = 14, high = 7 }``."""

    @model_validator(mode="after")
    def _descends(self) -> Self:
        for (worse, shorter), (milder, longer) in pairwise(self._worst_first):
            if shorter >= longer:
                raise ValueError(
                    f"{worse} ({shorter.days} days left) must come nearer to the end than {milder} "
                    f"({longer.days} days left)"
                )
        return self

    def reached(self, left: timedelta) -> Severity | None:
        """Return the worst step that what is left has come down to, None before the first."""
        if left > self._mildest:
            return None
        for severity, span in self._worst_first:
            if left <= span:
                return severity
        return None


class Deadlines(_Ladder):
    """How long something may take, by its severity: ``{ critical = 1, high = 7 }``. The worse, the sooner."""

    @model_validator(mode="after")
    def _hastens(self) -> Self:
        for (worse, shorter), (milder, longer) in pairwise(self._worst_first):
            if shorter > longer:
                raise ValueError(
                    f"{worse} ({shorter.days} days) may have as many days as {milder} ({longer.days} days) at most"
                )
        return self

    def of(self, severity: Severity) -> timedelta | None:
        """Return the span for a severity; None where it has no deadline."""
        return self._spans.get(severity)

    @cached_property
    def _spans(self) -> dict[Severity, timedelta]:
        return dict(self._worst_first)
