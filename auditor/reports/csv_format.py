"""The report as CSV (RFC 4180), for spreadsheets: one table of findings, one of coverage."""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import BinaryIO, Final

from auditor.model.finding import Finding
from auditor.model.sweep import RuleState
from auditor.model.waiver import Waiver
from auditor.outside_text import visible
from auditor.reports.base import EnvironmentPosture, Findings, ReportData, as_text
from auditor.reports.sentences import WORST_FIRST

FINDING_COLUMNS: Final = (
    "environment",
    "severity",
    "status",
    "rule_id",
    "rule_title",
    "token",
    "token_name",
    "owner",
    "message",
    "locations",
    "is_stored",
    "opened_at",
    "last_seen_at",
    "resolved_at",
    "resolution",
    "reopenings",
    "evidence",
    "key",
    "waiver",
    "waived_until",
    "waiver_owner",
    "waiver_approver",
    "waiver_ticket",
    "waiver_reason",
)
"""Columns of the findings, in order; new ones are added at the end."""

COVERAGE_COLUMNS: Final = (
    "environment",
    "url",
    "last_sweep_id",
    "last_sweep_status",
    "last_sweep_started_at",
    "last_sweep_finished_at",
    "last_complete_at",
    "enrolled",
    "found",
    "missing",
    "refused",
    "failed",
    "coverage",
    "stored_tokens",
    "unknown_tokens",
    "reasons",
    "source_problems",
    "self_lookup",
    "policy_digest",
    "rules_assessed",
    "rules_not_assessed",
    "rules_disabled",
    *(f"open_{severity}" for severity in WORST_FIRST),
    "policy_name",
    "unknown_scopes",
    *(f"waived_{severity}" for severity in WORST_FIRST),
)
"""Columns of the coverage, in order; new ones are added at the end."""

_FORMULA: Final = re.compile(r"""(^|;)(?=[\s"'\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])""")
"""Where a spreadsheet may begin to read a formula: at a cell's start, or after a semicolon, which many locales take for
the border between cells; blanks and quotes before it do not protect. The last four signs are the full-width ones."""

Cell = str | int | float | datetime | None
"""What a cell can hold."""


class Csv:
    """Findings as CSV: one record a finding."""

    name = "csv"
    media_type = "text/csv"
    suffix = "csv"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the header and a record for each finding, as they come."""
        titles = {posture.rule_id: posture.title for posture in data.rules}
        with as_text(out) as text:
            table = csv.writer(text)
            table.writerow(FINDING_COLUMNS)
            async with aclosing(findings()) as batches:
                async for batch in batches:
                    table.writerows(row(_finding(finding, titles), FINDING_COLUMNS) for finding in batch)


class CsvCoverage:
    """Coverage as CSV: one record an environment."""

    name = "csv-coverage"
    media_type = "text/csv"
    suffix = "coverage.csv"
    is_binary = False

    async def write(self, data: ReportData, _findings: Findings, out: BinaryIO) -> None:
        """Write the header and a record for each environment; the findings are not read."""
        with as_text(out) as text:
            table = csv.writer(text)
            table.writerow(COVERAGE_COLUMNS)
            table.writerows(row(_coverage(posture, data), COVERAGE_COLUMNS) for posture in data.environments)


def _finding(finding: Finding, titles: Mapping[str, str]) -> dict[str, Cell]:
    return {
        "environment": finding.environment,
        "severity": finding.severity,
        "status": finding.status,
        "rule_id": finding.rule_id,
        "rule_title": titles.get(finding.rule_id),
        "token": finding.label,
        "token_name": finding.token_name,
        "owner": finding.owner,
        "message": finding.message,
        "locations": " | ".join(str(location) for location in finding.locations),
        "is_stored": finding.is_stored,
        "opened_at": finding.opened_at,
        "last_seen_at": finding.last_seen_at,
        "resolved_at": finding.resolved_at,
        "resolution": finding.resolution,
        "reopenings": finding.reopenings,
        "evidence": json.dumps(finding.evidence, ensure_ascii=False),
        "key": finding.key,
        **_waiver(finding.waiver),
    }


def _waiver(waiver: Waiver | None) -> dict[str, Cell]:
    if waiver is None:
        return {}
    return {
        "waiver": waiver.id,
        "waived_until": waiver.until,
        "waiver_owner": waiver.owner,
        "waiver_approver": waiver.approver,
        "waiver_ticket": waiver.ticket,
        "waiver_reason": waiver.reason,
    }


def _coverage(posture: EnvironmentPosture, data: ReportData) -> dict[str, Cell]:
    states = Counter(rule.state for rule in data.rules if rule.environment == posture.name)
    cells: dict[str, Cell] = {
        "environment": posture.name,
        "url": posture.url,
        "last_complete_at": posture.last_complete_at,
        "stored_tokens": posture.stored_tokens,
        "unknown_tokens": posture.unknown_tokens,
        "policy_name": posture.policy_name,
        "unknown_scopes": " | ".join(f"{scope}: {count}" for scope, count in posture.unknown_scopes.items()),
        "rules_assessed": states[RuleState.ASSESSED],
        "rules_not_assessed": states[RuleState.NOT_ASSESSED],
        "rules_disabled": states[RuleState.DISABLED],
    }
    cells |= {f"open_{severity}": posture.open_by_severity.get(severity, 0) for severity in WORST_FIRST}
    cells |= {f"waived_{severity}": posture.waived_by_severity.get(severity, 0) for severity in WORST_FIRST}
    sweep = posture.last_sweep
    if sweep is None:
        return cells | {"last_sweep_status": "never swept"}
    return cells | {
        "last_sweep_id": sweep.id,
        "last_sweep_status": sweep.status,
        "last_sweep_started_at": sweep.started_at,
        "last_sweep_finished_at": sweep.finished_at,
        "enrolled": sweep.enrolled,
        "found": sweep.found,
        "missing": sweep.missing,
        "refused": sweep.refused,
        "failed": sweep.failed,
        "coverage": sweep.coverage,
        "reasons": " | ".join(f"{reason}: {count}" for reason, count in sweep.reasons.items()),
        "source_problems": " | ".join(f"{source}: {problem}" for source, problem in sweep.source_problems.items()),
        "self_lookup": sweep.self_lookup,
        "policy_digest": sweep.policy_digest,
    }


def row(cells: Mapping[str, Cell], columns: Sequence[str]) -> list[str]:
    """Return a record: each column's cell as text that no spreadsheet runs, empty where there is none."""
    return [_text(cells.get(column)) for column in columns]


def _text(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return visible(_FORMULA.sub(r"\1'", value))
