"""A sweep of an older auditor goes on while a newer one changes the schema under it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from auditor.model.sweep import SweepStatus
from auditor.simulator import Capacity
from auditor.store import migrate as module
from auditor.store.connection import Pool
from auditor.store.migrate import migrate, migrations
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, stored
from tests.sweep.reading import until, value

TABLES = ("token", "lookup", "finding", "finding_event", "sweep", "environment", "enrolment", "chain_head", "alert")


async def test_sweep_goes_on_while_every_table_that_it_writes_is_altered(
    database: Pool, staged: Callable[..., AbstractAsyncContextManager[Stage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.sweep.sweeper.BATCH", 10)
    added = [
        module.Migration(9000 + n, f"{9000 + n}_more.sql", f"alter table {table} add column more integer default 7")
        for n, table in enumerate(TABLES)
    ]
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), *added])
    async with staged(capacity=Capacity(workers=4, service_seconds=0.02, queue=10_000)) as stage:
        secrets = [stage.world.create(f"t{index}", ["metrics.read"]).secret for index in range(120)]
        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, stage.subject(ListSource("vault", stored(secrets)))))
            await until(lambda: stage.api.lookups > 20)
            async with database.acquire() as connection:
                assert len(await migrate(connection)) == len(TABLES)
    summary = sweeping.result()
    assert (summary.status, summary.enrolled, summary.found) == (SweepStatus.COMPLETE, 120, 120)
    assert await value(database, "select count(*) from finding where more = 7") == 120 + 1
