"""The controls of a report: its data judged, framework by framework."""

from collections.abc import Sequence
from typing import Final

import msgspec

from auditor.policy.assessment import EnvironmentResult, Evidence, FrameworkAssessment, RuleResult, assess
from auditor.policy.registry import rules as catalogue
from auditor.reports.base import ReportData, RulePosture

JUDGEMENT: Final = (
    "Ids and titles of controls are the frameworks'; that a rule serves a control is the auditor project's judgement. "
    "What no rule can assess is not assessed, which is not a pass."
)
"""What every report says wherever it speaks of controls."""


def assessments(data: ReportData) -> Sequence[FrameworkAssessment]:
    """Judge every control of the report's frameworks."""
    here: dict[str, list[RulePosture]] = {}
    for posture in data.rules:
        here.setdefault(posture.environment, []).append(posture)
    evidence = [
        Evidence(
            environment=environment.name,
            last_sweep=environment.last_sweep,
            last_complete_at=environment.last_complete_at,
            stored_tokens=environment.stored_tokens,
            unknown_tokens=environment.unknown_tokens,
            outdated_tokens=environment.outdated_tokens,
            rules={posture.rule_id: _result(posture) for posture in here.get(environment.name, [])},
        )
        for environment in data.environments
    ]
    known = {**catalogue(), **data.written}
    return [assess(framework, known, evidence) for framework in data.frameworks]


def _result(posture: RulePosture) -> RuleResult:
    return RuleResult(
        rule_id=posture.rule_id,
        state=posture.state,
        reason=posture.reason,
        open_by_severity=posture.open_by_severity,
        waived_by_severity=posture.waived_by_severity,
    )


def as_told(framework: FrameworkAssessment) -> dict[str, object]:
    """Return a framework as documents hold it, for JSON: each control with its environments, without rule by rule."""
    return {
        "framework": framework.framework,
        "counts": framework.counts,
        "controls": [
            {
                "id": control.id,
                "title": control.title,
                "state": control.state,
                "reason": control.reason,
                "rules": control.rules,
                "environments": [_without_rules(result) for result in control.environments],
            }
            for control in framework.controls
        ],
    }


def _without_rules(result: EnvironmentResult) -> dict[str, object]:
    members: dict[str, object] = msgspec.structs.asdict(result)
    del members["rules"]
    return members
