"""The workbook, read by openpyxl: every cell is what it was, and none is a formula or a link."""

import io
import zipfile
from datetime import datetime
from typing import Any

from auditor.outside_text import visible
from auditor.reports.xlsx import Xlsx
from tests.reports.report_samples import (
    HOSTILE,
    WAIVER,
    environment,
    estate,
    estate_findings,
    every_kind,
    finding,
    report,
    written_bytes,
)


def workbook(content: bytes) -> Any:
    from openpyxl import load_workbook

    return load_workbook(io.BytesIO(content))


def table(book: Any, name: str) -> list[dict[str, Any]]:
    """Return a sheet's rows by the titles of its columns."""
    header, *rows = book[name].iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


async def book(*findings: Any, form: Xlsx | None = None) -> Any:
    content = await written_bytes(form or Xlsx(), report(environment(), findings=findings), findings)
    return workbook(content)


async def test_workbook_has_a_sheet_for_each_table() -> None:
    content = await written_bytes(Xlsx(), estate(), estate_findings())
    read = workbook(content)
    assert read.sheetnames == ["Summary", "Environments", "Controls", "Rules", "Findings"]
    assert [row["Environment"] for row in table(read, "Environments")] == [one.name for one in estate().environments]
    assert table(read, "Environments")[3]["Last sweep"] == "never swept"
    assert len(table(read, "Findings")) == len(estate_findings())
    assert len(table(read, "Rules")) == len(estate().rules)
    states = {(row["Framework"], row["Control"]): row["State"] for row in table(read, "Controls")}
    assert states["OWASP NHI Top 10 2025", "NHI1:2025"] == "fail"
    assert states["OWASP NHI Top 10 2025", "NHI3:2025"] == "not assessed"
    assert any("judgement" in str(row[0]) for row in read["Summary"].iter_rows(values_only=True))


async def test_finding_reads_back() -> None:
    (row,) = table(await book(finding(waiver=WAIVER)), "Findings")
    assert row["Opened (UTC)"] == datetime(2026, 2, 20, 6, 30)  # noqa: DTZ001 - cells know no zones
    assert (row["Severity"], row["Rule"], row["Token"], row["Reopenings"]) == ("high", "DT-EXP-01", finding().label, 0)
    assert (row["Locations"], row["Stored"], row["Resolved (UTC)"]) == ("vault: entry service-0", "yes", None)
    assert (row["Waiver"], row["Approver"], row["Key"]) == ("sec-1042", "jane.doe@example.com", finding().key)


async def test_findings_of_every_kind_are_rows() -> None:
    rows = table(await book(*every_kind()), "Findings")
    assert [row["Key"] for row in rows] == [one.key for one in every_kind()]


async def test_hostile_values_are_text() -> None:
    read = await book(*every_kind())
    for sheet in read.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type in {"s", "inlineStr", "n", "d"}
                assert cell.hyperlink is None
    for value, row in zip(HOSTILE, table(read, "Findings")[4:], strict=False):
        assert (row["Name"] or "") == (visible(value)[:32_767])
    formulas = [
        cell for row in read["Findings"].iter_rows() for cell in row if str(cell.value).startswith(("=", "+", "@"))
    ]
    assert formulas
    assert all(cell.quotePrefix for cell in formulas)


async def test_text_that_looks_like_an_escape_stays_as_it_is() -> None:
    from openpyxl.utils.escape import unescape

    (row,) = table(await book(finding(token_name="_x003D_1+1")), "Findings")
    assert unescape(row["Name"]) == "_x003D_1+1"  # as a spreadsheet reads it


async def test_value_longer_than_a_cell_is_cut_and_says_so() -> None:
    (row,) = table(await book(finding(message="m" * 40_000)), "Findings")
    assert len(row["What"]) <= 32_767
    assert row["What"].endswith("… (40,000 characters)")


async def test_findings_beyond_a_sheet_go_to_further_ones() -> None:
    read = await book(*[finding(number) for number in range(5)], form=Xlsx(max_rows=2))
    assert read.sheetnames[4:] == ["Findings", "Findings 2", "Findings 3"]
    assert [len(table(read, name)) for name in read.sheetnames[4:]] == [2, 2, 1]
    assert [read[name].auto_filter.ref for name in read.sheetnames[4:]] == ["A1:X3", "A1:X3", "A1:X2"]


async def test_no_part_of_the_workbook_is_active() -> None:
    content = await written_bytes(Xlsx(), report(environment(), findings=every_kind()), every_kind())
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        assert parts.testzip() is None
        for name in parts.namelist():
            assert not name.endswith((".bin", ".vml"))
            assert b"<f>" not in parts.read(name)
            assert b'TargetMode="External"' not in parts.read(name)
