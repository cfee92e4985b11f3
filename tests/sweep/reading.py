"""What a test reads from the database, and how it waits for something to come true."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from auditor.model.finding import Finding
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.store import findings, sweeps
from auditor.store.connection import Pool
from auditor.store.findings import Filter
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, Stage


async def read_findings(database: Pool) -> dict[str, Finding]:
    """Return every finding, open or resolved, by its key."""
    async with database.acquire() as connection, connection.transaction():
        return {
            finding.key: finding
            async for batch in findings.read(connection, Filter(resolved_since=datetime(2000, 1, 1, tzinfo=UTC)), NOW)
            for finding in batch
        }


async def latest(database: Pool, environment: str = "prod") -> SweepSummary:
    """Return the last sweep of an environment."""
    async with database.acquire() as connection:
        summary = await sweeps.latest(connection, environment)
    assert summary is not None
    return summary


async def value(database: Pool, question: str, *args: object) -> object:
    """Return the answer to a question in SQL."""
    async with database.acquire() as connection:
        return await connection.fetchval(question, *args)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; a test's own timeout ends it otherwise."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 -- what it waits for tells nobody
            await asyncio.sleep(0.01)


async def stopped_after(stage: Stage, database: Pool, subject: Subject, lookups: int) -> SweepSummary:
    """Sweep until the environment answered so many lookups, then ask to stop."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(sweep(database, subject, stopping=stopping))
        await until(lambda: stage.api.lookups >= lookups)
        stopping.set()
    summary = sweeping.result()
    assert summary.status is SweepStatus.RUNNING
    return summary
