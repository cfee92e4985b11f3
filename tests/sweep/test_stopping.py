"""A sweep that is asked to stop, that must stop, or whose database goes away: what was recorded stays."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from auditor.model.errors import StoreUnavailable, SweepUnderWay
from auditor.model.secret import Secret
from auditor.model.sweep import SweepStatus
from auditor.model.token import StoredToken
from auditor.simulator import Capacity, Fault, Faults, Plan
from auditor.store.connection import Pool
from auditor.store.database import connected
from auditor.sweep.subject import Progress
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, stored
from tests.sweep.reading import latest, until, value

OF_THE_OWNER = 1
"""Findings beside one of each token: they have one owner, who holds too many."""
Staged = Callable[..., AbstractAsyncContextManager[Stage]]

SLOW = Capacity(workers=4, service_seconds=0.05, queue=10_000)


def secrets_of(stage: Stage, number: int) -> list[str]:
    return [stage.world.create(f"t{index}", ["metrics.read"]).secret for index in range(number)]


async def test_sweep_that_is_asked_to_stop_before_it_begins_reads_nothing(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        stopping = asyncio.Event()
        stopping.set()
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 3))))
        summary = await sweep(database, subject, stopping=stopping)
        assert stage.api.lookups == 0
    assert summary.status is SweepStatus.FAILED
    assert summary.found == 0
    assert summary.is_balanced


async def test_sweep_that_is_asked_to_stop_keeps_what_it_did_and_accounts_for_the_rest(
    database: Pool, staged: Staged
) -> None:
    async with staged(capacity=SLOW) as stage:
        stopping = asyncio.Event()
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 200))))
        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, subject, stopping=stopping))
            await until(lambda: stage.api.lookups > 10)
            stopping.set()
        summary = sweeping.result()
    assert summary.status is SweepStatus.FAILED
    assert summary.enrolled == 200
    assert 10 < summary.found < 200
    assert summary.failed == 200 - summary.found
    assert summary.reasons == {"not attempted: auditor was asked to stop": summary.failed}
    assert await value(database, "select count(*) from lookup where outcome = 'found'") == summary.found


async def test_lookups_that_hang_do_not_hold_up_a_stop(database: Pool, staged: Staged) -> None:
    hang = Faults(plans=(Plan(then=Fault.LATENCY),), latency_seconds=600)
    async with staged(faults=hang, total_timeout_seconds=600, read_timeout_seconds=300) as stage:
        stopping = asyncio.Event()
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 40))))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, subject, stopping=stopping))
            injector = stage.api.injector
            assert injector is not None
            await until(lambda: injector.injected[Fault.LATENCY] == stage.client.concurrency)
            stopping.set()
        summary = sweeping.result()
    assert (summary.enrolled, summary.failed) == (40, 40)
    assert set(summary.reasons) == {
        "not attempted: auditor was asked to stop",
        "given up under way: auditor was asked to stop",
    }


class HangingSource(ListSource):
    """Yields its tokens and then says nothing more."""

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        async for batch in super().read():
            yield batch
        await asyncio.Event().wait()


async def test_source_that_hangs_does_not_hold_up_a_stop_and_is_said_to_be_unread(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        stopping = asyncio.Event()
        done, hanging = ListSource("done", stored(secrets_of(stage, 1))), HangingSource("hangs", [])
        subject = stage.subject(done, hanging, ListSource("later", []))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, subject, stopping=stopping))
            await until(lambda: stage.api.lookups == 1)
            stopping.set()
    assert sweeping.result().source_problems == dict.fromkeys(("hangs", "later"), "not read: auditor was asked to stop")


class TimingOutSource(ListSource):
    """A source whose author did not keep to the protocol."""

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        async for batch in super().read():
            yield batch
        raise TimeoutError


async def test_timeout_of_something_else_is_not_taken_for_a_stop(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        with pytest.raises(StoreUnavailable):
            await sweep(database, stage.subject(TimingOutSource("odd", [])))


async def terminate(database: Pool, number: int) -> None:
    """Have the server end ``number`` of the other connections to this database, the oldest first."""
    async with database.acquire() as connection:
        await connection.execute(
            """
            select pg_terminate_backend(pid) from (
                select pid from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and application_name = 'sweep'
                order by backend_start limit $1) oldest
            """,
            number,
        )


@pytest.mark.parametrize("connections", [1, 2])
async def test_sweep_whose_connection_is_cut_keeps_what_it_recorded_and_the_next_one_closes_it(
    database: Pool, database_url: Secret, staged: Staged, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    monkeypatch.setattr("auditor.sweep.sweeper.BATCH", 20)
    async with staged(capacity=SLOW) as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 200))))
        progress = Progress("prod")
        async with connected(database_url, application="sweep") as pool, asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(failing(sweep(pool, subject, progress=progress)))
            await until(lambda: progress.done >= 30)
            while (await latest(database)).enrolled < 20:  # noqa: ASYNC110 -- only the database knows
                await asyncio.sleep(0.01)
            await terminate(database, connections)
        assert isinstance(sweeping.result(), StoreUnavailable)
        died = await latest(database)
        assert died.status is SweepStatus.RUNNING
        assert died.enrolled >= 20
        stage.api.set_capacity(None)
        assert (await sweep(database, subject)).status is SweepStatus.COMPLETE
    closed = await value(database, "select (status, enrolled, found, failed)::text from sweep where id = $1", died.id)
    assert closed == f"(failed,{died.enrolled},{died.found},0)"
    assert await value(database, "select count(*) from finding_event") == 200 + OF_THE_OWNER


async def failing(work: Awaitable[object]) -> Exception:
    """Return what the work raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- what it is, the caller looks at
        await work
    return raised.value


async def test_environment_has_one_sweep_at_a_time(database: Pool, staged: Staged) -> None:
    async with staged(capacity=SLOW) as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 50))))
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(sweep(database, subject))
            await until(lambda: stage.api.lookups > 0)
            with pytest.raises(SweepUnderWay, match='"prod"'):
                await sweep(database, subject)
    assert first.result().status is SweepStatus.COMPLETE


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
        died = await latest(database)
        assert 0 < died.enrolled < 200
        summary = await sweep(database, stage.subject(ListSource("vault", stored(secrets))))
    assert (summary.status, summary.enrolled, summary.found) == (SweepStatus.COMPLETE, 200, 200)
    assert await value(database, "select count(*) from finding") == 200 + OF_THE_OWNER
    opened = await value(database, "select count(*) from finding_event where transition = 'opened'")
    assert opened == 200 + OF_THE_OWNER
    assert await value(database, "select sum(enrolled - found - missing - refused - failed) from sweep") == 0
    assert (
        await value(database, "select reasons from sweep where id = $1", died.id)
        == '{"the sweep\'s process ended before it": 1}'
    )
    assert await value(database, "select count(*) from enrolment") == 0
