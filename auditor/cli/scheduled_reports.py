"""``auditor reports``: lists the reports that were made, and makes one of the configuration now."""

import asyncio
import socket
from collections.abc import Iterator, Sequence

from rich.text import Text

from auditor.alerts.deliveries import drain
from auditor.cli import exits
from auditor.cli.session import Session, located, now, run_loop
from auditor.cli.showing import cell, console, print_json, print_table, text
from auditor.config.database import url_of
from auditor.config.load import Config
from auditor.config.scheduled_reports import missing_extras
from auditor.daemon.reports import Reporter
from auditor.model.errors import ConfigError, Problem, ReportFailed
from auditor.model.spelling import meant
from auditor.store import reports
from auditor.store.connection import Pool
from auditor.store.reports import Report, ReportFile


def list_reports(session: Session, name: str | None, *, limit: int, as_json: bool) -> int:
    """List reports with their files, the newest first."""
    found = run_loop(_list(session, name, limit))
    if as_json:
        print_json(found)
    elif found:
        print_table(("Report", "Made", "Period", "How", "File", "Bytes", "SHA-256"), _rows(found))
    else:
        console().print("No report was made yet.")
    return exits.OK


async def _list(session: Session, name: str | None, limit: int) -> Sequence[Report]:
    async with session.database(session.load()) as pool, pool.acquire() as connection:
        return await reports.read(connection, name, limit)


def _rows(found: Sequence[Report]) -> Iterator[Sequence[Text | str]]:
    for one in found:
        head = (
            text(one.name),
            f"{one.made_at:%Y-%m-%d %H:%M:%S}" if one.made_at else "",
            text(one.period or "now"),
            cell(f"{one.status.value}: {one.problem}" if one.problem and not one.made_at else one.status.value),
        )
        if not one.files:
            yield (*head, "", "", "")
        for file in one.files:
            where = f"{file.path} (deleted {file.deleted_at:%Y-%m-%d})" if file.deleted_at else file.path
            yield (*head, text(where), f"{file.bytes:,}", file.sha256)


def make(session: Session, name: str, *, deliver: bool, seconds: float) -> int:
    """Make a report of the configuration now; with ``deliver``, hand it to its hooks."""
    config = session.load()
    known = config.document.reports
    if name not in known:
        raise ConfigError(Problem(f"report {name}", f"no such report; {meant(name, known)}"))
    if deliver and not known[name].hooks:
        raise ConfigError(Problem("--deliver", f"[reports.{name}] names no hooks"))
    with located(config):
        problems = list(missing_extras({name: known[name]}))
        if problems:
            raise ConfigError(*problems)
    files = run_loop(_make(session, config, name, deliver=deliver, seconds=seconds))
    for file in files:
        console().print(text(file.path))
    return exits.OK


async def _make(session: Session, config: Config, name: str, *, deliver: bool, seconds: float) -> Sequence[ReportFile]:
    settings = config.document.reports[name]
    async with session.server(config) as (server, pool):
        reporter = Reporter(
            pool,
            url_of(server),
            environ=session.environ,
            state=session.state,
            host=socket.gethostname(),
            clock=now,
        )
        period = settings.period_at(now())
        async with pool.acquire() as connection:
            number = await reports.ask(connection, name, None if period is None else period.name, now())
            report = await reports.report(connection, number)
        try:
            files = await reporter.make(report, settings, config, hooks=settings.hooks if deliver else ())
        except (ReportFailed, asyncio.CancelledError) as error:
            problem = str(error) or "interrupted"
            async with pool.acquire() as connection:
                await reports.failed(connection, number, problem, is_given_up=True)
            if isinstance(error, ReportFailed):
                raise ReportFailed(f"report {name}: {problem}") from error
            raise
        if deliver:
            await _deliver(session, config, pool, settings.hooks, seconds)
    return files


async def _deliver(session: Session, config: Config, pool: Pool, names: Sequence[str], seconds: float) -> None:
    """Deliver what waits for these hooks; what they do not take waits on."""
    async with session.assembled(config, pool, environments=()) as assembly:
        hooks = {name: assembly.hooks[name] for name in names}
        await drain(pool, hooks, clock=now, seconds=seconds, routing=assembly.routing)
