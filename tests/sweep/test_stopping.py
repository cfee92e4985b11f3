"""A sweep that is asked to stop, that must stop, or whose database goes away: what was recorded stays."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from auditor.model.errors import StoreUnavailable
from auditor.model.sweep import SweepStatus
from auditor.model.token import StoredToken
from auditor.simulator import Capacity, Fault, Faults, Plan
from auditor.store.connection import Pool
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, stored
from tests.sweep.reading import until, value

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
