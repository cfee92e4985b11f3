"""Sweeps of one process side by side: one that waits for its environment delays no other."""

import asyncio
from contextlib import AsyncExitStack

from auditor.model.secret import Secret
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.simulator import Fault, Faults, Plan, SteppedClock, World, serve
from auditor.store.connection import Pool
from auditor.sweep.side_by_side import SideBySide
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, client_of, stored, subject_of
from tests.sweep.reading import until

HANGING = Faults(plans=(Plan(then=Fault.LATENCY),), latency_seconds=600)


async def test_environments_that_hang_delay_no_other(database: Pool) -> None:
    """Eight of them, beside a pool of four connections."""
    names = [f"hangs-{number}" for number in range(8)]
    clock = SteppedClock(NOW)
    worlds = {name: World((), clock=clock) for name in [*names, "prod"]}
    side_by_side = SideBySide(database)
    stopping = asyncio.Event()
    async with serve(worlds) as simulator, AsyncExitStack() as clients:

        async def subject(name: str) -> Subject:
            world, url = worlds[name], simulator.url(name)
            own = Secret(world.create("auditor", ["metrics.read"]).secret)
            secrets = [world.create(f"t{number}", ["metrics.read"]).secret for number in range(20)]
            client = await clients.enter_async_context(
                client_of(url, own, clock, total_timeout_seconds=600, read_timeout_seconds=300)
            )
            source = ListSource("vault", stored(secrets, environment=name))
            return subject_of(client, url, clock, source, name=name)

        async def swept(name: str) -> SweepSummary:
            return await sweep(database, await subject(name), side_by_side=side_by_side, stopping=stopping)

        for name in names:
            simulator.environments[name].set_faults(HANGING)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            slow = [tasks.create_task(swept(name)) for name in names]
            await until(lambda: all(simulator.environments[name].injector.injected[Fault.LATENCY] for name in names))  # type: ignore[union-attr]
            summary = await swept("prod")
            assert (summary.status, summary.found) == (SweepStatus.COMPLETE, 20)
            assert not any(task.done() for task in slow)
            stopping.set()
    assert {task.result().found for task in slow} == {0}
