"""A sweep that is asked to stop, that must stop, or whose database goes away: what was recorded stays."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from auditor.model.errors import StoreUnavailable, SweepUnderWay
from auditor.model.sweep import SweepStatus
from auditor.model.token import StoredToken
from auditor.simulator import Fault, Faults, Plan
from auditor.store.connection import Pool
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import SLOW, ListSource, Stage, secrets_of, stored
from tests.sweep.reading import until, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


async def test_sweep_that_is_asked_to_stop_before_it_begins_reads_nothing(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        stopping = asyncio.Event()
        stopping.set()
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 3))))
        summary = await sweep(database, subject, stopping=stopping)
        assert stage.api.lookups == 0
    assert (summary.status, summary.enrolled, summary.finished_at) == (SweepStatus.RUNNING, 0, None)


async def test_sweep_that_is_asked_to_stop_keeps_what_it_did_and_leaves_the_rest(
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
    assert (summary.status, summary.failed, summary.reasons) == (SweepStatus.RUNNING, 0, {})
    assert 10 < summary.found < 200
    assert summary.is_balanced
    assert await value(database, "select count(*) from enrolment") == 0
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
            await until(lambda: injector.injected[Fault.LATENCY] == stage.client.limit.value)
            stopping.set()
        summary = sweeping.result()
    assert (summary.status, summary.enrolled) == (SweepStatus.RUNNING, 0)


class HangingSource(ListSource):
    """Yields its tokens and then says nothing more."""

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        async for batch in super().read():
            yield batch
        await asyncio.Event().wait()


async def test_source_that_hangs_does_not_hold_up_a_stop(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        stopping = asyncio.Event()
        done, hanging = ListSource("done", stored(secrets_of(stage, 1))), HangingSource("hangs", [])
        subject = stage.subject(done, hanging, ListSource("later", []))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, subject, stopping=stopping))
            await until(lambda: stage.api.lookups == 1)
            stopping.set()
    assert (sweeping.result().status, sweeping.result().found) == (SweepStatus.RUNNING, 1)


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


async def test_environment_has_one_sweep_at_a_time(database: Pool, staged: Staged) -> None:
    async with staged(capacity=SLOW) as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 50))))
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(sweep(database, subject))
            await until(lambda: stage.api.lookups > 0)
            with pytest.raises(SweepUnderWay, match='"prod"'):
                await sweep(database, subject)
    assert first.result().status is SweepStatus.COMPLETE
