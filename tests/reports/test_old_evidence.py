"""Reports on evidence that is too old to tell of the present: no figure, control or verdict takes it for a pass."""

import json
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import pytest

from auditor.reports.base import Format
from auditor.reports.csv_format import CsvCoverage
from auditor.reports.html import Html
from auditor.reports.json_format import Json
from auditor.reports.reading import snapshot
from auditor.reports.sarif import Sarif
from auditor.store.connection import Pool
from tests.store.history import HOUR, NOW, begin, enrolment, found

LATER = NOW + timedelta(days=60)


@pytest.fixture
async def swept_long_ago(database: Pool) -> Pool:
    async with database.acquire() as connection:
        sweep = await begin(connection)
        await sweep.record((enrolment("a"), found()))
        await sweep.finish()
    return database


async def made(pool: Pool, form: Format, as_of: datetime | None = None) -> str:
    out = BytesIO()
    async with snapshot(pool, now=LATER, resolved_days=30, as_of=as_of) as (data, findings):
        await form.write(data, findings, out)
    return out.getvalue().decode()


def states(document: dict[str, Any]) -> set[tuple[str, str]]:
    """The states of controls that a rule serves, with their reasons."""
    return {
        (control["state"], control["reason"])
        for framework in document["controls"]["frameworks"]
        for control in framework["controls"]
        if control["rules"] and control["state"] != "not assessed"
    }


async def test_figures_and_controls_and_verdicts_agree_that_it_is_unknown(swept_long_ago: Pool) -> None:
    document = json.loads(await made(swept_long_ago, Json()))
    (prod,) = document["environments"]
    assert (prod["stored_tokens"], prod["audited_tokens"], prod["unknown_tokens"], prod["outdated_tokens"]) == (
        1,
        0,
        1,
        1,
    )
    assert {verdict["verdict"] for verdict in document["verdicts"]} == {"unknown"}
    assert states(document) == {("unknown", "the last evidence on 1 of 1 token is older than 14 days")}


async def test_report_of_the_day_of_the_sweep_still_passes(swept_long_ago: Pool) -> None:
    document = json.loads(await made(swept_long_ago, Json(), as_of=NOW + HOUR))
    (prod,) = document["environments"]
    assert (prod["unknown_tokens"], prod["outdated_tokens"]) == (0, 0)
    assert "unknown" not in {state for state, _reason in states(document)}


async def test_formats_say_so(swept_long_ago: Pool) -> None:
    header, row = (await made(swept_long_ago, CsvCoverage())).splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["outdated_tokens"] == "1"
    (run,) = json.loads(await made(swept_long_ago, Sarif()))["runs"]
    (invocation,) = run["invocations"]
    assert [one["message"]["text"] for one in invocation["toolExecutionNotifications"]] == [
        "the last evidence is older than 14 days: 1"
    ]
    page = await made(swept_long_ago, Html())
    assert "The last evidence on 1 token is older than 14 days, which tells nothing of the present." in page
