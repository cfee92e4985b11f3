"""Reports hold every configured environment: one that was never swept is unknown, and never passes."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from auditor.policy.assessment import ControlState
from auditor.reports.base import Format
from auditor.reports.controls import assessments
from auditor.reports.csv_format import CsvCoverage
from auditor.reports.json_format import Json
from auditor.reports.reading import snapshot
from auditor.reports.sentences import headline, summary
from auditor.store.connection import Pool
from tests.store.history import HOUR, NOW, begin, enrolment, found

URLS = {"test": "https://test.example.com", "prod": "https://prod.example.com"}


async def made(database: Pool, form: Format, now: datetime = NOW + HOUR, environments: Sequence[str] = ()) -> str:
    out = io.BytesIO()
    async with snapshot(database, now=now, resolved_days=30, configured=URLS, environments=environments) as (
        data,
        findings,
    ):
        await form.write(data, findings, out)
    return out.getvalue().decode()


async def prod_is_swept(database: Pool) -> None:
    async with database.acquire() as connection:
        sweep = await begin(connection)
        await sweep.record((enrolment("a"), found()))
        await sweep.finish()


async def test_environment_that_was_never_swept_has_its_rows(database: Pool) -> None:
    await prod_is_swept(database)
    document = json.loads(await made(database, Json()))
    assert [(one["name"], one["url"], one["last_sweep"] is None) for one in document["environments"]] == [
        ("prod", "https://prod.example.com", False),
        ("test", "https://test.example.com", True),
    ]
    rows = list(csv.DictReader(io.StringIO(await made(database, CsvCoverage()))))
    assert [(row["environment"], row["last_sweep_status"]) for row in rows] == [
        ("prod", "complete"),
        ("test", "never swept"),
    ]
    (alone,) = json.loads(await made(database, Json(), environments=["test"]))["environments"]
    assert alone["name"] == "test"


async def test_control_does_not_pass_where_an_environment_was_never_swept(database: Pool) -> None:
    await prod_is_swept(database)
    async with snapshot(database, now=NOW + HOUR, resolved_days=30, configured=URLS) as (data, _findings):
        judged = [control for framework in assessments(data) for control in framework.served]
    assert {control.state for control in judged} == {ControlState.UNKNOWN}
    assert {control.environments[1].reason for control in judged} == {"never swept"}


async def test_installation_without_a_sweep_names_what_is_configured(database: Pool) -> None:
    async with snapshot(database, now=NOW, resolved_days=30, configured=URLS) as (data, _findings):
        assert headline(data) == "Nothing has been audited yet."
        assert "“prod” and “test” have never been swept: nothing is known of the tokens there." in summary(data)


async def test_first_sweep_under_way_is_running(database: Pool) -> None:
    async with database.acquire() as connection:
        await begin(connection)
    async with snapshot(database, now=NOW + HOUR, resolved_days=30, configured={}) as (data, _findings):
        assert "The first sweep of “prod” is still under way." in summary(data)
    (prod, _test) = json.loads(await made(database, Json()))["environments"]
    assert (prod["last_sweep"]["status"], prod["last_sweep"]["finished_at"]) == ("running", None)


async def test_report_of_an_earlier_instant_holds_what_had_been_swept_by_then(database: Pool) -> None:
    await prod_is_swept(database)
    now = NOW + timedelta(days=2)
    async with snapshot(database, now=now, resolved_days=30, configured=URLS, as_of=NOW + HOUR) as (data, _findings):
        assert [one.name for one in data.environments] == ["prod"]
    async with snapshot(database, now=now, resolved_days=30, configured=URLS, as_of=NOW - HOUR) as (data, _findings):
        assert headline(data) == "Nothing had been audited by 2026-11-24 11:00 UTC."
