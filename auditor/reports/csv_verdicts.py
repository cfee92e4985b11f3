"""Verdicts on revoking tokens as CSV, for spreadsheets; see ``csv_format`` for what holds of every table."""

from contextlib import aclosing
from datetime import timedelta
from typing import BinaryIO, Final

from auditor.policy.revocation import Judgement
from auditor.reports.base import Findings, ReportData
from auditor.reports.csv_format import Cell, as_csv, row

VERDICT_COLUMNS: Final = (
    "environment",
    "token",
    "token_name",
    "owner",
    "verdict",
    "confidence",
    "evidence",
    "limits",
    "safe_from",
    "risk_tier",
    "last_used_date",
    "uses_seen",
    "median_pause_days",
    "longest_pause_days",
    "networks",
    "successor",
    "evident_at",
)
"""Columns of the verdicts, in order; new ones are added at the end."""


class CsvVerdicts:
    """Verdicts as CSV: one record a stored token."""

    name = "csv-verdicts"
    media_type = "text/csv"
    suffix = "verdicts.csv"
    is_binary = False

    async def write(self, data: ReportData, _findings: Findings, out: BinaryIO) -> None:
        """Write the header and a record for each token, as they come; the findings are not read."""
        out.write(as_csv([VERDICT_COLUMNS]))
        async with aclosing(data.verdicts()) as batches:
            async for batch in batches:
                out.write(as_csv(row(_cells(judgement), VERDICT_COLUMNS) for judgement in batch))


def _cells(judgement: Judgement) -> dict[str, Cell]:
    cadence = judgement.cadence
    return {
        "environment": judgement.environment,
        "token": judgement.label,
        "token_name": judgement.token_name,
        "owner": judgement.owner,
        "verdict": judgement.verdict,
        "confidence": judgement.confidence,
        "evidence": " | ".join(judgement.evidence),
        "limits": " | ".join(judgement.limits),
        "safe_from": judgement.safe_from,
        "risk_tier": judgement.risk_tier,
        "last_used_date": judgement.last_used_date,
        "uses_seen": cadence.uses,
        "median_pause_days": _days(cadence.median_pause),
        "longest_pause_days": _days(cadence.longest_pause),
        "networks": " | ".join(cadence.networks),
        "successor": judgement.successor,
        "evident_at": judgement.evident_at,
    }


def _days(span: timedelta | None) -> float | None:
    return None if span is None else span / timedelta(days=1)
