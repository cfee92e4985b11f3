"""The CSV tables: RFC 4180, fixed columns, and no cell that a spreadsheet would run."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.model.finding import Severity
from auditor.model.token import Location
from auditor.policy.registry import rules
from auditor.reports.csv_format import COVERAGE_COLUMNS, FINDING_COLUMNS, Csv, CsvCoverage
from tests.reports.report_samples import (
    WAIVER,
    environment,
    estate,
    estate_findings,
    every_kind,
    finding,
    report,
    sweep,
    written,
)

NO_WAIVER = ("waiver", "waived_until", "waiver_owner", "waiver_approver", "waiver_ticket", "waiver_reason")


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


async def name_as_written(name: str) -> str:
    return records(await written(Csv(), report(), [finding(token_name=name)]))[0]["token_name"]


async def test_header_is_fixed_and_lines_end_as_rfc_4180_says() -> None:
    text = await written(Csv(), estate(), estate_findings())

    assert text.startswith(
        "environment,severity,status,rule_id,rule_title,token,token_name,owner,message,locations,is_stored,opened_at,"
        "last_seen_at,resolved_at,resolution,reopenings,evidence,key,waiver,waived_until,waiver_owner,waiver_approver,"
        "waiver_ticket,waiver_reason\r\n"
    )
    assert text.count("\r\n") == text.count("\n") == len(estate_findings()) + 1


async def test_report_without_findings_is_a_header() -> None:
    assert await written(Csv(), report(environment())) == ",".join(FINDING_COLUMNS) + "\r\n"


async def test_finding_reads_back() -> None:
    original = next(one for one in estate_findings() if one.token_name == "grafana-bridge")
    row = next(one for one in records(await written(Csv(), estate(), estate_findings())) if one["key"] == original.key)

    assert row == {
        "environment": "production",
        "severity": "high",
        "status": "open",
        "rule_id": "DT-SCP-03",
        "rule_title": "Toxic scope combination",
        "token": original.label,
        "token_name": "grafana-bridge",
        "owner": "observability",
        "message": "joins any ingest scope with settings.write",
        "locations": "dotenv: /srv/grafana/.env:14",
        "is_stored": "true",
        "opened_at": "2025-10-23T05:53:00Z",
        "last_seen_at": "2026-03-02T05:30:00Z",
        "resolved_at": "",
        "resolution": "",
        "reopenings": "1",
        "evidence": json.dumps(original.evidence, separators=(",", ":")),
        "key": original.key,
        **dict.fromkeys(NO_WAIVER, ""),
    }


async def test_waived_finding_says_by_whom_and_until_when() -> None:
    (row,) = records(await written(Csv(), estate(), [finding(waiver=WAIVER)]))
    assert row["status"] == "open"
    assert {name: row[name] for name in NO_WAIVER} == {
        "waiver": "sec-1042",
        "waived_until": "2026-04-21T06:30:00Z",
        "waiver_owner": "platform-automation",
        "waiver_approver": "jane.doe@example.com",
        "waiver_ticket": "SEC-1042",
        "waiver_reason": "moves to OAuth clients in April",
    }


async def test_coverage_counts_waived_findings_apart() -> None:
    here = environment(open_by_severity={Severity.HIGH: 1}, waived_by_severity={Severity.HIGH: 2})
    (row,) = records(await written(CsvCoverage(), report(here)))
    assert (row["open_high"], row["waived_high"], row["waived_low"]) == ("1", "2", "0")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'␉=1"),
        ("\rx", "'␍x"),
        ("\nx", "'␊x"),
        ("  =1", "'  =1"),
        ('"=1', "'\"=1"),
        ("' \"=1", "'' \"=1"),
        ("\ufeff=1", "'[U+FEFF]=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a;=1", "a;'=1"),
        ("a; -1;b", "a;' -1;b"),
        ("a=1, b-2", "a=1, b-2"),
        ("plain", "plain"),
        ("", ""),
    ],
)
async def test_formula_is_defused_by_an_apostrophe(name: str, expected: str) -> None:
    assert await name_as_written(name) == expected


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("=+-@;,\"' \t\r\n\ufeff"), st.characters(exclude_categories=()))))
async def test_no_cell_begins_like_a_formula_and_every_record_is_one_line(text: str) -> None:
    odd = finding(
        token_name=text,
        owner=text,
        message=text,
        environment=text,
        evidence={text: text},
        locations=(Location(text, text),),
    )
    written_text = await written(Csv(), report(), [odd])

    written_text.encode()
    assert written_text.count("\n") == 2
    (row,) = records(written_text)
    for cell in row.values():
        for part in cell.split(";"):
            assert not part.lstrip(' "').startswith(("=", "+", "-", "@"))


async def test_lines_are_those_of_the_library_s_own_writer() -> None:
    text = await written(Csv(), report(environment()), every_kind())
    out = io.StringIO(newline="")
    csv.writer(out).writerows(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert out.getvalue() == text


async def test_pandas_reads_findings_of_every_kind() -> None:
    import pandas

    text = await written(Csv(), report(environment()), every_kind())
    frame = pandas.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert list(frame.columns) == list(FINDING_COLUMNS)
    assert frame.to_dict("records") == records(text)
    assert len(frame) == len(every_kind())
    typed = pandas.read_csv(io.StringIO(text), parse_dates=["opened_at", "last_seen_at"])
    assert str(typed["opened_at"].dt.tz) == "UTC"
    assert typed["is_stored"].dtype == bool


async def test_coverage_has_a_row_for_each_environment() -> None:
    text = await written(CsvCoverage(), estate(), estate_findings())
    production, staging, _lab, acquired = records(text)

    assert text.startswith(",".join(COVERAGE_COLUMNS) + "\r\n")
    assert staging["enrolled"] == "58"
    assert staging["coverage"] == "0.862069"
    assert staging["unknown_tokens"] == "8"
    assert staging["reasons"] == "429 until the retries ended: 5 | no answer within 30 s: 3"
    assert staging["source_problems"] == "ci: the command printed 3 of 5 lines and ended with exit code 1"
    assert staging["rules_assessed"] == str(len(rules()) - 2)
    assert (staging["rules_not_assessed"], staging["rules_disabled"]) == ("1", "1")
    assert (production["open_critical"], production["self_lookup"], staging["self_lookup"]) == ("2", "true", "false")
    assert (acquired["last_sweep_status"], acquired["enrolled"], acquired["coverage"]) == ("never swept", "", "")


async def test_whole_coverage_is_one_and_nothing_enrolled_has_none() -> None:
    nothing = environment("lab", last_sweep=sweep("lab", enrolled=0, found=0), stored_tokens=0)

    whole, empty = records(await written(CsvCoverage(), report(environment(), nothing)))

    assert (whole["enrolled"], whole["coverage"]) == ("10", "1")
    assert (empty["enrolled"], empty["coverage"]) == ("0", "")
