"""The findings as OCSF events, for SIEMs and data lakes: Compliance Finding (class 2003) of version 1.5, one a line.

Members and their numbers are those of the Open Cybersecurity Schema Framework (schema.ocsf.io, version 1.5.0).
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from typing import Any, BinaryIO, Final

import msgspec

from auditor.model.finding import Finding, Resolution, Severity
from auditor.model.waiver import Waiver
from auditor.reports.base import Findings, ReportData
from auditor.reports.json_text import encoded, encoded_lines
from auditor.reports.rule_views import RuleView, rule_views

VERSION: Final = "1.5.0"

_CLASS: Final = 2003
_CREATE, _UPDATE, _CLOSE = 1, 2, 3
_ACTIVITIES: Final = {_CREATE: "Create", _UPDATE: "Update", _CLOSE: "Close"}
_TYPES: Final = {activity: f"Compliance Finding: {name}" for activity, name in _ACTIVITIES.items()}
_NEW, _SUPPRESSED, _RESOLVED = 1, 3, 4
_STATUSES: Final = {_NEW: "New", _SUPPRESSED: "Suppressed", _RESOLVED: "Resolved"}
_PASS, _FAIL = 1, 3
_OUTCOMES: Final = {_PASS: "Pass", _FAIL: "Fail"}
_ENVIRONMENT: Final = "environment"
"""The label of findings that are about an environment itself."""
_SEVERITIES: Final = {
    Severity.INFO: (1, "Informational"),
    Severity.LOW: (2, "Low"),
    Severity.MEDIUM: (3, "Medium"),
    Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}


class Ocsf:
    """OCSF: one Compliance Finding a line; what is waived is suppressed, what is resolved is closed."""

    name = "ocsf"
    media_type = "application/x-ndjson"
    suffix = "ocsf.jsonl"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the events as they come; what all of a rule's events say is encoded once."""
        metadata = _raw(
            {"version": VERSION, "product": {"name": "auditor", "vendor_name": "auditor", "version": data.version}}
        )
        said = {view.id: _Said(view) for view in rule_views(data)}
        async with aclosing(findings()) as batches:
            async for batch in batches:
                out.write(encoded_lines([_event(finding, metadata, said) for finding in batch]))


class _FindingInfo(msgspec.Struct, gc=False, omit_defaults=True):
    uid: str
    title: str
    desc: str
    types: tuple[str]
    created_time: int
    first_seen_time: int
    last_seen_time: int
    analytic: msgspec.Raw


class _Data(msgspec.Struct, gc=False):
    is_stored: bool
    locations: Sequence[str]


class _Resource(msgspec.Struct, gc=False, omit_defaults=True):
    uid: str
    type: str
    namespace: str
    data: _Data
    name: str | None = None
    owner: msgspec.Raw | None = None


class _Unmapped(msgspec.Struct, gc=False):
    evidence: Mapping[str, Any]
    resolution: Resolution | None
    reopenings: int
    waiver: Waiver | None


class _Event(msgspec.Struct, gc=False, omit_defaults=True):
    activity_id: int
    activity_name: str
    type_uid: int
    type_name: str
    severity_id: int
    severity: str
    status_id: int
    status: str
    time: int
    message: str
    metadata: msgspec.Raw
    finding_info: _FindingInfo
    compliance: msgspec.Raw
    resources: tuple[_Resource]
    unmapped: _Unmapped
    category_uid: int
    category_name: str
    class_uid: int
    class_name: str
    remediation: msgspec.Raw | None = None
    comment: str | None = None


class _Said:
    """What every event of a rule says, encoded once."""

    def __init__(self, view: RuleView) -> None:
        self.title = view.title
        self.analytic = _raw({"uid": view.id, "name": view.title, "type_id": 1, "type": "Rule"})
        self.remediation = _raw({"desc": view.remediation}) if view.remediation else None
        self.compliance = {outcome: _raw(_compliance(view, outcome)) for outcome in _OUTCOMES}


def _compliance(view: RuleView, outcome: int) -> dict[str, object]:
    standards = [framework for framework, _controls in view.controls]
    judged = {"status_id": outcome, "status": _OUTCOMES[outcome]}
    check = {"uid": view.id, "name": view.title, "desc": view.test, "standards": standards, **judged}
    return {
        "control": view.id,
        "standards": standards,
        "requirements": [f"{framework}: {one.id}" for framework, controls in view.controls for one in controls],
        "checks": [check],
        **judged,
    }


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(encoded(value))


def _event(finding: Finding, metadata: msgspec.Raw, rules: dict[str, _Said]) -> _Event:
    said = rules.get(finding.rule_id)
    if said is None:  # a rule that no policy applies any more
        said = rules[finding.rule_id] = _Said(_unknown(finding.rule_id))
    activity, status = _standing(finding)
    severity, severity_name = _SEVERITIES[finding.severity]
    opened_at, last_seen_at = _milliseconds(finding.opened_at), _milliseconds(finding.last_seen_at)
    waiver = finding.waiver
    return _Event(  # by position, which takes half as long
        activity,
        _ACTIVITIES[activity],
        _CLASS * 100 + activity,
        _TYPES[activity],
        severity,
        severity_name,
        status,
        _STATUSES[status],
        last_seen_at if finding.resolved_at is None else _milliseconds(finding.resolved_at),
        finding.message,
        metadata,
        _FindingInfo(
            finding.key,
            said.title,
            finding.message,
            (finding.rule_id,),
            opened_at,
            opened_at,
            last_seen_at,
            said.analytic,
        ),
        said.compliance[_PASS if status == _RESOLVED else _FAIL],
        (_resource(finding),),
        _Unmapped(finding.evidence, finding.resolution, finding.reopenings, waiver),
        2,
        "Findings",
        _CLASS,
        "Compliance Finding",
        said.remediation,
        None if waiver is None else f"Waived by {waiver.approver} ({waiver.ticket}): {waiver.reason}",
    )


def _standing(finding: Finding) -> tuple[int, int]:
    """Return activity and status."""
    if finding.status == "resolved":
        return _CLOSE, _RESOLVED
    if finding.waiver is not None:
        return _UPDATE, _SUPPRESSED
    return (_UPDATE if finding.reopenings else _CREATE), _NEW


def _resource(finding: Finding) -> _Resource:
    return _Resource(
        finding.label,
        "Environment" if finding.label == _ENVIRONMENT else "API token",
        finding.environment,
        _Data(finding.is_stored, [f"{location.source}: {location.place}" for location in finding.locations]),
        finding.token_name,
        None if finding.owner is None else _owner(finding.owner, finding.environment),
    )


@lru_cache(maxsize=1024)
def _owner(owner: str, environment: str) -> msgspec.Raw:
    account = {"name": environment, "uid": environment, "type_id": 99, "type": "Other"}
    return _raw({"name": owner, "uid": owner, "type_id": 0, "account": account})


def _unknown(rule_id: str) -> RuleView:
    return RuleView(
        id=rule_id,
        title=rule_id,
        severity="",
        test="",
        rationale="",
        remediation="",
        controls=(),
        is_installed=False,
        open_findings=0,
        states=(),
    )


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
