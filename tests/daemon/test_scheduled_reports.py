"""Scheduled reports: each slot once, kept and counted, handed over, and what becomes of those that fail."""

import asyncio
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from pgqueuer import RetryRequested
from pgqueuer.models import Job

from auditor.config.load import Config, load
from auditor.config.routing import routing_of
from auditor.config.scheduled_reports import ReportSettings, prepare
from auditor.daemon.rendering import Order, written
from auditor.daemon.reports import TRIES, Reporter, ReportJob, _clear
from auditor.model.errors import ReportFailed
from auditor.model.secret import Secret
from auditor.store import reports
from auditor.store.connection import Pool
from auditor.store.reports import Report, ReportFile, ReportStatus
from tests.daemon.stage import until

MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)
CONFIGURATION = """\
[environments.prod]
url = "https://abc12345.live.dynatrace.com"
token = {{ env = "DT_TOKEN" }}
[sources.list]
type = "plain"
path = "tokens"
environment = "prod"
[hooks.other]
type = "command"
argv = ["true"]
only = [{{ about = "report_failed" }}]
[reports.weekly]
cron = "0 8 * * 1"
formats = ["json", "csv-coverage"]
{more}
"""


class Desk:
    """A reporter, its configuration, and the database."""

    def __init__(self, directory: Path, pool: Pool, server: Secret) -> None:
        self.directory = directory
        self.pool = pool
        self.now = MONDAY + timedelta(minutes=1)
        self.results: list[str] = []
        self.stopping = asyncio.Event()
        (directory / "policies").mkdir()
        (directory / "policies/baseline.toml").write_text('name = "baseline"\n')
        self.reporter = Reporter(
            pool,
            server,
            environ=os.environ,
            state=directory / "state",
            host="here",
            clock=lambda: self.now,
            telemetry=self,
        )
        self.configure()

    def reported(self, report: str, result: str) -> None:
        assert report == "weekly"
        self.results.append(result)

    def configure(self, more: str = "") -> None:
        (self.directory / "auditor.toml").write_text(CONFIGURATION.format(more=more))
        self.config: Config = load(self.directory / "auditor.toml")

    @property
    def settings(self) -> ReportSettings:
        return self.config.document.reports["weekly"]

    async def fire(self, slot: datetime) -> None:
        await self.reporter.take("weekly", self.settings, slot)

    async def work(self) -> None:
        """Run the job of the report that was asked for last."""
        number = (await self.listed())[0].id
        job = Job.model_construct(payload=msgspec.json.encode(ReportJob(number)), attempts=0)
        routing = routing_of(self.config.document, self.config.hooks, self.config.owners)
        await self.reporter.run_job(job, self.config, routing, self.stopping)

    async def listed(self) -> Sequence[Report]:
        async with self.pool.acquire() as connection:
            return await reports.read(connection, None, 100)

    async def value(self, question: str) -> object:
        async with self.pool.acquire() as connection:
            return await connection.fetchval(question)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "state/reports").iterdir())


def content_of(file: ReportFile) -> bytes:
    return Path(file.path).read_bytes()


@pytest.fixture
def desk(tmp_path: Path, database: Pool, database_url: Secret) -> Desk:
    return Desk(tmp_path, database, database_url)


async def test_report_is_due_from_the_first_slot_after_it_was_configured_and_once_a_slot(desk: Desk) -> None:
    await desk.fire(MONDAY)
    assert await desk.listed() == []
    desk.now += timedelta(days=7)
    for _replica in range(2):
        await desk.fire(MONDAY + timedelta(days=7))
    await desk.fire(MONDAY)
    (report,) = await desk.listed()
    assert (report.slot, report.status) == (MONDAY + timedelta(days=7), ReportStatus.WAITING)
    assert await desk.value("select count(*) from queue_job where entrypoint = 'report:weekly'") == 1


async def test_report_of_a_period_waits_for_its_days_to_be_over(desk: Desk) -> None:
    desk.configure('period = "previous day"\ntimezone = "Pacific/Auckland"')
    desk.now = MONDAY.replace(hour=13)
    await desk.fire(MONDAY - timedelta(days=7))
    await desk.fire(MONDAY.replace(hour=11, minute=30))  # half past midnight there, on the 24th
    (report,) = await desk.listed()
    assert report.period == "2026-11-23"
    waits = await desk.value("select extract(epoch from execute_after - now())::float8 from queue_job")
    assert isinstance(waits, float)
    assert 10.9 * 3600 < waits <= 11 * 3600


async def test_made_report_lies_in_the_state_directory_and_is_recorded(desk: Desk) -> None:
    await desk.fire(MONDAY)
    await desk.fire(MONDAY + timedelta(days=7))
    await desk.work()
    await desk.work()  # of a replica that was not heard of and lives: it finds nothing to be done
    assert desk.files() == ["weekly-2026-11-30T080000Z.coverage.csv", "weekly-2026-11-30T080000Z.json"]
    (report,) = await desk.listed()
    assert (report.status, report.made_at, report.host, report.failures) == (ReportStatus.MADE, desk.now, "here", 0)
    assert report.said is not None
    assert report.said.headline == "Nothing has been audited yet."
    contents = [content_of(file) for file in report.files]
    assert [(file.bytes, file.sha256) for file in report.files] == [
        (len(content), hashlib.sha256(content).hexdigest()) for content in contents
    ]
    assert json.loads(contents[1])["made_at"] == "2026-11-23T08:01:00Z"
    assert [one["name"] for one in json.loads(contents[1])["environments"]] == ["prod"]  # which no sweep has made known
    assert (desk.directory / "state/reports").stat().st_mode & 0o777 == 0o700
    assert desk.results == ["made"]


async def test_last_reports_are_kept_of_each_format_and_nothing_else_is_deleted(desk: Desk) -> None:
    desk.configure("keep = 1")
    await desk.fire(MONDAY)
    kept = desk.directory / "state/reports"
    kept.mkdir(parents=True)
    (kept / "weekly-2020-01-01T080000Z.json").write_text("somebody else's")
    for week in (1, 2):
        await desk.fire(MONDAY + timedelta(days=7 * week))
        await desk.work()
    assert desk.files() == [
        "weekly-2020-01-01T080000Z.json",
        "weekly-2026-12-07T080000Z.coverage.csv",
        "weekly-2026-12-07T080000Z.json",
    ]
    second, first = await desk.listed()
    assert [file.deleted_at for file in (*first.files, *second.files)] == [desk.now, desk.now, None, None]


async def test_report_that_fails_leaves_nothing_is_told_once_and_tried_again(desk: Desk) -> None:
    place = desk.directory / "place"
    place.write_text("a file")
    desk.configure('directory = "place"')
    await desk.fire(MONDAY)
    await desk.fire(MONDAY + timedelta(days=7))
    for _attempt in range(2):
        with pytest.raises(RetryRequested):
            await desk.work()
    alerts = "select string_agg(data->>'message', '|') from alert a join delivery d on d.alert_id = a.id"
    said = await desk.value(f"{alerts} where event = 'report.failed' and hook = 'other'")
    assert said == f"report weekly: {place} cannot be written to: File exists; it is tried again"
    place.unlink()
    await desk.work()
    (report,) = await desk.listed()
    assert (report.status, report.failures) == (ReportStatus.MADE, 2)
    assert sorted(path.suffix for path in place.iterdir()) == [".csv", ".json"]
    assert desk.results == ["failed", "failed", "made"]


async def test_report_that_goes_on_failing_is_given_up_and_the_next_slot_is_made(desk: Desk) -> None:
    desk.configure('directory = "auditor.toml"')
    await desk.fire(MONDAY)
    await desk.fire(MONDAY + timedelta(days=7))
    await desk.value(f"update report set failures = {TRIES - 1} returning 1")
    await desk.work()
    said = await desk.value("select data->>'message' from alert")
    assert isinstance(said, str)
    assert said.endswith(f"given up after {TRIES} attempts; run auditor reports make weekly")
    desk.configure()
    await desk.fire(MONDAY + timedelta(days=14))
    await desk.work()
    assert [report.status for report in await desk.listed()] == [ReportStatus.MADE, ReportStatus.FAILED]


async def test_stop_cuts_a_report_short_and_leaves_it_to_the_next_process(desk: Desk) -> None:
    await desk.fire(MONDAY)
    await desk.fire(MONDAY + timedelta(days=7))
    working = asyncio.ensure_future(desk.work())
    kept = desk.directory / "state/reports"
    await until(lambda: kept.is_dir() and any(kept.iterdir()))
    desk.stopping.set()
    with pytest.raises(RetryRequested, match="asked to stop"):
        await working
    with pytest.raises(RetryRequested, match="asked to stop"):
        await desk.work()
    assert [report.failures for report in await desk.listed()] == [0]
    assert desk.files() == []


class Held:
    """A function that waits, in its thread, to be let go on; its first ``free`` calls do not."""

    def __init__(self, work: Callable[..., object], *, free: int = 0) -> None:
        self._work = work
        self._free = free
        self.is_begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, *given: object) -> object:
        self._free -= 1
        if self._free < 0:
            self.is_begun.set()
            assert self.may_go_on.wait(10)
        return self._work(*given)


async def stopped_in(held: Held, desk: Desk) -> None:
    """Ask to stop while a report is held up, and let it go on; it is given up once it has."""
    working = asyncio.ensure_future(desk.work())
    await until(held.is_begun.is_set)
    desk.stopping.set()
    await asyncio.sleep(0.05)
    assert not working.done()
    held.may_go_on.set()
    with pytest.raises(RetryRequested, match="asked to stop"):
        await working


async def test_stop_while_a_report_gets_its_room_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(prepare)
    monkeypatch.setattr("auditor.daemon.reports.prepare", held)
    await desk.fire(MONDAY)
    await desk.fire(MONDAY + timedelta(days=7))
    await stopped_in(held, desk)
    assert desk.files() == []


async def test_stop_while_a_made_report_gives_its_room_back_leaves_the_report_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(_clear, free=1)
    monkeypatch.setattr("auditor.daemon.reports._clear", held)
    await desk.fire(MONDAY)
    await desk.fire(MONDAY + timedelta(days=7))
    await stopped_in(held, desk)
    assert [Path(name).suffix for name in desk.files()] == [".csv", ".json"]


def order(directory: Path, **changes: object) -> Order:
    whole = Order(
        directory=str(directory),
        stem="any",
        formats=("json",),
        environments=(),
        configured={},
        frameworks=(),
        period=None,
        resolved_days=30,
        schedules=(),
        aws=None,
        now=MONDAY,
    )
    return msgspec.structs.replace(whole, **changes)


async def test_report_that_takes_too_long_has_failed(tmp_path: Path, database_url: Secret) -> None:
    with pytest.raises(ReportFailed, match=r"was not made within 0\.01 s; raise its timeout"):
        await written(order(tmp_path), database_url, os.environ, seconds=0.01)


async def test_database_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    password = "capability-of-database"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = Secret(f"postgresql://auditor:{password}@127.0.0.1:{port}/auditor")
    with pytest.raises(ReportFailed, match="PostgreSQL cannot be reached") as failure:
        await written(order(tmp_path), url, os.environ, seconds=60)
    assert password not in str(failure.value)


async def test_process_that_dies_is_told_with_its_last_words(tmp_path: Path, database_url: Secret) -> None:
    with pytest.raises(ReportFailed, match="the process that makes it ended with 1: KeyError: 'papyrus'"):
        await written(order(tmp_path, formats=("papyrus",)), database_url, os.environ, seconds=60)
