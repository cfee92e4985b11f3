"""The report as a workbook, for people who sort and filter: summary, environments, controls, rules and findings.

Text is written as text and never as a formula, a link or a number, whatever it looks like; cells that begin like a
formula also keep the mark (``quotePrefix``) by which a spreadsheet knows them for text once they are edited.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final

from auditor.model.finding import Finding
from auditor.outside_text import clipped, visible
from auditor.reports import sentences
from auditor.reports.base import EnvironmentPosture, Findings, ReportData
from auditor.reports.controls import JUDGEMENT, assessments
from auditor.reports.json_text import encoded

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.worksheet import Worksheet

MAX_ROWS: Final = 1_048_575
"""Findings that one sheet holds beside its header; more go to further sheets."""

_CELL_LIMIT: Final = 32_767
"""Characters of a cell, as spreadsheets limit them."""

_FINDINGS: Final = (
    ("Environment", 16),
    ("Severity", 10),
    ("Status", 10),
    ("Rule", 12),
    ("Rule title", 28),
    ("Token", 34),
    ("Name", 28),
    ("Owner", 24),
    ("What", 60),
    ("Locations", 40),
    ("Stored", 8),
    ("Opened (UTC)", 17),
    ("Last seen (UTC)", 17),
    ("Resolved (UTC)", 17),
    ("Resolution", 12),
    ("Reopenings", 11),
    ("Waiver", 16),
    ("Waived until (UTC)", 17),
    ("Waiver owner", 20),
    ("Approver", 20),
    ("Ticket", 14),
    ("Reason", 40),
    ("Evidence", 50),
    ("Key", 60),
)

Cell = str | int | datetime | None


class Xlsx:
    """XLSX: one workbook; findings beyond a sheet's rows go to further sheets."""

    name = "xlsx"
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    suffix = "xlsx"
    is_binary = True

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the workbook: rows go to temporary files as they come, and are packed at the end."""
        from xlsxwriter import Workbook
        from xlsxwriter.exceptions import FileCreateError

        with tempfile.TemporaryDirectory(prefix="auditor-xlsx-") as directory:
            book = Workbook(out, {"constant_memory": True, "tmpdir": directory})
            book.use_zip64()
            made_at = data.made_at.astimezone(UTC).replace(tzinfo=None)
            book.set_properties({"title": "Token audit report", "created": made_at})
            await self._fill(_Sheets(book), data, findings)
            try:
                await asyncio.to_thread(book.close)  # packing many findings takes long
            except FileCreateError as error:
                raise error.args[0] from error  # the OSError that it was made of

    async def _fill(self, sheets: "_Sheets", data: ReportData, findings: Findings) -> None:
        _summary(sheets, data)
        sheets.table("Environments", _ENVIRONMENTS, map(_environment, data.environments))
        sheets.table("Controls", _CONTROLS, _controls(data))
        sheets.table("Rules", _RULES, _rules(data))
        titles = {posture.rule_id: posture.title for posture in data.rules}
        number = 1
        sheet = sheets.begin("Findings", _FINDINGS)
        async with aclosing(findings()) as batches:
            async for batch in batches:
                for finding in batch:
                    if sheet.rows == self._max_rows:
                        sheet.end()
                        number += 1
                        sheet = sheets.begin(f"Findings {number}", _FINDINGS)
                    sheet.add(_finding(finding, titles))
        sheet.end()


class _Sheet:
    """One table: a header that stays in sight, filters, and rows that are written from the top down."""

    def __init__(self, sheet: "Worksheet", columns: Sequence[tuple[str, int]], styles: "_Sheets") -> None:
        self._sheet = sheet
        self._styles = styles
        self._columns = columns
        self.rows = 0
        sheet.freeze_panes(1, 0)
        for place, (_title, width) in enumerate(columns):
            sheet.set_column(place, place, width)
        for place, (title, _width) in enumerate(columns):
            sheet.write_string(0, place, title, styles.bold)

    def add(self, cells: Sequence[Cell]) -> None:
        """Write the next row."""
        self.rows += 1
        for place, value in enumerate(cells):
            if isinstance(value, str):
                self._styles.text(self._sheet, self.rows, place, value)
            elif isinstance(value, datetime):
                at = value.astimezone(UTC).replace(tzinfo=None)
                self._sheet.write_datetime(self.rows, place, at, self._styles.instant)
            elif value is not None:
                self._sheet.write_number(self.rows, place, value)

    def end(self) -> None:
        """Offer filters over all rows."""
        self._sheet.autofilter(0, 0, self.rows, len(self._columns) - 1)


class _Sheets:
    """A workbook's sheets and how their cells look."""

    def __init__(self, book: "Workbook") -> None:
        self._book = book
        self.bold = book.add_format({"bold": True})
        self.instant = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        self._quoted = book.add_format({"quote_prefix": True})

    def begin(self, name: str, columns: Sequence[tuple[str, int]]) -> _Sheet:
        """Begin a table on a sheet of its own."""
        return _Sheet(self._book.add_worksheet(name), columns, self)

    def table(self, name: str, columns: Sequence[tuple[str, int]], rows: Iterator[Sequence[Cell]]) -> None:
        """Write a whole table on a sheet of its own."""
        sheet = self.begin(name, columns)
        for row in rows:
            sheet.add(row)
        sheet.end()

    def plain(self, name: str, lines: Sequence[tuple[str, bool]]) -> None:
        """Write lines on a sheet of its own, each bold or not."""
        sheet = self._book.add_worksheet(name)
        sheet.set_column(0, 0, 120)
        for place, (line, is_bold) in enumerate(lines):
            sheet.write_string(place, 0, _shown(line), self.bold if is_bold else None)

    def text(self, sheet: "Worksheet", row: int, column: int, value: str) -> None:
        """Write text, marked as such where it begins like a formula."""
        shown = _shown(value)
        sheet.write_string(row, column, shown, self._quoted if shown.lstrip()[:1] in _FORMULA_SIGNS else None)


_FORMULA_SIGNS: Final = frozenset("=+-@'")


def _shown(value: str) -> str:
    text = visible(value)
    return text if len(text) <= _CELL_LIMIT else clipped(text, _CELL_LIMIT - 40)


def _summary(sheets: _Sheets, data: ReportData) -> None:
    made = f"Made {_minute(data.made_at)} by auditor {data.version}"
    if data.as_of is not None:
        made = f"As of {_minute(data.as_of)}. {made}"
    policy = f"; policy {data.policy_name} (SHA-256 {data.policy_digest})" if data.policy_name else ""
    lines = [("Token audit report", True), (f"{made}{policy}.", False), (sentences.headline(data), True)]
    lines += [(sentence, False) for sentence in sentences.summary(data)]
    sheets.plain("Summary", [*lines, (JUDGEMENT, False)])


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_ENVIRONMENTS: Final = (
    ("Environment", 20),
    ("URL", 40),
    ("Last sweep", 12),
    ("Ended (UTC)", 17),
    ("Last complete (UTC)", 17),
    ("Stored tokens", 13),
    ("Unknown tokens", 14),
    *((f"Open {severity}", 13) for severity in sentences.WORST_FIRST),
    *((f"Waived {severity}", 15) for severity in sentences.WORST_FIRST),
    ("Policy", 20),
)


def _environment(environment: EnvironmentPosture) -> Sequence[Cell]:
    sweep = environment.last_sweep
    return (
        environment.name,
        environment.url,
        "never swept" if sweep is None else sweep.status,
        None if sweep is None else sweep.finished_at,
        environment.last_complete_at,
        environment.stored_tokens,
        environment.unknown_tokens,
        *(environment.open_by_severity.get(severity, 0) for severity in sentences.WORST_FIRST),
        *(environment.waived_by_severity.get(severity, 0) for severity in sentences.WORST_FIRST),
        environment.policy_name,
    )


_CONTROLS: Final = (
    ("Framework", 24),
    ("Control", 14),
    ("Title", 60),
    ("State", 20),
    ("Why", 60),
    ("Rules", 40),
    ("Open", 8),
    ("Waived", 8),
)


def _controls(data: ReportData) -> Iterator[Sequence[Cell]]:
    for framework in assessments(data):
        for control in framework.controls:
            yield (
                framework.framework.value,
                control.id,
                control.title,
                control.state,
                control.reason,
                ", ".join(control.rules),
                control.open_findings,
                control.waived_findings,
            )


_RULES: Final = (
    ("Environment", 20),
    ("Rule", 14),
    ("Title", 40),
    ("State", 14),
    ("Why", 60),
    ("Open", 8),
    ("Waived", 8),
)


def _rules(data: ReportData) -> Iterator[Sequence[Cell]]:
    for rule in data.rules:
        waived = sum(rule.waived_by_severity.values())
        yield rule.environment, rule.rule_id, rule.title, rule.state, rule.reason, rule.open_findings, waived


def _finding(finding: Finding, titles: dict[str, str]) -> Sequence[Cell]:
    waiver = finding.waiver
    return (
        finding.environment,
        finding.severity,
        finding.status,
        finding.rule_id,
        titles.get(finding.rule_id),
        finding.label,
        finding.token_name,
        finding.owner,
        finding.message,
        " | ".join(str(location) for location in finding.locations),
        "yes" if finding.is_stored else "no",
        finding.opened_at,
        finding.last_seen_at,
        finding.resolved_at,
        finding.resolution,
        finding.reopenings,
        *(
            (None,) * 6
            if waiver is None
            else (waiver.id, waiver.until, waiver.owner, waiver.approver, waiver.ticket, waiver.reason)
        ),
        encoded(finding.evidence).decode(),
        finding.key,
    )
