"""Applies a policy to observations: the one function that the rest of the program calls."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Final, NamedTuple, cast

import msgspec

from auditor.model.finding import Resolution, Severity, Violation
from auditor.model.history import History
from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.sweep import RuleStanding, RuleState
from auditor.policy.base import (
    Check,
    Context,
    Feeds,
    FleetCheck,
    Kind,
    NotAssessable,
    Params,
    Rule,
    Setting,
    Sight,
    sight_of,
)
from auditor.policy.document import PolicyDocument
from auditor.policy.events import EventParams
from auditor.policy.scopes import RiskTier
from auditor.policy.selectors import Predicate

_TIERS_KEPT: Final = 4096


class _Applied(NamedTuple):
    """A rule bound to its parameters and selectors."""

    params: Params
    only: tuple[Predicate, ...]
    exempt: tuple[Predicate, ...]

    def selects(self, observation: Observation, token: TokenMetadata, tier: RiskTier) -> bool:
        """Whether the rule is applied to this token."""
        return (not self.only or any(test(observation, token, tier) for test in self.only)) and not any(
            test(observation, token, tier) for test in self.exempt
        )


_Step = tuple[Check, Params, Severity | None, _Applied | None]
"""What the evaluation needs of an applied rule, in a plain tuple because that unpacks fastest; the last is present
exactly where selectors narrow the rule."""


class Assessment(NamedTuple):
    """What the rules say of an observation, and which of them cannot tell."""

    violations: list[Violation]
    """In the catalogue's order."""
    unassessed: Mapping[str, str]
    """Rules that cannot tell of this token, each with its reason: they neither pass it nor end a finding of it."""


_ALL_ASSESSED: Final[Mapping[str, str]] = {}
_SIGHTS: Final = tuple(product((False, True), repeat=len(Sight._fields)))


class Policy:
    """A policy document bound to one environment's setting, ready to evaluate observations.

    ``unassessed`` maps each enabled rule that cannot be applied here to the reason; such a rule neither passes a
    token nor ends a finding.
    """

    def __init__(
        self, document: PolicyDocument, rules: Sequence[Rule], *, feeds: Feeds, environment_kind: str | None
    ) -> None:
        self.document = document
        self.content = document.content
        self.digest = document.digest
        self.unassessed: dict[str, str] = {}
        self.disabled: set[str] = set()
        self.feeds = feeds
        self._environment_kind = environment_kind
        self._tiers: dict[tuple[str, ...], RiskTier] = {}
        self._by_id: dict[str, _Applied] = {}
        self._steps: dict[tuple[bool, ...], list[_Step]] = {sight: [] for sight in _SIGHTS}
        self._steps_for_missing: list[_Step] = []
        setting = Setting(feeds, environment_kind)
        for rule in rules:
            self._bind(rule, setting)
        self.fleet = tuple(rule for rule in rules if rule.candidates is not None and rule.id in self._by_id)
        """The rules among those assessed that look at candidates of the whole environment."""
        self.comparing = tuple(rule.id for rule in rules if rule.kind in {Kind.FLEET, Kind.AUDITOR})
        """Ids of the rules that look at more than one token; their findings are no affair of one observation."""

    def _bind(self, rule: Rule, setting: Setting) -> None:
        settings = self.document.settings_of(rule.id)
        if settings is not None and not settings.enabled:
            self.disabled.add(rule.id)
            return
        params = self.document.params_of(rule)
        reason = rule.unassessable(params, setting)
        if reason is not None:
            self.unassessed[rule.id] = reason
            return
        applied = self._by_id[rule.id] = _Applied(
            params,
            tuple(selector.compile() for selector in settings.only) if settings else (),
            tuple(selector.compile() for selector in settings.exempt) if settings else (),
        )
        if rule.kind not in {Kind.SNAPSHOT, Kind.HISTORY}:
            return
        severity = settings.severity if settings else None
        step = (cast(Check, rule.check), params, severity, applied if applied.only or applied.exempt else None)
        if rule.speaks_of_missing:
            self._steps_for_missing.append(step)
            return
        for sight, steps in self._steps.items():
            if rule.can_speak(Sight(*sight)):
                steps.append(step)

    @property
    def assessed(self) -> tuple[str, ...]:
        """Ids of the rules that this policy applies here, in the catalogue's order."""
        return tuple(self._by_id)

    @property
    def lookback(self) -> timedelta:
        """How far back its rules look; none where no rule about events applies."""
        bound = (applied.params for applied in self._by_id.values())
        return max((params.look_back for params in bound if isinstance(params, EventParams)), default=timedelta())

    @property
    def standings(self) -> dict[str, RuleStanding]:
        """What this policy makes of each rule here."""
        return (
            {rule_id: RuleStanding(RuleState.ASSESSED) for rule_id in self.assessed}
            | {rule_id: RuleStanding(RuleState.NOT_ASSESSED, reason) for rule_id, reason in self.unassessed.items()}
            | {rule_id: RuleStanding(RuleState.DISABLED) for rule_id in self.disabled}
        )

    def evaluate(self, observation: Observation, history: History, now: datetime) -> list[Violation]:
        """Return the violations of ``assess``, for whom it does not matter which rules could not tell."""
        return self.assess(observation, history, now).violations

    def assess(self, observation: Observation, history: History, now: datetime) -> Assessment:
        """Return what the rules say of an observation.

        ``now`` is the instant to judge by. A rule in ``unassessed`` says nothing, which is no pass. Of a missing token
        only the rules that are about missing ones speak.
        """
        token = observation.metadata
        if token is None:
            steps = self._steps_for_missing
            token = history.last_found or TokenMetadata(observation.public_id or observation.label)
        else:
            steps = self._steps[sight_of(token, history)]
        tier = self._tier_of(token.scopes)
        context = Context(now, self.document.risk, tier, self.feeds, self._environment_kind, history)
        violations: list[Violation] = []
        unassessed = _ALL_ASSESSED
        for check, params, severity, narrowed in steps:
            if narrowed is not None and not narrowed.selects(observation, token, tier):
                continue
            try:
                violation = check(observation, token, params, context)
            except NotAssessable as error:
                unassessed = {**unassessed, error.rule_id: str(error)}
                continue
            if violation is None:
                continue
            if severity is not None:
                violation = msgspec.structs.replace(violation, severity=severity)
            violations.append(violation)
        return Assessment(violations, unassessed)

    def judge(self, rule: Rule, candidate: msgspec.Struct, now: datetime) -> list[Violation]:
        """Return what a rule of ``fleet`` says of one of its candidates."""
        said = cast(FleetCheck, rule.check)(candidate, self.params_of(rule.id), now)
        settings = self.document.rules.get(rule.id)
        if settings is None or settings.severity is None:
            return list(said)
        return [msgspec.structs.replace(violation, severity=settings.severity) for violation in said]

    def params_of(self, rule_id: str) -> Params:
        """Return the parameters of a rule that is assessed."""
        return self._by_id[rule_id].params

    def is_narrowed(self, rule_id: str) -> bool:
        """Whether selectors keep a rule that is assessed from some tokens."""
        applied = self._by_id[rule_id]
        return bool(applied.only or applied.exempt)

    def selects(self, rule_id: str, observation: Observation, token: TokenMetadata) -> bool:
        """Whether a rule that is assessed is applied to a token."""
        return self._by_id[rule_id].selects(observation, token, self._tier_of(token.scopes))

    def verdict(self, rule_id: str, observation: Observation, unassessed: Collection[str] = ()) -> Resolution | None:
        """Return how an open finding of a rule that did not fire on this observation ends; None: it stays open.

        By policy where the rule is disabled, gone from the catalogue or not applied to this token; by evidence where
        it was applied. A rule that is not assessed, here or (``unassessed``) of this observation, ends nothing, and
        neither does an observation without metadata.
        """
        token = observation.metadata
        if rule_id in self.unassessed or rule_id in unassessed or token is None:
            return None
        applied = self._by_id.get(rule_id)
        if applied is None or not applied.selects(observation, token, self._tier_of(token.scopes)):
            return Resolution.POLICY
        return Resolution.EVIDENCE

    def _tier_of(self, scopes: tuple[str, ...]) -> RiskTier:
        tier = self._tiers.get(scopes)
        if tier is None:
            if len(self._tiers) >= _TIERS_KEPT:
                self._tiers.clear()
            tier = self._tiers[scopes] = self.document.risk.tier_of_all(scopes)
        return tier
