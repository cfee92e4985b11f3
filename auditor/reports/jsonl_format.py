"""The findings as JSON Lines, for programs: one finding a line, with the members of ``findings`` in the JSON report."""

from contextlib import aclosing
from typing import BinaryIO

from auditor.reports.base import Findings, ReportData
from auditor.reports.json_text import encoded_lines


class JsonLines:
    """JSON Lines: every finding whole, on a line of its own, and nothing else."""

    name = "jsonl"
    media_type = "application/x-ndjson"
    suffix = "jsonl"
    is_binary = False

    async def write(self, _data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the findings as they come."""
        async with aclosing(findings()) as batches:
            async for batch in batches:
                out.write(encoded_lines(batch))
