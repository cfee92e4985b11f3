"""Makes scheduled reports: each slot once whatever the number of replicas, kept, and put into the outbox for hooks."""

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
from pgqueuer import RetryRequested
from pgqueuer.models import Job

from auditor.alerts.deliveries import wait_after
from auditor.alerts.enclosing import made_alert
from auditor.config.load import Config
from auditor.config.scheduled_reports import ReportSettings, directory_of, prepare
from auditor.daemon.rendering import Order, Written, written
from auditor.model.errors import ReportFailed, StoreUnavailable
from auditor.model.finding import Alert, Severity
from auditor.model.secret import Secret
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.routing.routing import Routing
from auditor.policy.spans import parse_duration
from auditor.policy.wording import counted
from auditor.store import outbox, reports
from auditor.store.connection import Connection, Pool
from auditor.store.database import translated
from auditor.store.outgoing import Outgoing
from auditor.store.queue import enqueue
from auditor.store.reports import Report, ReportFile, ReportStatus
from auditor.sweep.due import AUDITOR
from auditor.sweep.patience import unless

T = TypeVar("T")

TRIES: Final = 12
"""How often a report is tried: for about an hour, the waits between doubling from a second."""
_TICK: Final = timedelta(microseconds=1)
_ASKED_TO_STOP: Final = "auditor was asked to stop"

log = structlog.get_logger(__name__)


class ReportTelemetry(Protocol):
    """Where the measurements of reports go."""

    def reported(self, report: str, result: str) -> None:
        """Note how one attempt to make a report ended: ``made`` or ``failed``."""
        ...


class ReportJob(msgspec.Struct, frozen=True):
    """What a queued report says."""

    report: int


def entrypoint_of(name: str) -> str:
    """Return the queue's name for a report's making: one a report, so that one that fails holds up no other."""
    return f"report:{name}"


class Reporter:
    """Makes the reports of one process, one at a time.

    ``server`` is the URL of the database, for the process that writes the files; ``host`` is this machine's name.
    """

    def __init__(
        self,
        pool: Pool,
        server: Secret,
        *,
        environ: Mapping[str, str],
        state: Path,
        host: str,
        clock: Callable[[], datetime],
        telemetry: ReportTelemetry | None = None,
    ) -> None:
        self._pool = pool
        self._server = server
        self._environ = environ
        self._state = state
        self._host = host
        self._clock = clock
        self._telemetry = telemetry
        self._turn = asyncio.Semaphore()

    async def take(self, name: str, settings: ReportSettings, slot: datetime) -> None:
        """Enqueue the report of a slot, unless another replica has; it waits until its days are over."""
        period = settings.period_at(slot)
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            number = await reports.take_slot(connection, name, slot, None if period is None else period.name, now)
            if number is None:
                return
            delay = None if period is None or period.end < now else period.end + _TICK - now
            await enqueue(connection, entrypoint_of(name), [msgspec.json.encode(ReportJob(number))], delay=delay)
        log.info("report_enqueued", report=name, slot=slot.isoformat(), period=period.name if period else None)

    async def run_job(self, job: Job, config: Config, routing: Routing, stopping: asyncio.Event) -> None:
        """Make a queued report; raises ``RetryRequested`` where it is to be tried again."""
        number = msgspec.json.decode(job.payload or b"", type=ReportJob).report
        try:
            with translated():
                async with self._pool.acquire() as connection:
                    report = await reports.report(connection, number)
                if report.status is not ReportStatus.WAITING:
                    return
                if stopping.is_set():
                    raise RetryRequested(reason=_ASKED_TO_STOP)
                await self._attempt(report, config, routing, stopping)
        except StoreUnavailable as error:
            log.error("report_cut_short", reason=str(error))
            raise RetryRequested(wait_after(job.attempts), str(error)) from error

    async def _attempt(self, report: Report, config: Config, routing: Routing, stopping: asyncio.Event) -> None:
        settings = config.document.reports.get(report.name)
        try:
            if settings is None:
                raise ReportFailed("is not configured any more")
            if await unless(stopping, self.make(report, settings, config, hooks=settings.hooks)) is None:
                raise RetryRequested(reason=_ASKED_TO_STOP)
        except ReportFailed as failure:
            is_given_up = settings is None or report.failures + 1 >= TRIES
            async with self._pool.acquire() as connection, connection.transaction():
                await reports.failed(connection, report.id, str(failure), is_given_up=is_given_up)
                if is_given_up or not report.failures:
                    await self._alert(connection, routing, report, failure, is_given_up=is_given_up)
            self._note(report.name, "failed")
            log.error(
                "report_given_up" if is_given_up else "report_failed",
                report=report.name,
                failures=report.failures + 1,
                problem=str(failure),
            )
            if not is_given_up:
                raise RetryRequested(wait_after(report.failures), str(failure)) from failure
        else:
            self._note(report.name, "made")

    async def make(
        self, report: Report, settings: ReportSettings, config: Config, *, hooks: Sequence[str]
    ) -> Sequence[ReportFile]:
        """Make a report, put it into the outbox for these hooks, and delete what is beyond those that are kept.

        Returns its files: none where another process was faster. Raises ``ReportFailed``, and then leaves nothing.
        """
        async with self._turn:
            now = self._clock()
            directory = directory_of(settings, config.directory, self._state)
            try:
                room = await _on_disk(directory, lambda: _make_room(directory, report.id))
                done = await written(
                    self._order(report, settings, config, room, now),
                    self._server,
                    self._environ,
                    seconds=parse_duration(settings.timeout).total_seconds(),
                )
                files = await self._publish(report, done, room.parent, hooks)
            finally:
                await _on_disk(directory, lambda: _clear(directory, report.id))
        await self._prune(report.name, settings.keep)
        return files

    def _order(self, report: Report, settings: ReportSettings, config: Config, room: Path, now: datetime) -> Order:
        return Order(
            directory=str(room),
            stem=stem_of(report),
            formats=settings.formats,
            environments=config.environments_matching(settings.environments) if settings.environments else (),
            configured=config.urls,
            frameworks=settings.frameworks,
            period=report.period,
            resolved_days=settings.resolved_days,
            schedules=[f"{name}: {one.told}" for name, one in config.document.schedules.items()],
            aws=settings.aws,
            now=now,
        )

    async def _publish(
        self, report: Report, done: Written, directory: Path, hooks: Sequence[str]
    ) -> Sequence[ReportFile]:
        """Give the files their place, and note it together with what goes to hooks."""
        files = [msgspec.structs.replace(file, path=str(directory / Path(file.path).name)) for file in done.files]
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            if not await reports.made(connection, report.id, done.said, files, self._host, now):
                return ()
            await _on_disk(directory, lambda: _move([file.path for file in done.files], directory))
            if hooks:
                alert = made_alert(await reports.report(connection, report.id), outbox.new_id(), now)
                await outbox.add(connection, {hook: [alert] for hook in hooks})
        log.info("report_made", report=report.name, period=report.period, files=[file.path for file in files])
        return files

    async def _prune(self, name: str, keep: int) -> None:
        """Delete the files beyond those that are kept; those on another host are left to it."""
        async with self._pool.acquire() as connection:
            surplus = await reports.surplus(connection, name, keep)
            gone = await asyncio.to_thread(
                lambda: [
                    (number, file.format)
                    for number, host, file in surplus
                    if _is_deleted(file.path, host == self._host)
                ]
            )
            await reports.deleted(connection, gone, self._clock())
        if gone:
            log.info("report_files_deleted", report=name, files=len(gone), kept=keep)

    async def _alert(
        self, connection: Connection, routing: Routing, report: Report, failure: ReportFailed, *, is_given_up: bool
    ) -> None:
        now = self._clock()
        outgoing = Outgoing(routing, now)
        alert = _failed_alert(report, failure, now, is_given_up=is_given_up)
        matter = Matter(Topic.REPORT_FAILED, alert.severity, AUDITOR)
        outgoing.put(alert, matter, routing.hooks(matter))
        await outgoing.write(connection)

    def _note(self, name: str, result: str) -> None:
        if self._telemetry is not None:
            self._telemetry.reported(name, result)


def stem_of(report: Report) -> str:
    """Return what the names of a report's files begin with, so that they sort: ``NAME-2026-11-26T080000Z``.

    Its slot; of one made by hand, when that was asked for, and its number.
    """
    at = report.slot or report.asked_at
    return f"{report.name}-{at:%Y-%m-%dT%H%M%SZ}{'' if report.slot else f'-{report.id}'}"


async def _on_disk(directory: Path, work: Callable[[], T]) -> T:
    """Do something in a thread, and wait for it although the task is cancelled: nothing goes on behind its back."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise
    except OSError as error:
        raise ReportFailed(f"{directory} cannot be written to: {error.strerror}") from error


def _make_room(directory: Path, number: int) -> Path:
    """Return a new directory, absolute, for what is not whole yet; what an attempt left that was killed goes."""
    prepare(directory)
    _clear(directory, number)
    room = _room(directory.resolve(), number)
    room.mkdir(mode=0o700)
    return room


def _clear(directory: Path, number: int) -> None:
    shutil.rmtree(_room(directory, number), ignore_errors=True)


def _room(directory: Path, number: int) -> Path:
    return directory / f".unfinished-{number}"


def _move(paths: Sequence[str], directory: Path) -> None:
    for path in map(Path, paths):
        path.replace(directory / path.name)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_deleted(path: str, is_of_here: bool) -> bool:
    """Delete a file of ours; return whether it is gone. What has taken its place and is no file is left alone."""
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            Path(path).unlink()
    except FileNotFoundError:
        return is_of_here
    except OSError as error:
        log.warning("report_file_not_deleted", path=path, problem=error.strerror)
        return False
    return True


def _failed_alert(report: Report, failure: ReportFailed, now: datetime, *, is_given_up: bool) -> Alert:
    tries = counted(report.failures + 1, "attempt")
    effect = f"given up after {tries}; run auditor reports make {report.name}" if is_given_up else "it is tried again"
    return Alert(
        id=outbox.new_id(),
        event="report.failed",
        severity=Severity.HIGH,
        environment=AUDITOR,
        at=now,
        data={
            "environment": AUDITOR,
            "report": report.name,
            "period": report.period,
            "title": f"Report {report.name} failed",
            "message": f"report {report.name}: {failure}; {effect}",
        },
    )
