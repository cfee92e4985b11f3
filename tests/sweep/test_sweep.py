"""Whole sweeps against the simulated API and a real PostgreSQL."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from auditor.model.finding import Finding, Resolution
from auditor.model.sweep import SweepStatus
from auditor.simulator import Fault, Faults, Plan, secrets
from auditor.store import findings
from auditor.store.connection import Pool
from auditor.store.findings import Filter
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, Stage, stored

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


async def read_findings(database: Pool) -> dict[str, Finding]:
    async with database.acquire() as connection, connection.transaction():
        return {
            finding.key: finding
            async for batch in findings.read(connection, Filter(resolved_since=NOW - timedelta(days=999)))
            for finding in batch
        }


async def test_sweep_accounts_for_every_stored_token(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        known = [stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(5)]
        gone = list(secrets("gone", 3))
        summary = await sweep(database, stage.subject(ListSource("vault", stored([*known, *gone]))))
    assert summary.status is SweepStatus.COMPLETE
    assert (summary.enrolled, summary.found, summary.missing, summary.refused, summary.failed) == (8, 5, 3, 0, 0)
    assert summary.coverage == 1.0


async def test_finding_opens_resolves_on_evidence_and_reopens(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("forever", ["metrics.read"])
        subject = stage.subject(ListSource("vault", stored([token.secret])))
        key = f"prod/{token.token.id}/DT-EXP-01"
        await sweep(database, subject)
        assert (await read_findings(database))[key].status == "open"
        stage.world.change(token.token.id, expiration_date=NOW + timedelta(days=80))
        await sweep(database, subject)
        resolved = (await read_findings(database))[key]
        assert (resolved.status, resolved.resolution) == ("resolved", Resolution.EVIDENCE)
        stage.world.change(token.token.id, expiration_date=None)
        await sweep(database, subject)
        reopened = (await read_findings(database))[key]
        assert (reopened.status, reopened.reopenings, reopened.resolution) == ("open", 1, None)


async def test_failed_lookup_neither_passes_nor_ends_a_finding(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("forever", ["metrics.read"])
        source = ListSource("vault", stored([token.secret]))
        subject = stage.subject(source)
        await sweep(database, subject)
        before = await read_findings(database)
        stage.world.change(token.token.id, expiration_date=NOW + timedelta(days=80))  # would resolve, if it were seen
        for fault in (Fault.HTML, Fault.PROXY_FORBIDDEN, Fault.TRUNCATED, Fault.RESET, Fault.SERVER_ERROR):
            stage.api.set_faults(Faults(plans=(Plan(then=fault),)))
            summary = await sweep(database, subject)
            assert summary.found == summary.missing == 0
            assert summary.refused + summary.failed == 1
            assert summary.status is not SweepStatus.COMPLETE
            assert await read_findings(database) == before
