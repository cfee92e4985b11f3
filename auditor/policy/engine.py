"""Applies a policy to observations: the one function that the rest of the program calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, Outcome
from auditor.policy.base import Check, Context, Feeds, Kind, Params, Rule, Setting
from auditor.policy.document import PolicyDocument
from auditor.policy.scopes import RiskTier
from auditor.policy.selectors import Predicate

_TIERS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class _Applied:
    """A rule bound to its parameters and selectors."""

    rule_id: str
    check: Check
    params: Params
    severity: Severity | None
    only: tuple[Predicate, ...]
    exempt: tuple[Predicate, ...]


class Policy:
    """A policy document bound to one environment's setting, ready to evaluate observations.

    ``unassessed`` maps each enabled rule that cannot be applied here to the reason; such a rule neither passes a
    token nor ends a finding.
    """

    def __init__(
        self, document: PolicyDocument, rules: Sequence[Rule], *, feeds: Feeds, environment_kind: str | None
    ) -> None:
        self.document = document
        self.digest = document.digest
        self.unassessed: dict[str, str] = {}
        self.disabled: set[str] = set()
        self._feeds = feeds
        self._environment_kind = environment_kind
        self._tiers: dict[tuple[str, ...], RiskTier] = {}
        self._applied: list[_Applied] = []
        setting = Setting(feeds, environment_kind)
        for rule in rules:
            if rule.kind is Kind.SNAPSHOT:
                self._bind(rule, setting)

    def _bind(self, rule: Rule, setting: Setting) -> None:
        settings = self.document.rules.get(rule.id)
        if settings is not None and not settings.enabled:
            self.disabled.add(rule.id)
            return
        params = self.document.params_of(rule)
        reason = rule.unassessable(params, setting)
        if reason is not None:
            self.unassessed[rule.id] = reason
            return
        self._applied.append(
            _Applied(
                rule.id,
                rule.check,
                params,
                settings.severity if settings else None,
                tuple(selector.compile() for selector in settings.only) if settings else (),
                tuple(selector.compile() for selector in settings.exempt) if settings else (),
            )
        )

    @property
    def assessed(self) -> tuple[str, ...]:
        """Ids of the rules that this policy applies here, in the catalogue's order."""
        return tuple(applied.rule_id for applied in self._applied)

    def evaluate(self, observation: Observation, previous: Observation | None, now: datetime) -> list[Violation]:
        """Return what the rules say of an observation, in the catalogue's order.

        ``previous`` is the last evident observation of the same token, for rules that compare; ``now`` is the instant
        to judge by. A missing token breaks no snapshot rule. A rule in ``unassessed`` says nothing, which is no pass.
        """
        token = observation.metadata
        if observation.outcome is not Outcome.FOUND or token is None:
            return []
        tier = self._tier_of(token.scopes)
        context = Context(now, self.document.risk, tier, self._feeds, self._environment_kind)
        violations: list[Violation] = []
        for applied in self._applied:
            if applied.only and not any(test(observation, token, tier) for test in applied.only):
                continue
            if applied.exempt and any(test(observation, token, tier) for test in applied.exempt):
                continue
            violation = applied.check(observation, token, applied.params, context)
            if violation is None:
                continue
            if applied.severity is not None:
                violation = msgspec.structs.replace(violation, severity=applied.severity)
            violations.append(violation)
        return violations

    def _tier_of(self, scopes: tuple[str, ...]) -> RiskTier:
        tier = self._tiers.get(scopes)
        if tier is None:
            if len(self._tiers) >= _TIERS_KEPT:
                self._tiers.clear()
            tier = self._tiers[scopes] = self.document.risk.tier_of_all(scopes)
        return tier
