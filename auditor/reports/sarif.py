"""The open findings as SARIF 2.1.0, for code scanning and for tools that gather findings of many scanners.

Members are those of the OASIS standard (sarif-schema-2.1.0). A token has no line in a file, so places are logical
locations. Resolved findings are left out: a result that is gone is one that the log no longer has.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, Final

from auditor.model.finding import Finding, Severity
from auditor.model.sweep import SweepStatus
from auditor.outside_text import visible
from auditor.policy.revocation import TOO_OLD
from auditor.policy.wording import iso
from auditor.reports.base import EnvironmentPosture, Findings, ReportData
from auditor.reports.controls import JUDGEMENT, assessments
from auditor.reports.json_text import encoded, encoded_lines
from auditor.reports.rule_views import RuleView, rule_views

_LEVELS: Final = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SCORES: Final = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "2.5",
    Severity.INFO: "0.0",
}
"""``security-severity`` as code scanning reads it: over 9.0 critical, from 7.0 high, from 4.0 medium."""


class Sarif:
    """SARIF: a result for each open finding, suppressed where a waiver covers it."""

    name = "sarif"
    media_type = "application/sarif+json"
    suffix = "sarif"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the log, its results as they come."""
        rules = rule_views(data)
        places = {rule.id: place for place, rule in enumerate(rules)}
        out.write(b'{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"tool":')
        out.write(encoded({"driver": _driver(data, rules)}))
        out.write(b',"taxonomies":' + encoded(_taxonomies(data)))
        out.write(b',"invocations":' + encoded([_invocation(one) for one in data.environments]))
        out.write(b',"columnKind":"unicodeCodePoints","results":[')
        count = 0
        async with aclosing(findings()) as batches:
            async for batch in batches:
                results = [_result(finding, places) for finding in batch if finding.status == "open"]
                if results:
                    out.write(b",\n" if count else b"\n")
                    out.write(b",\n".join(encoded_lines(results).splitlines()))
                    count += len(results)
        out.write(b"\n]}]}\n")


def _driver(data: ReportData, rules: Sequence[RuleView]) -> dict[str, object]:
    return {
        "name": "auditor",
        "version": data.version,
        "rules": [_rule(rule) for rule in rules],
        "supportedTaxonomies": [{"name": framework.value} for framework in data.frameworks],
    }


def _rule(rule: RuleView) -> dict[str, object]:
    said: dict[str, object] = {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", rule.title)),
        "shortDescription": {"text": rule.title},
    }
    if not rule.is_installed:
        return said
    severity = next((one for one in Severity if rule.severity.startswith(one)), Severity.MEDIUM)
    return said | {
        "fullDescription": {"text": f"{rule.rationale} Tested: {rule.test}."},
        "help": {"text": rule.remediation},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {"security-severity": _SCORES[severity], "tags": ["security", "credentials"]},
        "relationships": [
            {"target": {"id": control.id, "toolComponent": {"name": framework}}, "kinds": ["relevant"]}
            for framework, controls in rule.controls
            for control in controls
        ],
    }


def _taxonomies(data: ReportData) -> list[dict[str, object]]:
    """Return the controls that rules serve, by framework."""
    return [
        {
            "name": one.framework.value,
            "shortDescription": {"text": JUDGEMENT},
            "isComprehensive": False,
            "taxa": [
                {"id": control.id, "shortDescription": {"text": control.title or control.id}} for control in one.served
            ],
        }
        for one in assessments(data)
    ]


def _invocation(environment: EnvironmentPosture) -> dict[str, object]:
    """Return how the last sweep of an environment ended; what it could not look up is a notification."""
    sweep = environment.last_sweep
    said: dict[str, object] = {
        "executionSuccessful": sweep is not None and sweep.status is SweepStatus.COMPLETE,
        "properties": {
            "environment": environment.name,
            "storedTokens": environment.stored_tokens,
            "unknownTokens": environment.unknown_tokens,
        },
    }
    if sweep is None:
        return said | {"toolExecutionNotifications": [_notification("never swept")]}
    gaps = [f"{reason}: {count}" for reason, count in sweep.reasons.items()]
    gaps += [f"{source}: {problem}" for source, problem in sweep.source_problems.items()]
    if environment.outdated_tokens:
        gaps.append(f"the last evidence is {TOO_OLD}: {environment.outdated_tokens}")
    said["startTimeUtc"] = iso(sweep.started_at)
    if sweep.finished_at is not None:
        said["endTimeUtc"] = iso(sweep.finished_at)
    return said | {"toolExecutionNotifications": [_notification(gap) for gap in gaps]}


def _notification(text: str) -> dict[str, object]:
    return {"level": "warning", "message": {"text": visible(text)}}


def _result(finding: Finding, places: Mapping[str, int]) -> dict[str, Any]:
    waiver = finding.waiver
    result: dict[str, Any] = {
        "ruleId": finding.rule_id,
        "kind": "fail",
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [
            {
                "logicalLocations": [
                    {
                        "name": visible(finding.token_name or finding.label),
                        "fullyQualifiedName": f"{finding.environment}/{finding.label}",
                        "kind": "resource",
                    }
                ]
            }
        ],
        "partialFingerprints": {"findingKey/v1": finding.key},
        "suppressions": []
        if waiver is None
        else [{"kind": "external", "justification": visible(waiver.reason), "properties": waiver}],
        "provenance": {
            "firstDetectionTimeUtc": iso(finding.opened_at),
            "lastDetectionTimeUtc": iso(finding.last_seen_at),
        },
        "properties": {
            "severity": finding.severity,
            "environment": finding.environment,
            "tokenName": finding.token_name,
            "owner": finding.owner,
            "evidence": finding.evidence,
            "locations": [f"{one.source}: {one.place}" for one in finding.locations],
            "reopenings": finding.reopenings,
        },
    }
    if finding.rule_id in places:
        result["ruleIndex"] = places[finding.rule_id]
    return result


def _message(finding: Finding) -> str:
    """Return a finding in words; brackets and braces, which SARIF takes for links and placeholders, are escaped."""
    words = visible(f"{finding.token_name or finding.label} ({finding.environment}): {finding.message}")
    words = re.sub(r"([\\[\]])", r"\\\1", words)
    return words.replace("{", "{{").replace("}", "}}")
