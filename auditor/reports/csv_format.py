"""The report as CSV (RFC 4180), for spreadsheets: one table of findings, one of coverage."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO, Final

from auditor.model.finding import Finding
from auditor.model.sweep import RuleState
from auditor.model.waiver import Waiver
from auditor.outside_text import visible
from auditor.policy.wording import iso
from auditor.reports.base import EnvironmentPosture, Findings, ReportData
from auditor.reports.json_text import redacted_bytes, unredacted
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
    "outdated_tokens",
)
"""Columns of the coverage, in order; new ones are added at the end."""

_FORMULA: Final = re.compile(r"""(^|;)(?=[\s"'\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])""")
"""Where a spreadsheet may begin to read a formula: at a cell's start, or after a semicolon, which many locales take for
the border between cells; blanks and quotes before it do not protect. The last four signs are the full-width ones."""

_HARMLESS: Final = re.compile(r"(?:[0-9A-Za-z\[{(_/][ -:<-~]*(?:; ?[0-9A-Za-z\[{(_/][ -:<-~]*)*)?")
"""What needs no further look: visible ASCII in which no sign of a formula comes first or after a semicolon. Shapes of
tokens are cut off afterwards, from many records at once."""

_PLAIN: Final = re.compile(r"(?:[0-9A-Za-z\[{(_/][ !#-+\--:<-~]*(?:; ?[0-9A-Za-z\[{(_/][ !#-+\--:<-~]*)*)?")
"""What is harmless and has neither a quote nor a comma, which CSV puts in quotes."""

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
        out.write(as_csv([FINDING_COLUMNS]))
        async with aclosing(findings()) as batches:
            async for batch in batches:
                lines = [_record(finding, titles.get(finding.rule_id)) for finding in batch]
                out.write(redacted_bytes("".join(lines).encode()))


class CsvCoverage:
    """Coverage as CSV: one record an environment."""

    name = "csv-coverage"
    media_type = "text/csv"
    suffix = "coverage.csv"
    is_binary = False

    async def write(self, data: ReportData, _findings: Findings, out: BinaryIO) -> None:
        """Write the header and a record for each environment; the findings are not read."""
        out.write(as_csv([COVERAGE_COLUMNS]))
        out.write(as_csv(row(_coverage(posture, data), COVERAGE_COLUMNS) for posture in data.environments))


def as_csv(records: Iterable[Sequence[str]]) -> bytes:
    """Return records as lines of CSV; token shapes lose their secret part."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(records)
    return redacted_bytes(text.getvalue().encode())


def _record(finding: Finding, title: str | None) -> str:
    """Return a finding's line, in the order of ``FINDING_COLUMNS``.

    What ``csv.writer`` would write, at half the cost of it: a report has a million of them.
    """
    waiver = finding.waiver
    cells = (
        _often(finding.environment),
        finding.severity,
        finding.status,
        _often(finding.rule_id),
        _often(title or ""),
        _field(finding.label),
        _field(finding.token_name or ""),
        _often(finding.owner or ""),
        _field(finding.message),
        _field(" | ".join([f"{location.source}: {location.place}" for location in finding.locations])),
        "true" if finding.is_stored else "false",
        _instant(finding.opened_at),
        _instant(finding.last_seen_at),
        "" if finding.resolved_at is None else _instant(finding.resolved_at),
        finding.resolution or "",
        str(finding.reopenings),
        _quoted(_safe(unredacted(finding.evidence).decode())),
        _field(finding.key),
        ",,,,," if waiver is None else _waiver(waiver),
    )
    return f"{','.join(cells)}\r\n"


def _waiver(waiver: Waiver) -> str:
    said = (waiver.owner, waiver.approver, waiver.ticket, waiver.reason)
    return ",".join((_often(waiver.id), _instant(waiver.until), *map(_often, said)))


def _coverage(posture: EnvironmentPosture, data: ReportData) -> dict[str, Cell]:
    states = Counter(rule.state for rule in data.rules if rule.environment == posture.name)
    cells: dict[str, Cell] = {
        "environment": posture.name,
        "url": posture.url,
        "last_complete_at": posture.last_complete_at,
        "stored_tokens": posture.stored_tokens,
        "unknown_tokens": posture.unknown_tokens,
        "outdated_tokens": posture.outdated_tokens,
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
    if isinstance(value, str):
        return _safe(value)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _instant(at: datetime) -> str:
    return f"{iso(at if at.tzinfo is UTC else at.astimezone(UTC))[:19]}Z"


def _safe(text: str) -> str:
    return text if _HARMLESS.fullmatch(text) else visible(_FORMULA.sub(r"\1'", text))


def _field(text: str) -> str:
    """Return a cell as a line has it."""
    if _PLAIN.fullmatch(text):
        return text
    return _quoted(_safe(text))


def _quoted(text: str) -> str:
    """Return a safe cell in quotes where it needs them; no safe cell has a line break."""
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


_often: Final = lru_cache(maxsize=1024)(_field)
"""The same, for what many findings have in common."""
