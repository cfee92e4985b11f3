"""A sweep that was cut short goes on where it was: as the same sweep, with little looked up again."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

import pytest

from auditor.model.errors import StoreUnavailable
from auditor.model.secret import Secret
from auditor.model.sweep import SweepStatus
from auditor.model.token import StoredToken
from auditor.simulator import Fault, Faults, Plan
from auditor.store import sweeps
from auditor.store.connection import Pool
from auditor.store.database import connected
from auditor.sweep.subject import Progress
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import OF_THE_OWNER, SLOW, ListSource, Stage, secrets_of, stored
from tests.sweep.reading import latest, stopped_after, until, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


async def test_sweep_that_was_asked_to_stop_goes_on_without_looking_anything_up_again(
    database: Pool, staged: Staged
) -> None:
    async with staged(capacity=SLOW) as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 100))))
        begun = await stopped_after(stage, database, subject, 10)
        stage.api.set_capacity(None)
        progress = Progress("prod")
        summary = await sweep(database, subject, progress=progress)
        assert stage.api.lookups == 100
    assert (summary.id, summary.status, summary.enrolled, summary.found) == (begun.id, SweepStatus.COMPLETE, 100, 100)
    assert summary.started_at == begun.started_at
    assert (progress.enrolled, progress.done) == (100, 100)
    assert await value(database, "select resumptions from sweep") == 1
    assert await value(database, "select count(*) from finding_event") == 100 + OF_THE_OWNER


async def test_account_goes_on_with_its_reasons(database: Pool, staged: Staged) -> None:
    faults = Faults(plans=(Plan(faults=(Fault.SERVER_ERROR,) * 10),))
    async with staged(capacity=SLOW, faults=faults) as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 60))))
        begun = await stopped_after(stage, database, subject, 30)
        assert begun.failed == 10
        stage.api.set_capacity(None)
        summary = await sweep(database, subject)
    assert (summary.id, summary.enrolled, summary.found, summary.failed) == (begun.id, 60, 50, 10)
    assert summary.reasons == begun.reasons
    assert summary.status is SweepStatus.INCOMPLETE


async def test_what_the_sources_hold_by_then_is_what_counts(database: Pool, staged: Staged) -> None:
    async with staged(capacity=SLOW) as stage:
        secrets = secrets_of(stage, 40)
        await stopped_after(stage, database, stage.subject(ListSource("vault", stored(secrets[:30]))), 10)
        stage.api.set_capacity(None)
        summary = await sweep(database, stage.subject(ListSource("vault", stored(secrets[20:]))))
    assert await value(database, "select count(*) from token where removed_at is null") == 20
    assert summary.is_balanced


@pytest.mark.parametrize(
    ("policy", "url", "self_lookup", "hours"),
    [
        ({"rules": {"DT-STA-02": {"enabled": False}}}, None, False, 0),
        (None, "https://other.example.com", False, 0),
        (None, None, True, 0),
        (None, None, False, 7),
    ],
)
async def test_sweep_that_is_no_longer_the_same_or_too_old_is_closed_and_another_begun(
    database: Pool,
    staged: Staged,
    policy: Mapping[str, object] | None,
    url: str | None,
    self_lookup: bool,
    hours: int,
) -> None:
    async with staged(capacity=SLOW) as stage:
        source = ListSource("vault", stored(secrets_of(stage, 30)))
        begun = await stopped_after(stage, database, stage.subject(source), 10)
        stage.api.set_capacity(None)
        stage.clock.advance(timedelta(hours=hours))
        subject = stage.subject(source, policy=policy, self_lookup=self_lookup)
        summary = await sweep(database, subject if url is None else replace(subject, url=url))
    assert summary.id != begun.id
    assert (summary.status, summary.enrolled) == (SweepStatus.COMPLETE, 30)
    closed = await value(database, "select (status, enrolled, found, failed)::text from sweep where id = $1", begun.id)
    assert closed == f"(failed,{begun.enrolled},{begun.found},0)"
    reasons = await value(database, "select reasons->>$2 from sweep where id = $1", begun.id, sweeps.INTERRUPTED)
    assert reasons == "1"
    assert (
        await value(
            database,
            "select count(*) from finding_event where transition = 'opened' and finding_id in "
            "(select id from finding where rule_id = 'DT-EXP-01')",
        )
        == 30
    )


async def terminate(database: Pool, number: int) -> None:
    """Have the server end ``number`` of the other connections to this database, the oldest first."""
    async with database.acquire() as connection:
        await connection.execute(
            """
            select pg_terminate_backend(pid, 10000) from (  -- waits until it is gone, and its locks with it
                select pid from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and application_name = 'sweep'
                order by backend_start limit $1) oldest
            """,
            number,
        )


class StallingSource(ListSource):
    """Yields a batch and then says nothing more."""

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        async for batch in super().read():
            yield batch
            await asyncio.Event().wait()


@pytest.mark.parametrize("connections", [1, 2])
async def test_sweep_whose_connection_is_cut_goes_on_where_it_was(
    database: Pool, database_url: Secret, staged: Staged, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    monkeypatch.setattr("auditor.sweep.sweeper.BATCH", 20)
    async with staged(capacity=SLOW) as stage:
        tokens = stored(secrets_of(stage, 200))
        stalling = stage.subject(StallingSource("vault", tokens, batch=50))
        progress = Progress("prod")
        async with connected(database_url, application="sweep") as pool, asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(failing(sweep(pool, stalling, progress=progress)))
            await until(lambda: progress.done >= 30)
            while (await latest(database)).enrolled < 20:  # noqa: ASYNC110 -- only the database knows
                await asyncio.sleep(0.01)
            await terminate(database, connections)
        assert isinstance(sweeping.result(), StoreUnavailable)
        died = await latest(database)
        assert died.status is SweepStatus.RUNNING
        assert died.enrolled >= 20
        stage.api.set_capacity(None)
        summary = await sweep(database, stage.subject(ListSource("vault", tokens)))
        assert stage.api.lookups <= 200 + 20 + stage.client.concurrency  # a batch, and what was under way
    assert (summary.id, summary.status, summary.enrolled, summary.found) == (died.id, SweepStatus.COMPLETE, 200, 200)
    assert await value(database, "select count(*) from finding_event") == 200 + OF_THE_OWNER


async def failing(work: Awaitable[object]) -> Exception:
    """Return what the work raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- what it is, the caller looks at
        await work
    return raised.value


CHILD = """
import asyncio, sys
from auditor.model.secret import Secret
from auditor.store.database import connected
from auditor.sweep import sweeper
from tests.sweep.conftest import ListSource, client_of, stored, subject_of
from auditor.simulator import SteppedClock
from tests.sweep.conftest import NOW

async def main(database_url, url, own, secrets):
    sweeper.BATCH = 20
    clock = SteppedClock(NOW)
    client = client_of(url, Secret(own), clock)
    async with connected(Secret(database_url), application="child") as pool, client:
        await sweeper.sweep(pool, subject_of(client, url, clock, ListSource("vault", stored(secrets))))

asyncio.run(main(*sys.stdin.readline().split()[:3], sys.stdin.readline().split()))
"""


async def test_sweep_that_was_killed_is_made_up_for_without_doubling_a_transition(
    database: Pool, database_url: Secret, staged: Staged
) -> None:
    async with staged(capacity=SLOW) as stage:
        secrets = secrets_of(stage, 200)
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert child.stdin is not None
            words = " ".join((database_url.reveal(), stage.url, stage.own.reveal())), " ".join(secrets)
            child.stdin.write("".join(f"{line}\n" for line in words).encode())
            async with asyncio.timeout(30):
                while not await value(database, "select coalesce(max(enrolled), 0) from sweep"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            child.kill()
            await child.wait()
        stage.api.set_capacity(None)
        # PostgreSQL notices when it gets to it, and until then the dead one owns the environment.
        async with asyncio.timeout(30):
            while await value(database, "select count(*) from pg_locks where locktype = 'advisory'"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        died = await latest(database)
        assert 0 < died.enrolled < 200
        summary = await sweep(database, stage.subject(ListSource("vault", stored(secrets))))
        assert stage.api.lookups <= 200 + 20 + stage.client.concurrency  # a batch, and what was under way
    assert (summary.id, summary.status, summary.enrolled, summary.found) == (died.id, SweepStatus.COMPLETE, 200, 200)
    assert (summary.reasons, summary.is_balanced) == ({}, True)
    assert await value(database, "select count(*) from finding") == 200 + OF_THE_OWNER
    opened = await value(database, "select count(*) from finding_event where transition = 'opened'")
    assert opened == 200 + OF_THE_OWNER
    assert await value(database, "select count(*) from sweep") == 1
    assert await value(database, "select count(*) from enrolment") == 0
