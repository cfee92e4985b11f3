"""Gathers what a report says of each rule: the catalogue's words and how the rule stands in every environment."""

from collections.abc import Container, Sequence

import msgspec

from auditor.model.sweep import RuleState
from auditor.policy.base import Rule
from auditor.policy.controls import CONTROLS
from auditor.policy.registry import rules as catalogue
from auditor.reports.base import ReportData, RulePosture
from auditor.reports.sentences import listed, swept_rules


class ControlView(msgspec.Struct, frozen=True):
    """A control with its catalogue's title, empty where we do not know it."""

    id: str
    title: str


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """One rule in a report."""

    id: str
    title: str
    severity: str
    """The default, in words; empty, like all of the catalogue's words, for a rule that is not installed here."""
    test: str
    rationale: str
    remediation: str
    controls: Sequence[tuple[str, Sequence[ControlView]]]
    """Framework → controls."""
    is_installed: bool
    open_findings: int
    states: Sequence[tuple[RuleState, str]]
    """Each state that it has somewhere, with a sentence about where and why."""


def rule_views(data: ReportData) -> list[RuleView]:
    """Return every rule that the report's data speak of, in the catalogue's order, unknown ones last."""
    postures: dict[str, list[RulePosture]] = {}
    for posture in data.rules:
        postures.setdefault(posture.rule_id, []).append(posture)
    swept = {posture.environment for posture in swept_rules(data)}
    known = {**catalogue(), **data.written}
    order = {rule_id: position for position, rule_id in enumerate(known)}
    ids = sorted(postures, key=lambda rule_id: order.get(rule_id, len(order)))
    return [_view(rule_id, known.get(rule_id), postures[rule_id], swept) for rule_id in ids]


def _view(rule_id: str, rule: Rule | None, postures: Sequence[RulePosture], swept: Container[str]) -> RuleView:
    return RuleView(
        id=rule_id,
        title=rule.title if rule else postures[0].title,
        severity=rule.severity if rule else "",
        test=rule.test if rule else "",
        rationale=rule.rationale if rule else "",
        remediation=rule.remediation if rule else "",
        controls=[
            (framework.value, [ControlView(id_, CONTROLS.get(framework, {}).get(id_, "")) for id_ in ids])
            for framework, ids in (rule.controls if rule else {}).items()
        ],
        is_installed=rule is not None,
        open_findings=sum(posture.open_findings for posture in postures),
        states=_states([posture for posture in postures if posture.environment in swept]),
    )


def _states(postures: Sequence[RulePosture]) -> list[tuple[RuleState, str]]:
    if not postures:
        return [(RuleState.NOT_ASSESSED, "anywhere yet: no environment has been swept")]
    grouped: dict[tuple[RuleState, str], list[str]] = {}
    for state in RuleState:
        for posture in postures:
            if posture.state is state:
                grouped.setdefault((state, posture.reason), []).append(posture.environment)
    return [(state, _where(names, reason, len(postures))) for (state, reason), names in grouped.items()]


def _where(names: Sequence[str], reason: str, environments: int) -> str:
    if len(names) < environments:
        where = f"in {listed(names, most=8)}"
    else:
        where = f"in {names[0]}" if environments == 1 else f"in all {environments:,} swept environments"
    return f"{where}: {reason}" if reason else where
