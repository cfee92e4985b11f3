"""The findings in the AWS Security Finding Format: an array of findings, as ``BatchImportFindings`` takes them.

Members, lengths and values are those of the AWS Security Hub user guide and API reference, schema version 2018-10-08.
Security Hub takes 100 findings a request, in the account and region that the findings name.
"""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, BinaryIO, Final

from auditor.model.errors import ConfigError, Problem
from auditor.model.finding import Finding, Severity
from auditor.outside_text import clipped, visible
from auditor.policy.wording import iso
from auditor.reports.base import Aws, Findings, ReportData
from auditor.reports.json_text import encoded_lines
from auditor.reports.rule_views import RuleView, rule_views

_LABELS: Final = {
    Severity.INFO: "INFORMATIONAL",
    Severity.LOW: "LOW",
    Severity.MEDIUM: "MEDIUM",
    Severity.HIGH: "HIGH",
    Severity.CRITICAL: "CRITICAL",
}
_TYPE: Final = "Software and Configuration Checks/Industry and Regulatory Standards"
_PARTITIONS: Final = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
_REQUIREMENTS: Final = 32
"""How many related requirements a finding may have."""


class Asff:
    """ASFF: a finding for each finding; what is waived is suppressed, what is resolved is archived."""

    name = "asff"
    media_type = "application/json"
    suffix = "asff.json"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the array, one finding a line, as they come; raises ``ConfigError`` where no account is said."""
        if data.aws is None:
            raise ConfigError(
                Problem("asff", "findings belong to an AWS account and region; say --aws-account and --aws-region")
            )
        rules = {view.id: view for view in rule_views(data)}
        out.write(b"[")
        count = 0
        async with aclosing(findings()) as batches:
            async for batch in batches:
                said = [_finding(finding, rules.get(finding.rule_id), data.aws) for finding in batch]
                out.write(b",\n" if count else b"\n")
                out.write(b",\n".join(encoded_lines(said).splitlines()))
                count += len(batch)
        out.write(b"\n]\n")


def _finding(finding: Finding, rule: RuleView | None, aws: Aws) -> dict[str, Any]:
    is_resolved = finding.status == "resolved"
    title = rule.title if rule else finding.rule_id
    partition = next((name for start, name in _PARTITIONS.items() if aws.region.startswith(start)), "aws")
    said: dict[str, Any] = {
        "SchemaVersion": "2018-10-08",
        "Id": _text(f"auditor/{finding.key}", 512),
        "ProductArn": f"arn:{partition}:securityhub:{aws.region}:{aws.account}:product/{aws.account}/default",
        "ProductName": "auditor",
        "CompanyName": "auditor",
        "Region": aws.region,
        "GeneratorId": _text(finding.rule_id, 512),
        "AwsAccountId": aws.account,
        "Types": [_TYPE],
        "FirstObservedAt": iso(finding.opened_at),
        "LastObservedAt": iso(finding.last_seen_at),
        "CreatedAt": iso(finding.opened_at),
        "UpdatedAt": iso(finding.resolved_at or finding.last_seen_at),
        "Severity": {"Label": _LABELS[finding.severity], "Original": finding.severity},
        "Title": _text(f"{finding.rule_id} {title}", 256),
        "Description": _text(f"{finding.token_name or finding.label}: {finding.message}", 1024),
        "ProductFields": _fields(finding),
        "Resources": [_resource(finding, partition)],
        "Compliance": _compliance(finding, rule),
        "Workflow": {"Status": "RESOLVED" if is_resolved else "SUPPRESSED" if finding.waiver else "NEW"},
        "RecordState": "ARCHIVED" if is_resolved else "ACTIVE",
    }
    if rule is not None and rule.remediation:
        said["Remediation"] = {"Recommendation": {"Text": _text(rule.remediation, 512)}}
    if finding.waiver is not None:
        waiver = finding.waiver
        said["Note"] = {
            "Text": _text(f"Waived until {iso(waiver.until)} ({waiver.ticket}): {waiver.reason}", 512),
            "UpdatedBy": _text(waiver.approver, 512),
            "UpdatedAt": iso(waiver.since),
        }
    return said


def _resource(finding: Finding, partition: str) -> dict[str, Any]:
    details = {"environment": finding.environment, "name": finding.token_name, "owner": finding.owner}
    details["locations"] = " | ".join(f"{one.source}: {one.place}" for one in finding.locations)
    return {
        "Type": "Other",
        "Id": _text(f"{finding.environment}/{finding.label}", 512),
        "Partition": partition,
        "Details": {"Other": {name: _text(value, 1024) for name, value in details.items() if value}},
    }


def _compliance(finding: Finding, rule: RuleView | None) -> dict[str, Any]:
    requirements = [
        _text(f"{framework} {control.id}", 64)
        for framework, controls in (rule.controls if rule else ())
        for control in controls
    ]
    return {
        "Status": "PASSED" if finding.status == "resolved" else "FAILED",
        "SecurityControlId": _text(finding.rule_id, 512),
        "RelatedRequirements": requirements[:_REQUIREMENTS],
        "AssociatedStandards": [{"StandardsId": framework} for framework, _controls in (rule.controls if rule else ())],
    }


def _fields(finding: Finding) -> Mapping[str, str]:
    fields = {"auditor/key": finding.key, "auditor/reopenings": str(finding.reopenings)}
    fields["auditor/isStored"] = str(finding.is_stored).lower()
    if finding.waiver is not None:
        fields["auditor/waiver"] = finding.waiver.id
        fields["auditor/waivedUntil"] = iso(finding.waiver.until)
    if finding.resolution is not None:
        fields["auditor/resolution"] = finding.resolution
    return {name: _text(value, 2048) for name, value in fields.items()}


def _text(value: str, limit: int) -> str:
    """Return text of at least one and at most ``limit`` characters."""
    text = visible(value).strip()
    if len(text) > limit:
        text = clipped(text, limit - 30)
    return text or "-"
