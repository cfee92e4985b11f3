"""The report as OSCAL assessment results (version 1.1.3), for GRC tools.

Members are those of NIST's Open Security Controls Assessment Language, assessment-results model. What the auditor tests
becomes observations: one for each rule in each environment, and one for each finding. Findings of OSCAL are about
controls: one for each that was assessed, by the observations of its rules. Each finding of the auditor is a risk,
with a deviation approved where a waiver covers it. Ids are UUIDs of version 5: two reports agree on them.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, Final

from auditor.model.finding import Finding
from auditor.model.sweep import RuleState
from auditor.outside_text import clipped, visible
from auditor.policy.assessment import ControlAssessment, ControlState, FrameworkAssessment
from auditor.policy.base import Framework
from auditor.policy.wording import iso
from auditor.reports.base import EnvironmentPosture, Findings, ReportData, RulePosture
from auditor.reports.controls import JUDGEMENT, assessments
from auditor.reports.json_text import encoded, encoded_lines
from auditor.reports.markdown import escaped, escaped_whole
from auditor.reports.rule_views import RuleView, rule_views

VERSION: Final = "1.1.3"

_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:auditor:oscal")
_NAMESPACE: Final = "urn:auditor:oscal"
"""Of the properties that OSCAL does not define."""
_VALUE_LIMIT: Final = 1000

_JUDGED: Final[Mapping[ControlState, tuple[str, str]]] = {
    ControlState.PASS: ("satisfied", "pass"),
    ControlState.EXCEPTIONS: ("satisfied", "pass"),
    ControlState.PARTLY: ("not-satisfied", "other"),
    ControlState.FAIL: ("not-satisfied", "fail"),
    ControlState.UNKNOWN: ("not-satisfied", "other"),
}
"""OSCAL knows two states: what is not known is not satisfied, for the reason ``other``."""


class Oscal:
    """OSCAL: assessment results with observations, risks and findings."""

    name = "oscal"
    media_type = "application/oscal+json"
    suffix = "oscal.json"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the document; goes through the findings twice, for observations and for risks."""
        rules = {view.id: view for view in rule_views(data)}
        judged = assessments(data)
        out.write(b'{"assessment-results":{"uuid":%s,' % encoded(_id("document", iso(data.made_at))))
        out.write(b'"metadata":%s,"import-ap":{"href":"#%s"},' % (encoded(_metadata(data)), _id("plan").encode()))
        out.write(b'"back-matter":%s,"results":[{' % encoded(_plan()))
        out.write(
            b",\n".join(b"%s:%s" % (encoded(name), encoded(value)) for name, value in _result(data, judged).items())
        )
        tested = _List(out, "observations")
        tested.add([_tested(rule, data) for rule in data.rules])
        await _each(findings, _observation, tested)
        await _each(findings, lambda finding: _risk(finding, rules.get(finding.rule_id)), _List(out, "risks"))
        about = _List(out, "findings")
        about.add([_about(one.framework, control, data) for one in judged for control in one.served if _has(control)])
        about.end()
        out.write(b"}]}}\n")


class _List:
    """A list among an object's members that is written as it comes, and not at all while it is empty."""

    def __init__(self, out: BinaryIO, name: str) -> None:
        self._out = out
        self._start = b',\n"%s":[\n' % name.encode()
        self._is_begun = False

    def add(self, members: Sequence[object]) -> None:
        if members:
            self._out.write(b",\n" if self._is_begun else self._start)
            self._out.write(b",\n".join(encoded_lines(members).splitlines()))
            self._is_begun = True

    def end(self) -> None:
        if self._is_begun:
            self._out.write(b"]")


async def _each(findings: Findings, told: Callable[[Finding], Mapping[str, object]], into: _List) -> None:
    async with aclosing(findings()) as batches:
        async for batch in batches:
            into.add([told(finding) for finding in batch])
    into.end()


def _id(*parts: str) -> str:
    """Return the UUID of a thing, the same in every report; lone surrogates count as what stands for them."""
    name = "\x1f".join(parts).encode("utf-8", "backslashreplace").decode()
    return str(uuid.uuid5(_SPACE, name))


def _metadata(data: ReportData) -> dict[str, object]:
    return {
        "title": "Token audit report",
        "last-modified": iso(data.made_at),
        "version": iso(data.made_at),
        "oscal-version": VERSION,
        "remarks": JUDGEMENT,
    }


def _plan() -> dict[str, object]:
    """Return what stands for the assessment plan: the policy, which OSCAL wants to be named."""
    described = "The plan is the policy that auditor applies; its digest stands among the result's properties."
    return {"resources": [{"uuid": _id("plan"), "title": "Audit policy", "description": described}]}


def _result(data: ReportData, judged: Sequence[FrameworkAssessment]) -> dict[str, object]:
    """Return what a result says beside observations, risks and findings."""
    sweeps = [one.last_sweep for one in data.environments if one.last_sweep is not None]
    tool = {
        "uuid": _id("tool"),
        "type": "software",
        "title": "auditor",
        "description": "Looks up every stored token and applies the policy.",
        "status": {"state": "operational"},
        "props": [{"name": "version", "value": data.version}],
    }
    selections = [
        {
            "description": f"Controls of {one.framework} that rules of auditor serve.",
            "include-controls": [{"control-id": _control_id(one.framework, control.id)} for control in one.served],
        }
        for one in judged
        if one.served
    ]
    return {
        "uuid": _id("result", iso(data.instant)),
        "title": "Audit of stored tokens",
        "description": _scope(data.environments),
        "start": iso(min((sweep.started_at for sweep in sweeps), default=data.instant)),
        "end": iso(data.instant),
        "props": list(
            _props({"policy": data.policy_name, "policy-sha256": data.policy_digest, "auditor-version": data.version})
        ),
        "local-definitions": {
            "assessment-assets": {
                "components": [tool],
                "assessment-platforms": [{"uuid": _id("platform"), "title": "auditor"}],
            }
        },
        "reviewed-controls": {"control-selections": selections or [{"description": "None."}]},
    }


def _scope(environments: Sequence[EnvironmentPosture]) -> str:
    stored = sum(one.stored_tokens for one in environments)
    unknown = sum(one.unknown_tokens for one in environments)
    never = sum(one.last_sweep is None for one in environments)
    return (
        f"{stored} stored tokens of {len(environments)} environments, {never} of which were never swept; {unknown} of "
        "the tokens are unknown, which is not a pass."
    )


def _tested(rule: RulePosture, data: ReportData) -> dict[str, object]:
    """Return the observation that a rule was applied, or was not, to an environment's tokens."""
    here = next((one for one in data.environments if one.name == rule.environment), None)
    sweep = here.last_sweep if here else None
    at = data.instant if sweep is None else (sweep.finished_at or sweep.started_at)
    waived = sum(rule.waived_by_severity.values())
    said = f"{rule.open_findings} open and {waived} waived findings" if rule.state is RuleState.ASSESSED else rule.state
    reason = f": {escaped_whole(rule.reason)}" if rule.reason else ""
    props = {"rule": rule.rule_id, "environment": rule.environment, "state": rule.state}
    if here is not None:
        props |= {"stored-tokens": str(here.stored_tokens), "unknown-tokens": str(here.unknown_tokens)}
    return {
        "uuid": _id("rule", rule.environment, rule.rule_id),
        "title": f"{escaped(rule.rule_id)} in {escaped(rule.environment)}",
        "description": f"{escaped(rule.title)}: {said}{reason}.",
        "props": list(_props(props)),
        "methods": ["TEST"],
        "origins": [_ORIGIN],
        "collected": iso(at),
    }


_ORIGIN: Final = {"actors": [{"type": "tool", "actor-uuid": _id("tool")}]}


def _observation(finding: Finding) -> dict[str, object]:
    return {
        "uuid": _id("observation", finding.key),
        "title": f"{escaped(finding.rule_id)} on {escaped(finding.label)}",
        "description": _what(finding),
        "props": list(_finding_props(finding)),
        "methods": ["TEST"],
        "origins": [_ORIGIN],
        "relevant-evidence": [
            {
                "description": "What the rule decided on.",
                "props": list(_props({"evidence": encoded(finding.evidence).decode()})),
            }
        ],
        "collected": iso(finding.last_seen_at),
    }


def _risk(finding: Finding, rule: RuleView | None) -> dict[str, object]:
    waiver = finding.waiver
    is_resolved = finding.status == "resolved"
    risk: dict[str, object] = {
        "uuid": _id("risk", finding.key),
        "title": f"{escaped(finding.rule_id)} on {escaped(finding.label)}",
        "description": _what(finding),
        "statement": rule.rationale if rule and rule.rationale else _what(finding),
        "props": list(_finding_props(finding)),
        "status": "closed" if is_resolved else "open" if waiver is None else "deviation-approved",
        "origins": [_ORIGIN],
        "related-observations": [{"observation-uuid": _id("observation", finding.key)}],
    }
    if rule and rule.remediation:
        advice = {"uuid": _id("advice", finding.key), "lifecycle": "recommendation", "title": "What to do"}
        risk["remediations"] = [advice | {"description": rule.remediation}]
    if waiver is not None:
        said = {"waiver": waiver.id, "owner": waiver.owner, "approver": waiver.approver, "ticket": waiver.ticket}
        waived = f"Waived until {iso(waiver.until)} by {escaped(waiver.approver)}: {escaped_whole(waiver.reason)}"
        risk["mitigating-factors"] = [
            {
                "uuid": _id("waiver", finding.key),
                "description": waived,
                "props": list(_props({**said, "since": iso(waiver.since), "until": iso(waiver.until)})),
            }
        ]
    return risk


def _what(finding: Finding) -> str:
    return f"{escaped(finding.token_name or finding.label)}: {escaped_whole(clipped(finding.message, _VALUE_LIMIT))}"


def _finding_props(finding: Finding) -> Iterator[dict[str, str]]:
    return _props(
        {
            "key": finding.key,
            "rule": finding.rule_id,
            "environment": finding.environment,
            "token": finding.label,
            "token-name": finding.token_name,
            "owner": finding.owner,
            "severity": finding.severity,
            "status": finding.status,
            "opened-at": iso(finding.opened_at),
            "resolved-at": None if finding.resolved_at is None else iso(finding.resolved_at),
            "reopenings": str(finding.reopenings),
        }
    )


def _has(control: ControlAssessment) -> bool:
    return control.state is not ControlState.NOT_ASSESSED


def _about(framework: Framework, control: ControlAssessment, data: ReportData) -> dict[str, Any]:
    """Return OSCAL's finding about a control: whether its objective is satisfied, and by which observations."""
    state, reason = _JUDGED[control.state]
    rules = set(control.rules)
    named = f"{framework} {control.id}"
    remarks = f"{control.state}: {escaped_whole(control.reason)}"
    return {
        "uuid": _id("control", framework, control.id),
        "title": escaped(f"{named} {control.title}"),
        "description": f"{control.open_findings} open and {control.waived_findings} waived findings. {remarks}.",
        "props": list(_props({"framework": framework.value, "control": control.id, "state": control.state})),
        "target": {
            "type": "objective-id",
            "target-id": f"{_control_id(framework, control.id)}_obj",
            "status": {"state": state, "reason": reason, "remarks": remarks},
        },
        "related-observations": [
            {"observation-uuid": _id("rule", rule.environment, rule.rule_id)}
            for rule in data.rules
            if rule.rule_id in rules
        ],
    }


def _control_id(framework: Framework, control: str) -> str:
    """Return a control's id as an OSCAL token: ``ac-2.3`` as NIST's catalogue has it, others with their framework."""
    token = re.sub(r"[^\w.-]+", ".", control.lower()).strip(".")
    return token if framework is Framework.NIST_800_53 else f"{framework.slug}_{token}"


def _props(values: Mapping[str, str | None]) -> Iterator[dict[str, str]]:
    """Yield properties; OSCAL allows neither an empty value nor one with blanks at its ends or line breaks."""
    for name, value in values.items():
        text = clipped(visible(value or ""), _VALUE_LIMIT).strip()
        if text:
            yield {"name": name, "ns": _NAMESPACE, "value": text}
